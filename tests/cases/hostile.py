"""Hostile inputs: what was used against checkpointers, loggers, terminals and parsers."""

# ruff: noqa: E501 - lists

from __future__ import annotations

import json
import pickle
import subprocess
from pathlib import Path
from typing import Any

CANARY = "rowtrail-canary"
"""A file that hostile inputs try to make in the working folder."""

TOUCH = f"touch {CANARY}"

SQL = [
    "' OR '1'='1",
    "'; DROP TABLE step; --",
    "x'); DELETE FROM checkpoint; --",
    '"; ATTACH DATABASE \'rowtrail-canary\' AS x; --',
    "a' = 1) UNION SELECT key, value FROM meta --",
    "') OR 1=1 OR json_extract(metadata, '$.x",
    "$.a') IS NULL OR ('1'='1",
    "a\"') OR 1=1 --",
    "`", "\\", "%", "_", "*", "?", ":name", "@a", "$1", "--", "/*", ";",
    "a.b", "a[0]", "$", "$.", "$..", "$[#-1]", "[*]", '"', '""', "'", "''", "a'b", 'a"b',
    "\\u0027 OR 1=1", "load_extension('x')", "1e999", "NULL", "0x41", "x'00'", "CAST(x'ff' AS TEXT)",
]  # fmt: skip

PATHS = [
    "../../etc/passwd", "/etc/passwd", "..", ".", "~", "~root/.ssh/id_rsa", "C:\\windows\\win.ini",
    "\\\\host\\share", "file:///etc/passwd?mode=rwc", f"file:{CANARY}?mode=rwc", f"../{CANARY}",
    "con", "nul", "a/b", "a\\b", "-rf", "--db", "@last", "|touch rowtrail-canary", ">rowtrail-canary",
    "$(touch rowtrail-canary)", "`touch rowtrail-canary`", "${IFS}", "%00", "%2e%2e%2f", "a\n--db\nb",
]  # fmt: skip

TERMINAL = [
    "\x1b[2J\x1b[H", "\x1b]0;owned\x07", "\x1b]52;c;cm0gLXJm\x07", "\x1b[31mred", "\x9b2J", "\x07",
    "\r\x1b[Krunning", "\x08\x08\x08", "\u202egnp.exe", "\u2066\u2069", "\x1b]8;;http://evil\x07x",
    "\x1bP+q\x1b\\", "\x00", "a\x00b", "\x7f", "\u200b", "\ufeff", "\x1b[6n", "\x1b[?1049h", "\x85",
]  # fmt: skip

UNICODE = [
    "\ud800", "\udfff", "a\ud83dz", "\udc00\ud800", "\ud83d\ude00", "\uffff", "\U0010ffff", "e\u0301",
    "\u0130", "\u1e9e", "\ufdfa" * 50, "Z\u0351" * 100, "\u0000\u0001\u0002",
]  # fmt: skip

TEXTS = [*SQL, *PATHS, *TERMINAL, *UNICODE, "", " ", "A" * 100_000]


class Bomb:
    """Runs a command when somebody unpickles it."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (subprocess.getoutput, (TOUCH,))


PICKLE = pickle.dumps(Bomb())


def nested(depth: int) -> Any:
    value: Any = "bottom"
    for n in range(depth):
        value = [value] if n % 2 else {"k": value}
    return value


CONSTRUCTORS: list[Any] = [
    {"lc": 2, "type": "constructor", "id": ["os", "system"], "args": [TOUCH], "kwargs": {}},
    {"lc": 1, "type": "constructor", "id": ["os", "system"], "kwargs": {"command": TOUCH}},
    {"lc": 2, "type": "constructor", "id": ["subprocess", "getoutput"], "args": [TOUCH]},
    {"lc": 2, "type": "constructor", "id": ["builtins", "eval"], "method": [None, "x"], "args": ["1"]},
    {"lc": 2, "type": "constructor", "id": ["builtins", "exec"], "args": [f"import os;os.system('{TOUCH}')"]},
    {"lc": 1, "type": "secret", "id": ["OPENAI_API_KEY"]},
    {"lc": 1, "type": "constructor", "id": ["langchain", "schema", "messages", "AIMessage"], "kwargs": {"content": "x"}},
    {"lc": 1, "type": "not_implemented", "id": ["os", "system"]},
    {"$rowtrail": "os.system", "v": TOUCH},
    {"$rowtrail": "dict", "v": [["a", 1]]},
    {"$rowtrail": "serialized", "v": ["pickle", "gASVHwAAAAAAAACMBXBvc2l4lIwGc3lzdGVtlJOUjAJpZJSFlFKULg=="]},
    {"$rowtrail": "bytes", "v": "00"},
    {"$rowtrail": {"$rowtrail": "int", "v": "1"}, "v": []},
    {"$rowtrail": None},
    {"py/object": "os.system", "py/reduce": [{"py/function": "os.system"}, [TOUCH]]},
    {"__class__": "os.system", "__args__": [TOUCH]},
    {"__type__": "Command", "resume": True},
    {"type": "constructor", "id": ["os", "system"]},
    {"__reduce__": ["os.system", [TOUCH]]},
    "!!python/object/apply:os.system ['touch rowtrail-canary']",
    "gASVHwAAAAAAAACMBXBvc2l4lIwGc3lzdGVtlJOUjAJpZJSFlFKULg==",
    "{{ ''.__class__.__mro__ }}",
    "${jndi:ldap://x}",
    PICKLE,
    {"__proto__": {"x": 1}},
]  # fmt: skip

VALUES: list[Any] = [
    *CONSTRUCTORS,
    float("inf"), float("-inf"), -0.0, 1e308, 5e-324, 2**63, -(2**63) - 1, 2**4096, -(10**4000),
    b"", bytes(range(256)), [[]], {}, {"": ""}, {"a" * 5000: 1}, {str(n): n for n in range(5000)},
    [None] * 10_000, nested(100), {"\x00": "\x00"}, {"\ud800": "\udfff"}, "\ud83d" + "\ude00",
    json.dumps({"role": "tool", "content": "x"}), {1: "a", False: "b", "1": "c"}, {(1, 2): {3}},
    {"content": "x", "role": "user"}, {"tool_calls": [{"id": "1", "name": "x", "args": {}}]},
]  # fmt: skip


def assert_nothing_ran(*folders: Path) -> None:
    """Assert that no hostile input has made its file."""
    for folder in (Path.cwd(), Path.cwd().parent, *folders):
        assert not (folder / CANARY).exists()
