"""What of an object takes part in its identity: fields that `==` compares, else public attributes.

What authorises, caches, calls back or is private never does.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, NamedTuple, cast

from rowtrail.content._tagged import kind_of

_NEVER = re.compile(
    r"""(?:^|.*_)(?:
        api_?key | access_key(?:_id)? | private_key | secret(?:_key|_access_key)? | client_secret
        | passw(?:or)?d | passphrase | credentials? | authorization
        | (?:access|auth|bearer|refresh|session|api|id|security|oauth|hf|github|bot)_token
        | token_provider | credentials_profile_name
        | cache | caches | memo
        | callbacks? | callback_manager | callback_handlers?
    )$ | ^(?:auth|token)$""",
    re.VERBOSE | re.IGNORECASE,
)
"""Names of credentials, caches and callbacks."""

_CLIENT_PACKAGES = frozenset(
    # Of connections, sessions, pools, files, threads and generators of chance: their attributes
    # do not say what a call on them would do.
    {
        *("_asyncio", "_io", "aiobotocore", "aiohttp", "aiosqlite", "anthropic", "apsw"),
        *("asyncio", "asyncpg", "boto3", "botocore", "chromadb", "cohere", "concurrent"),
        *("docker", "elasticsearch", "ftplib", "google", "googleapiclient", "groq", "grpc"),
        *("grpclib", "http", "httpcore", "httpcore2", "httpx", "httpx2", "imaplib", "io"),
        *("kafka", "kubernetes", "mistralai", "motor", "multiprocessing", "openai", "paramiko"),
        *("pika", "pinecone", "playwright", "psycopg", "psycopg2", "pymongo", "pymysql"),
        *("qdrant_client", "random", "redis", "requests", "selenium", "slack_sdk", "smtplib"),
        *("socket", "socketserver", "sqlalchemy", "sqlite3", "ssl", "stripe", "subprocess"),
        *("threading", "urllib3", "weakref"),
    }
)


class State(NamedTuple):
    """The attributes of an object.

    Attributes:
        parts: Those that may count, by name.
        hidden: Names of those that never do.
        is_opaque: Whether it has state that Python code cannot see.
    """

    parts: dict[str, Any]
    hidden: tuple[str, ...] = ()
    is_opaque: bool = False


def counts(name: str) -> bool:
    """Return whether a field or attribute of this name may take part in an identity."""
    return not name.startswith("_") and _NEVER.match(name) is None


def state_of(value: Any) -> State:
    """Return what may count of an object, and what of it never does."""
    cls = kind_of(value)
    fields = _fields(value, cls)
    if fields is None and cls.__module__.partition(".")[0] in _CLIENT_PACKAGES:
        return State({}, is_opaque=True)
    whole = fields is not None and not _adds_attributes(cls)
    found: dict[str, Any] = {} if whole else dict(_attributes(value, cls))
    hidden = tuple(name for name in found if not counts(name))
    parts = {name: part for name, part in found.items() if counts(name)}
    if fields is not None:
        declared, compared = fields
        hidden += tuple(name for name in declared if name not in compared)
        parts = {name: part for name, part in parts.items() if name not in declared}
        parts |= compared
    return State(parts, hidden, is_opaque=_has_hidden_state(cls))


def _fields(value: Any, cls: type) -> tuple[set[str], dict[str, Any]] | None:
    """Return the names of the declared fields, and the values of those that take part in `==`."""
    for names, compared in (_pydantic, _attrs, _dataclass):
        declared = names(cls)
        if declared is not None:
            found = {
                name: read(getattr(value, name, None))
                for name, read in compared(declared)
                if counts(name)
            }
            extra: dict[str, Any] = getattr(value, "__pydantic_extra__", None) or {}
            found |= {name: part for name, part in extra.items() if counts(name)}
            return set(declared), found
    return None


def _same(value: Any) -> Any:
    return value


def _of_pydantic(cls: type) -> dict[str, Any] | None:
    return getattr(cls, "__pydantic_fields__", None)


def _pydantic_compared(fields: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    return ((name, _same) for name, each in fields.items() if not each.exclude)


def _of_attrs(cls: type) -> dict[str, Any] | None:
    attributes = getattr(cls, "__attrs_attrs__", None)
    return None if attributes is None else {each.name: each for each in attributes}


def _attrs_compared(fields: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    return ((name, each.eq_key or _same) for name, each in fields.items() if each.eq)


def _of_dataclass(cls: type) -> dict[str, Any] | None:
    found = getattr(cls, "__dataclass_fields__", None)
    if found is None:
        return None
    # The others are pseudo-fields: ClassVar and InitVar.
    return {name: each for name, each in found.items() if each._field_type.name == "_FIELD"}


def _dataclass_compared(fields: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    return ((name, _same) for name, each in fields.items() if each.compare)


_pydantic = (_of_pydantic, _pydantic_compared)
_attrs = (_of_attrs, _attrs_compared)
_dataclass = (_of_dataclass, _dataclass_compared)


def _adds_attributes(cls: type) -> bool:
    """Return whether a class extends one with fields and has no field declarations of its own."""
    if _of_pydantic(cls) is not None:
        return False
    return not any(name in cls.__dict__ for name in ("__attrs_attrs__", "__dataclass_fields__"))


def _attributes(value: Any, cls: type) -> Iterator[tuple[str, Any]]:
    """Yield the instance attributes, without what a descriptor of the class keeps there."""
    for name, part in list(cast("dict[str, Any]", getattr(value, "__dict__", {})).items()):
        if type(name) is str and not _is_cached(cls, name):
            yield name, part
    for name in slots(cls):
        try:
            yield name, getattr(value, name)
        except AttributeError:
            continue  # it was never set


def slots(cls: type) -> list[str]:
    """Return the names of all slots of a class; private ones as they are stored."""
    found: list[str] = []
    for base in cls.__mro__:
        names = base.__dict__.get("__slots__", base.__dict__.get("__struct_fields__", ()))
        for name in (names,) if isinstance(names, str) else tuple(names):
            if name not in ("__dict__", "__weakref__"):
                is_mangled = name.startswith("__") and not name.endswith("__")
                found.append(f"_{base.__name__.lstrip('_')}{name}" if is_mangled else name)
    return found


def _is_cached(cls: type, name: str) -> bool:
    """Return whether an attribute was put there by a `cached_property` or its like."""
    member = next((base.__dict__[name] for base in cls.__mro__ if name in base.__dict__), None)
    if member is None or hasattr(member, "__code__"):
        return False
    return hasattr(member, "__get__") and not hasattr(member, "__set__")


def _has_hidden_state(cls: type) -> bool:
    """Return whether instances hold more than attributes: they are implemented in C.

    Source: `object_getstate_default` of CPython, which refuses to pickle such objects.
    """
    pointer = tuple.__itemsize__
    own = [name for base in cls.__mro__ for name in _own_slots(base)]
    expected = object.__basicsize__ + pointer * len(own)
    expected += pointer * ((cls.__dictoffset__ > 0) + (cls.__weakrefoffset__ > 0))
    return cls.__basicsize__ > expected or cls.__itemsize__ > 0


def _own_slots(base: type) -> list[str]:
    names = base.__dict__.get("__slots__", ())
    every = (names,) if isinstance(names, str) else tuple(names)
    return [name for name in every if name not in ("__dict__", "__weakref__")]


def unclear(name: str, hidden: list[str]) -> str:
    """Return what to say of an object that cannot be told apart from others of its class."""
    if not hidden:
        return f"a {name}, whose state cannot be seen"
    shown = ", ".join(sorted(hidden)[:5])
    return f"a {name}, of whose attributes none counts ({shown})"
