"""Names of a package that are imported where they are used first."""

from __future__ import annotations

import sys

TYPE_CHECKING = False  # the import of typing takes longer than all of `import rowtrail`
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

__all__ = ["lazy"]


def lazy(
    package: str, names: Mapping[str, Iterable[str]]
) -> tuple[Callable[[str], object], Callable[[], list[str]]]:
    """Return the `__getattr__` and the `__dir__` of a package whose names load their modules.

    The package imports the names under TYPE_CHECKING as well, for who checks types:

        if TYPE_CHECKING:
            from shop.orders import Order
        else:
            __getattr__, __dir__ = lazy(__name__, {"shop.orders": ["Order"]})
    """
    modules = {name: module for module, its in names.items() for name in its}

    def get(name: str) -> object:
        if name not in modules:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        from importlib import import_module

        found = getattr(import_module(modules[name]), name)
        setattr(sys.modules[package], name, found)
        return found

    def list_names() -> list[str]:
        return sorted({*vars(sys.modules[package]), *modules})

    return get, list_names
