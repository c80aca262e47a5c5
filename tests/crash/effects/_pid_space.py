"""Pid spaces: what a container has of its own, and a process that is started in it."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from functools import cache

from tests._forks import FOLDER

CLONE_NEWNS, CLONE_NEWUSER, CLONE_NEWPID = 0x00020000, 0x10000000, 0x20000000
MS_REC, MS_PRIVATE = 0x4000, 0x40000


def enter_pid_space() -> None:
    """Go on as a process of a new pid space, with a /proc of its own; the caller waits for it.

    Raises:
        OSError: The system does not allow it.
    """
    _unshare()
    _wait_for_child()  # the first process of the new space
    libc = _libc()
    libc.mount(b"none", b"/", None, MS_REC | MS_PRIVATE, None)
    if libc.mount(b"proc", b"/proc", b"proc", 0, None):
        raise OSError(ctypes.get_errno(), "mount /proc")
    _wait_for_child()  # the first process of a space cannot kill itself


@cache
def is_allowed() -> bool:
    """Return whether this system allows new pid spaces."""
    if sys.platform != "linux":
        return False
    code = f"from {__name__} import enter_pid_space; enter_pid_space()"
    command = [sys.executable, "-c", code]
    tried = subprocess.run(command, cwd=FOLDER, capture_output=True, check=False)
    return tried.returncode == 0


def _unshare() -> None:
    flags = CLONE_NEWPID | CLONE_NEWNS
    uid, gid = os.getuid(), os.getgid()
    if uid:
        flags |= CLONE_NEWUSER
    if _libc().unshare(flags):
        raise OSError(ctypes.get_errno(), "unshare")
    if uid:
        _write("/proc/self/setgroups", "deny")
        _write("/proc/self/uid_map", f"0 {uid} 1")
        _write("/proc/self/gid_map", f"0 {gid} 1")


def _write(path: str, text: str) -> None:
    with open(path, "w") as file:
        file.write(text)


def _wait_for_child() -> None:
    """Fork; the child returns, and its parent ends as the child ended."""
    pid = os.fork()
    if pid:
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        os._exit(code if code >= 0 else 128 - code)


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)
