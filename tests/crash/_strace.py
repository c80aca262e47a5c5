"""Faults at system calls, with `strace`: a kill, or an error, at the n-th one."""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import shutil
import subprocess
import time
from collections import Counter
from collections.abc import Generator
from pathlib import Path

CALLS = "write,pwrite64,fsync,fdatasync,ftruncate,unlink,unlinkat"
"""Every system call by which a file changes."""

PR_SET_PTRACER, PTRACER_ANY = 0x59616D61, ctypes.c_ulong(-1)
ATTACH_S = 10.0
_LINE = re.compile(r"^(\d+)\s+(\w+)\(")


def reason_to_skip() -> str | None:
    """Return why faults cannot be injected here, or None; installs strace where it may."""
    if shutil.which("strace") is None and os.access("/usr/bin/apt-get", os.X_OK) and _is_root():
        install = ["apt-get", "install", "-y", "-qq", "strace"]
        subprocess.run(install, capture_output=True, check=False, timeout=120)
    if shutil.which("strace") is None:
        return "needs strace (Linux): apt-get install strace"
    tried = subprocess.run(
        ["strace", "-e", "inject=chdir:error=EIO:when=1", "true"],
        capture_output=True,
        text=True,
        check=False,
    )
    return None if tried.returncode == 0 else f"strace may not trace here: {tried.stderr.strip()}"


def _is_root() -> bool:
    return os.geteuid() == 0


@contextlib.contextmanager
def attached(options: list[str] | None) -> Generator[None]:
    """Let strace watch this process inside the block; its counts begin with the block."""
    if options is None:
        yield
        return
    ctypes.CDLL(None).prctl(PR_SET_PTRACER, PTRACER_ANY, 0, 0, 0)  # where Yama restricts tracing
    command = ["strace", "-f", "-qq", "-p", str(os.getpid()), *options]
    tracer = subprocess.Popen(command, stderr=subprocess.PIPE)
    until = time.monotonic() + ATTACH_S
    while not _is_traced():
        if tracer.poll() is not None or time.monotonic() > until:
            assert tracer.stderr is not None
            raise RuntimeError(f"strace did not attach: {tracer.stderr.read().decode()}")
        time.sleep(0.001)
    try:
        yield
    finally:
        tracer.terminate()
        tracer.wait(timeout=110)


def _is_traced() -> bool:
    """Tell whether every thread of this process is traced."""
    for task in Path("/proc/self/task").iterdir():
        if "TracerPid:\t0\n" in (task / "status").read_text():
            return False
    return True


def counting(log: Path, calls: str = CALLS) -> list[str]:
    """Return the options that write each call to a log."""
    return ["-o", str(log), "-e", f"trace={calls}", "-s", "0"]


def counted(log: Path) -> int:
    """Return how many calls the busiest thread of a log made: strace counts by thread."""
    found = Counter(
        match[1] for line in log.read_text().splitlines() if (match := _LINE.match(line))
    )
    return max(found.values(), default=0)


def killing(when: int) -> list[str]:
    """Return the options that kill the process as it enters the n-th call."""
    return _injecting(CALLS, f"signal=KILL:when={when}")


def failing(calls: str, error: str, when: str) -> list[str]:
    """Return the options that make calls fail; `when` is `3`, or `3+` from the third on."""
    return _injecting(calls, f"error={error}:when={when}")


def _injecting(calls: str, what: str) -> list[str]:
    return ["-e", f"trace={calls}", "-e", f"inject={calls}:{what}", "-o", "/dev/null"]
