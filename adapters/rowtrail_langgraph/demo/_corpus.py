"""The real files that the demo's agent reads: modules of the standard library, copied."""

from __future__ import annotations

import shutil
import sysconfig
from pathlib import Path

MODULES = ("bisect.py", "fnmatch.py", "heapq.py", "shlex.py", "textwrap.py")


def copy_corpus(folder: Path) -> tuple[str, ...]:
    """Copy the corpus into `folder` and return the names of its files, sorted.

    Raises:
        FileNotFoundError: this Python keeps no source files of its standard library.
    """
    library = Path(sysconfig.get_path("stdlib"))
    folder.mkdir(parents=True)
    for name in MODULES:
        shutil.copyfile(library / name, folder / name)
    return tuple(sorted(MODULES))
