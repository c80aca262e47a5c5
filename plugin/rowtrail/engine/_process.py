"""Who a process is, and whether it still lives."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from enum import Enum
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rowtrail.engine._contract import Row

STALE_VARIABLE = "ROWTRAIL_STALE_AFTER_MS"
"""For tests: the environment variable with another `STALE_AFTER_MS`, for every process alike."""

SMALLEST_STALE_MS = 200
"""A busy machine stands still for a tenth of a second: that is no death."""


def _stale_after_ms() -> int:
    text = os.environ.get(STALE_VARIABLE, "")
    return max(int(text), SMALLEST_STALE_MS) if text.isdecimal() else 15_000


STALE_AFTER_MS = _stale_after_ms()
"""A process of another host or container that was silent for this long is taken for dead."""

HEARTBEATS_UNTIL_STALE = 7.5
"""15 s of silence at a heartbeat of 2 s: a loaded machine misses a few."""


class Identity(Enum):
    """What is known of a process by its identity alone."""

    ALIVE = "it runs on this host"
    DEAD = "it ran on this host, and runs no more"
    UNKNOWN = "it is of another host, boot or numbering of processes"


@dataclass(frozen=True)
class ProcessIdentity:
    """What tells one process from every other, on this host and after a reboot.

    A pid alone is reused; the pid with its start time is not, within one boot and one numbering
    of processes (a container has a numbering of its own).
    """

    pid: int
    pid_start: str
    boot_id: str
    pid_space: str
    host: str

    @classmethod
    def of_row(cls, row: Row) -> ProcessIdentity:
        """Return the identity in a row with the columns of the table `process`."""
        return cls(row["pid"], row["pid_start"], row["boot_id"], row["pid_space"], row["host"])

    def is_alive(self, *, last_seen_at: int, now_ms: int) -> bool:
        """Return whether the process lives: by identity on this host, else by its heartbeat."""
        known = self.known
        if known is Identity.UNKNOWN:
            return self.is_recent(last_seen_at=last_seen_at, now_ms=now_ms)
        return known is Identity.ALIVE

    @property
    def known(self) -> Identity:
        """Return what this host knows of the process, now."""
        here = current_process()
        if (self.boot_id, self.pid_space, self.host) != (here.boot_id, here.pid_space, here.host):
            return Identity.UNKNOWN
        return Identity.ALIVE if _start_of(self.pid) == self.pid_start else Identity.DEAD

    def is_recent(self, *, last_seen_at: int, now_ms: int) -> bool:
        """Return whether the process gave a sign of life lately."""
        return now_ms - last_seen_at < STALE_AFTER_MS


def current_process() -> ProcessIdentity:
    """Return the identity of this process."""
    pid = os.getpid()
    return ProcessIdentity(pid, _start_of(pid) or "", _boot_id(), _pid_space(), _host())


@cache
def _host() -> str:
    import socket

    return socket.gethostname()


@cache
def _boot_id() -> str:
    return _content("/proc/sys/kernel/random/boot_id") or ""


def _pid_space() -> str:
    try:
        return str(os.stat("/proc/self/ns/pid").st_ino)
    except OSError:
        return ""


def _start_of(pid: int) -> str | None:
    """Return the start time of a process as its system tells it, None when there is none."""
    return {"linux": _start_on_linux, "win32": _start_on_windows}.get(sys.platform, _start_by_ps)(
        pid
    )


def _start_on_linux(pid: int) -> str | None:
    stat = _content(f"/proc/{pid}/stat")
    if stat is None:
        return None
    # The name (field 2) may hold blanks and brackets: count from its last bracket.
    fields = stat[stat.rindex(")") + 2 :].split()
    state, started = fields[0], fields[19]
    return None if state in "ZX" else started  # a zombie runs nothing any more


def _content(path: str) -> str | None:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read().strip()
    except OSError:  # ESRCH too: the process ended between opening and reading
        return None


def _start_by_ps(pid: int) -> str | None:
    import subprocess

    same_for_all = {**os.environ, "LC_ALL": "C", "TZ": "UTC"}  # ps prints local time
    command = ["ps", "-o", "stat=,lstart=", "-p", str(pid)]
    listed = subprocess.run(command, capture_output=True, text=True, check=False, env=same_for_all)
    state, _, started = listed.stdout.strip().partition(" ")
    return None if state.startswith("Z") else started.strip() or None


def _start_on_windows(pid: int) -> str | None:
    import ctypes

    query_limited_information = 0x1000
    kernel = ctypes.windll.kernel32  # type: ignore[attr-defined,unused-ignore]
    handle = kernel.OpenProcess(query_limited_information, False, pid)
    if not handle:
        return None
    times = [ctypes.c_ulonglong() for _ in range(4)]
    kernel.GetProcessTimes(handle, *(ctypes.byref(t) for t in times))
    kernel.CloseHandle(handle)
    created, exited = times[0].value, times[1].value
    return None if exited else str(created)
