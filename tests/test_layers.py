"""The layers of the source tree: who may import whom, read from the source without running it."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from itertools import pairwise
from pathlib import Path

import pytest

from rowtrail import schema
from rowtrail.engine.sqlite import dialect
from tests.lint.constants import unexplained
from tests.lint.fronts import FRONTS, is_front, names_in, readings_of
from tests.lint.private_names import own_names, private_names
from tests.lint.sentences import reading_of, readings
from tests.lint.words import odd_words

ROOT = Path(__file__).resolve().parents[1]
CORE = ROOT / "plugin"
ADAPTERS = ROOT / "adapters"

# beside the standard library, and late: test_import.py has the list of what is loaded early
CORE_MAY_IMPORT = {
    "apsw",
    "click",
    "genai_prices",
    "orjson",
    "rich",
    "rowtrail",
    "sqlite_vec",
    "tiktoken",
} | {
    # whoever has values of these has loaded them
    "numpy",
    "pandas",
    "pytz",
}
SQLITE_ROOM = "rowtrail.engine.sqlite"
PUBLIC_SUBMODULES = {
    # for everybody
    "rowtrail.errors",
    "rowtrail.testing",
    # for adapters
    "rowtrail.adapter",
    "rowtrail.adapter.effects",
    "rowtrail.adapter.opening",
    "rowtrail.checkpoint",
    "rowtrail.content",
    "rowtrail.engine",
    "rowtrail.engine.files",
    "rowtrail.engine.reading",
    "rowtrail.extras",
    "rowtrail.history",
    "rowtrail.history.rows",
    "rowtrail.history.searching",
    "rowtrail.journal",
    "rowtrail.journal.places",
    "rowtrail.journal.questions",
    "rowtrail.lazy",
    "rowtrail.replay",
    "rowtrail.usage",
    "rowtrail.vocabulary",
}
FRAMEWORK_WORDS = re.compile(
    # classes of LangChain and LangGraph, their fields and their words for roles
    r"(Human|AI|System|Tool|Function|Chat|Remove|Base)Message|MessageChunk|DeltaSnapshot"
    r"|response_metadata|usage_metadata|additional_kwargs|tool_call_chunks|chunk_position"
    r"|['\"](human|ai)['\"]|\blc_|langchain_core|page_content"
    # of other frameworks
    r"|ModelRequest|ModelResponse|UserPromptPart|ToolReturnPart|RunItem|LlmResponse"
)
KNOW_NO_DATABASE = tuple(
    f"rowtrail{room}"
    for room in (
        *(".adapter", ".checkpoint", ".content", ".journal", ".replay", ".retention", ".usage"),
        *("_langgraph.capture", "_langgraph.explicit", "_langgraph.saver", "_langgraph.values"),
    )
)
WORDS_OF_A_DATABASE = re.compile(
    r"sqlite|rowid|pragma|json_each|json_extract|:memory:|^MEMORY$|^epoch$|^writer$|\bWAL\b"
    r"|postgres|psycopg",
    re.IGNORECASE,
)
MAY_NAME_A_DATABASE = {
    # objects of these modules are no plain values
    "rowtrail.content._object: aiosqlite",
    "rowtrail.content._object: psycopg",
    "rowtrail.content._object: psycopg2",
    "rowtrail.content._object: sqlite3",
    # what people may type
    "rowtrail.journal._environment: the path of the journal is empty: name a file, or ':memory:'",
}
MAX_LINES = 450
FRAMEWORKS_PRIVATE_NAMES = "rowtrail_langgraph._private"
READS_A_SENTENCE = {
    # function: why nothing but the text tells
    "rowtrail.history._diff:_row_differences": "shows where two runs differ, errors too",
    "rowtrail.history._wording:_wrong": "words the message of a query that SQLite did not "
    "understand: of all of them the code is SQLITE_ERROR",
    "rowtrail.journal._failure:rebuilt_failure": "an exception that is built anew is the same only "
    "if it says the same",
    "rowtrail.engine.sqlite._faults:storage_error": "sqlite3.Row raises a bare IndexError",
    "rowtrail_langgraph.values._guard:_is_logged": "LangGraph's log record has no code",
}
NAMES_THAT_SAY_NOTHING = {"base", "common", "helpers", "misc", "util", "utils"}


@dataclass(frozen=True)
class Import:
    """One name imported in one place."""

    module: str
    name: str | None  # the X of `from module import X`
    importer: str
    path: Path
    line: int
    typing_only: bool  # below `if TYPE_CHECKING:`
    by_name: bool  # importlib.import_module("module")

    @property
    def top(self) -> str:
        return self.module.partition(".")[0]

    def __str__(self) -> str:
        what = f"{self.module}.{self.name}" if self.name else self.module
        return f"{self.path.relative_to(ROOT)}:{self.line} imports {what}"


@dataclass(frozen=True)
class Module:
    """One source file under its import name."""

    name: str
    path: Path
    is_package: bool
    tree: ast.Module

    def imports(self) -> Iterator[Import]:
        """Yield every import, also those inside functions and conditions."""
        yield from self._walk(self.tree, typing_only=False)

    def _walk(self, node: ast.AST, *, typing_only: bool) -> Iterator[Import]:
        for child in ast.iter_child_nodes(node):
            for module, name, by_name in self._imported(child):
                line = getattr(child, "lineno", 0)
                yield Import(module, name, self.name, self.path, line, typing_only, by_name)
            if isinstance(child, ast.If) and _names_type_checking(child.test):
                for part in child.body:
                    yield from self._walk_one(part, typing_only=True)
                for part in child.orelse:
                    yield from self._walk_one(part, typing_only=typing_only)
            else:
                yield from self._walk(child, typing_only=typing_only)

    def _walk_one(self, node: ast.stmt, *, typing_only: bool) -> Iterator[Import]:
        yield from self._walk(ast.Module(body=[node], type_ignores=[]), typing_only=typing_only)

    def _imported(self, node: ast.AST) -> list[tuple[str, str | None, bool]]:
        if isinstance(node, ast.Import):
            return [(alias.name, None, False) for alias in node.names]
        if isinstance(node, ast.ImportFrom):
            source = self._absolute(node)
            return [(source, alias.name, False) for alias in node.names]
        if isinstance(node, ast.Call) and _function_name(node) in {"import_module", "__import__"}:
            first = node.args[0] if node.args else None
            if isinstance(first, ast.Constant) and isinstance(first.value, str):
                return [(first.value, None, True)]
        return []

    def _absolute(self, node: ast.ImportFrom) -> str:
        if not node.level:
            return node.module or ""
        package = self.name.split(".")
        drop = node.level - 1 if self.is_package else node.level
        parts = package[: len(package) - drop]
        return ".".join([*parts, node.module] if node.module else parts)


def _names_type_checking(test: ast.expr) -> bool:
    return (isinstance(test, ast.Name) and test.id == "TYPE_CHECKING") or (
        isinstance(test, ast.Attribute) and test.attr == "TYPE_CHECKING"
    )


def _function_name(call: ast.Call) -> str:
    if isinstance(call.func, ast.Attribute):
        return call.func.attr
    return call.func.id if isinstance(call.func, ast.Name) else ""


def load(root: Path) -> dict[str, Module]:
    """Parse every module below a folder, by import name."""
    modules: dict[str, Module] = {}
    for path in sorted(root.rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        is_package = parts[-1] == "__init__"
        name = ".".join(parts[:-1] if is_package else parts)
        modules[name] = Module(name, path, is_package, ast.parse(path.read_text("utf-8")))
    return modules


@pytest.fixture(scope="module")
def core() -> dict[str, Module]:
    return load(CORE)


@pytest.fixture(scope="module")
def adapters() -> dict[str, Module]:
    return load(ADAPTERS)


def offences(modules: dict[str, Module]) -> Iterator[Import]:
    for module in modules.values():
        yield from module.imports()


def dependencies(
    modules: dict[str, Module], *, rooms: bool
) -> tuple[dict[str, set[str]], dict[tuple[str, str], Import]]:
    """Give who imports whom at run time, with one import as the proof of each edge.

    With `rooms`, `rowtrail.engine.sqlite._open` counts as its room `rowtrail.engine`.
    """
    graph: dict[str, set[str]] = {}
    proofs: dict[tuple[str, str], Import] = {}
    for each in offences(modules):
        if each.typing_only:
            continue
        submodule = f"{each.module}.{each.name}"
        target = submodule if submodule in modules else each.module
        source = each.importer
        if target not in modules:
            continue
        if rooms:
            source, target = (".".join(name.split(".")[:2]) for name in (source, target))
        # the package itself stands above its rooms: it re-exports their names
        if source == target or (rooms and "." not in source):
            continue
        graph.setdefault(source, set()).add(target)
        proofs.setdefault((source, target), each)
    return graph, proofs


def cycle(graph: dict[str, set[str]]) -> list[str]:
    """Give the names along one cycle, each importing the next; empty when there is none."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        found: list[str] = error.args[1]
        return found[::-1]
    return []


def test_core_imports_no_framework(core: dict[str, Module]) -> None:
    allowed = CORE_MAY_IMPORT | sys.stdlib_module_names
    # an adapter may be looked up by name, when the user asks for it; a framework may not
    wrong = [
        str(each)
        for each in offences(core)
        if each.top not in allowed and not (each.by_name and each.top.startswith("rowtrail_"))
    ]
    assert wrong == []


def test_core_knows_no_frameworks_classes_fields_or_roles() -> None:
    files = [path for kind in ("*.py", "*.sql") for path in sorted(CORE.rglob(kind))]
    wrong = [
        f"{path.relative_to(ROOT)}:{number} says {found[0]}"
        for path in files
        for number, line in enumerate(path.read_text("utf-8").splitlines(), 1)
        if (found := FRAMEWORK_WORDS.search(line))
    ]
    assert len(files) > 150
    assert wrong == []


@pytest.mark.parametrize(
    "line",
    [
        "CASE json_extract(i.text, '$.type') WHEN 'human' THEN 'user' END",
        "json_extract(o.text, '$.response_metadata.finish_reason')",
        "i.type LIKE '%ToolMessage'",
        "from langchain_core.messages import AIMessageChunk",
        '_MADE_UP_PREFIX = "lc_"',
    ],
)
def test_frameworks_words_are_found(line: str) -> None:
    assert FRAMEWORK_WORDS.search(line)


def test_only_one_room_imports_sqlite3(
    core: dict[str, Module], adapters: dict[str, Module]
) -> None:
    wrong = [
        str(each)
        for each in offences(core | adapters)
        if each.top == "sqlite3" and not f"{each.importer}.".startswith(f"{SQLITE_ROOM}.")
    ]
    assert wrong == []


def test_nobody_above_the_engine_imports_one(
    core: dict[str, Module], adapters: dict[str, Module]
) -> None:
    wrong = [
        str(each)
        for each in offences(core | adapters)
        if f"{each.module}.{each.name}.".startswith(f"{SQLITE_ROOM}.")
        and not f"{each.importer}.".startswith("rowtrail.engine.")
    ]
    assert wrong == []


def words_of_code(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Yield the names and the texts of a module, without its docstrings and comments."""
    spoken = {
        id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)
    }  # a docstring is an expression that nobody uses
    for node in ast.walk(tree):
        match node:
            case ast.Constant(value=str() as text) if id(node) not in spoken:
                yield node.lineno, text
            case ast.Name(id=name) | ast.Attribute(attr=name):
                yield node.lineno, name
            case _:
                pass


def test_rooms_that_write_know_no_database(
    core: dict[str, Module], adapters: dict[str, Module]
) -> None:
    """`cli`, `verify` and `history` also look at files: a journal's, and the search index."""
    found = {
        f"{name}: {word}"
        for name, module in (core | adapters).items()
        if name.startswith(KNOW_NO_DATABASE)
        for _, word in words_of_code(module.tree)
        if WORDS_OF_A_DATABASE.search(word)
    }
    assert found == MAY_NAME_A_DATABASE


@pytest.mark.parametrize(
    "line",
    [
        "connection.execute('PRAGMA user_version')",
        "tx.all('x', ids='SELECT value FROM json_each(1)')",
        "path == ':memory:'",
        "row = cursor.lastrowid",
        "error.sqlite_errorcode",
        "seen = store.epoch",
        "store.writer.unsynced",
    ],
)
def test_a_word_of_a_database_is_found(line: str) -> None:
    words = [word for _, word in words_of_code(ast.parse(line))]
    assert any(WORDS_OF_A_DATABASE.search(word) for word in words)


def public_names(core: dict[str, Module]) -> set[str]:
    """Read `__all__` of the package, as written."""
    for node in core["rowtrail"].tree.body:
        match node:
            case ast.Assign(targets=[ast.Name("__all__")], value=value):
                return set(ast.literal_eval(value))
            case ast.AnnAssign(target=ast.Name("__all__"), value=ast.expr() as value):
                return set(ast.literal_eval(value))
            case _:
                pass
    return set()


def test_adapters_use_only_the_public_core(
    core: dict[str, Module], adapters: dict[str, Module]
) -> None:
    public = public_names(core)
    wrong: list[str] = []
    for each in offences(adapters):
        if each.top != "rowtrail":
            continue
        submodule = f"{each.module}.{each.name}"
        fine = each.module == "rowtrail" and (
            each.name is None or each.name in public or submodule in PUBLIC_SUBMODULES
        )
        in_public_submodule = each.module in PUBLIC_SUBMODULES and not (each.name or "").startswith(
            "_"
        )
        if not fine and not in_public_submodule:
            wrong.append(str(each))
    assert wrong == []


def test_adapters_touch_no_private_attribute_of_the_core(adapters: dict[str, Module]) -> None:
    wrong = [
        f"{module.path.relative_to(ROOT)}:{node.lineno} uses rowtrail.{node.attr}"
        for module in adapters.values()
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id == "rowtrail"
        and node.attr.startswith("_")
        and not node.attr.startswith("__")
    ]
    assert wrong == []


def test_private_names_stay_in_their_room(
    core: dict[str, Module], adapters: dict[str, Module]
) -> None:
    wrong: list[str] = []
    for each in offences(core | adapters):
        parts = [*each.module.split("."), *([each.name] if each.name else [])]
        private = [at for at, part in enumerate(parts) if part.startswith("_") and at > 0]
        room = ".".join(parts[: private[0]]) if private else ""
        if room.startswith("rowtrail") and not f"{each.importer}.".startswith(f"{room}."):
            wrong.append(str(each))
    assert wrong == []


@pytest.mark.parametrize(
    ("room", "names"),
    [
        (FRAMEWORKS_PRIVATE_NAMES, 30),
        ("rowtrail_openai_agents._private", 5),
        ("rowtrail_pydantic_ai._private", 0),
    ],
)
def test_frameworks_private_names_stand_in_one_file(
    adapters: dict[str, Module], room: str, names: int
) -> None:
    package = room.partition(".")[0]
    modules = {
        name: each for name, each in adapters.items() if f"{name}.".startswith(f"{package}.")
    }
    own = own_names(module.tree for module in modules.values())
    found = {
        name: [
            f"{module.path.relative_to(ROOT)}:{line} says {private}"
            for line, private in private_names(module.tree, own)
        ]
        for name, module in modules.items()
    }
    assert len(found.pop(room)) > names
    assert {name: wrong for name, wrong in found.items() if wrong} == {}
    allowed = [
        name
        for name, module in modules.items()
        if "reportPrivateUsage" in module.path.read_text("utf-8")
    ]
    assert set(allowed) <= {room}


def test_the_files_of_private_names_stand_below_all_rooms(adapters: dict[str, Module]) -> None:
    rooms = [
        FRAMEWORKS_PRIVATE_NAMES,
        "rowtrail_openai_agents._private",
        "rowtrail_pydantic_ai._private",
    ]
    imports = [each for room in rooms for each in adapters[room].imports()]
    assert imports
    assert [str(each) for each in imports if each.top.startswith("rowtrail_")] == []


@pytest.mark.parametrize(
    "line",
    [
        "model._get_ls_params(stop=stop)",
        "self._should_stream()",
        "self.model._stream",
        "serde._unpack_ext_hook = hook",
        "message.__pydantic_extra__",
        "getattr(serde, '_allowed_msgpack_modules', True)",
        "hasattr(self, '_replay_v2_events_for_cache_hit')",
        "attrgetter('__pydantic_fields_set__')",
        "vars(serde).update(_unpack_ext_hook=hook)",
        "members = {'_stream': chunks}",
        "configurable.get('__pregel_send')",
        "f'__pregel_{name}'",
        "import langgraph._internal._config",
        "from langgraph.pregel import Pregel, _runner",
        "from langgraph._internal._config import ensure_config",
        "def f():\n    from pydantic._internal import _fields",
        "import_module('langgraph.pregel._runner')",
        "resolve_name('langgraph.pregel._loop:PregelLoop')",
    ],
)
def test_a_private_name_of_a_framework_is_found(line: str) -> None:
    own = own_names([ast.parse("class A:\n    def _own(self): self._set = 1")])
    assert list(private_names(ast.parse(line), own))


@pytest.mark.parametrize(
    "line",
    [
        "other._own()",
        "self._set = other._set",
        "point._replace(x=1)",
        "value.__dict__",
        "'__module__'",
        "'__start__'",
        "'-' * 3, '_', '__'",
        "def _stream(): pass\n_stream()",
        "from . import _models\n_models.recorded_generate",
        "from rowtrail_langgraph.capture import _models",
        "from langgraph.pregel import Pregel",
        "def f():\n    'Wraps `_generate_with_cache`.'",
        '"_get_ls_params"',
    ],
)
def test_a_name_of_our_own_or_of_python_is_fine(line: str) -> None:
    own = own_names([ast.parse("class A:\n    def _own(self): self._set = 1")])
    assert list(private_names(ast.parse(line), own)) == []


def test_fronts_render_what_history_returns(
    core: dict[str, Module], adapters: dict[str, Module]
) -> None:
    fronts = {name: module for name, module in (core | adapters).items() if is_front(name)}
    found = [
        f"{module.path.relative_to(ROOT)}:{line} {said}"
        for module in fronts.values()
        for line, said in readings_of(module.tree)
    ]
    assert {front for front in FRONTS if not any(is_front(name) for name in fronts)} == set()
    assert len(fronts) > 35
    assert found == []


def test_no_front_and_no_adapter_names_a_statement(
    core: dict[str, Module], adapters: dict[str, Module]
) -> None:
    names = schema.statements(dialect()).keys()
    found = [
        f"{module.path.relative_to(ROOT)}:{line} names the statement {said}"
        for name, module in (core | adapters).items()
        if name in adapters or is_front(name)
        for line, said in names_in(module.tree, names)
    ]
    assert len([*names_in(core["rowtrail.checkpoint._checkpoints"].tree, names)]) > 20
    assert found == []


@pytest.mark.parametrize(
    "line",
    [
        "reader.read(work)",
        "reader.read(lambda tx: tx.one('run_shown', run_id=run_id))",
        "def fetch(tx): pass",
        "def fetch(found: Tx): pass",
        "import sqlite3",
        "from rowtrail.engine import Row",
        "from rowtrail.engine.reading import Reader",
        "from rowtrail import engine",
        "from rowtrail.schema import statements",
        "query(reader, 'SELECT * FROM runs')",
        "query(reader, '@runs')",
        "journal.sql(f'SELECT {column} FROM runs')",
        "query(reader, sql='SELECT 1')",
    ],
)
def test_a_front_that_reads_by_itself_is_found(line: str) -> None:
    assert list(readings_of(ast.parse(line)))


@pytest.mark.parametrize(
    "line",
    [
        "list_runs(reader, status='failed')",
        "query(reader, sql, params)",
        "sys.stdin.read()",
        "from rowtrail.engine.files import back_up",
        "from rowtrail import __version__, schema",
        "from rowtrail.history import Reader, open_journal",
    ],
)
def test_a_front_that_renders_is_fine(line: str) -> None:
    assert list(readings_of(ast.parse(line))) == []


def test_a_statement_that_is_named_is_found() -> None:
    tree = ast.parse("def f(tx):\n    'run_shown'\n    return ask('run_shown'), 'run shown'")
    assert [line for line, _ in names_in(tree, {"run_shown"})] == [2, 3]


BEGINS_OR_ENDS_A_CALL = {"abegin", "acomplete", "afail", "complete"}


def test_calls_begin_and_end_behind_the_one_door(
    core: dict[str, Module], adapters: dict[str, Module]
) -> None:
    """The protocol of a recorded call is long, and wrong in its details: it stands once."""
    elsewhere = [
        f"{module.path.relative_to(ROOT)}:{node.lineno} {node.func.attr}"
        for name, module in (core | adapters).items()
        if not name.startswith(("rowtrail.adapter", "rowtrail.journal"))
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in BEGINS_OR_ENDS_A_CALL
        and not ast.unparse(node.func.value).endswith("_runs")  # of an attempt, not of a call
    ]
    assert elsewhere == []


@pytest.mark.parametrize("rooms", [False, True], ids=["modules", "rooms"])
@pytest.mark.parametrize("root", [CORE, ADAPTERS], ids=lambda root: root.name)
def test_no_import_cycles(root: Path, rooms: bool) -> None:
    graph, proofs = dependencies(load(root), rooms=rooms)
    names = cycle(graph)
    steps = [str(proofs[pair]) for pair in pairwise(names)]
    assert steps == []


def test_files_are_short(core: dict[str, Module], adapters: dict[str, Module]) -> None:
    long = {
        str(module.path.relative_to(ROOT)): lines
        for module in (core | adapters).values()
        if (lines := len(module.path.read_text("utf-8").splitlines())) > MAX_LINES
    }
    assert long == {}


def test_modules_are_named_for_what_they_hold(
    core: dict[str, Module], adapters: dict[str, Module]
) -> None:
    wrong = [
        name
        for name in core | adapters
        if name.rpartition(".")[2].strip("_") in NAMES_THAT_SAY_NOTHING
    ]
    assert wrong == []


def test_no_code_reads_a_sentence_to_decide(
    core: dict[str, Module], adapters: dict[str, Module]
) -> None:
    found = {
        f"{module.name}:{function}": f"{module.path.relative_to(ROOT)}:{line}"
        for module in (core | adapters).values()
        for function, line in readings(module.tree)
    }
    assert {name: at for name, at in found.items() if name not in READS_A_SENTENCE} == {}
    assert READS_A_SENTENCE.keys() <= found.keys()


def test_no_statement_reads_a_sentence_to_decide() -> None:
    scripts = [text for n in range(1, schema.VERSION + 1) for text in schema.migration(n)]
    ours = schema.statements(dialect())
    known = (ours, schema.views(), schema.named(), schema.search_statements())
    statements = [*scripts, *(text for each in known for text in each.values())]
    assert {text: reading_of(text) for text in statements if reading_of(text)} == {}


@pytest.mark.parametrize(
    "line",
    [
        'row["reason"] == "first call"',
        'row["reason"].startswith("changed")',
        'row.get("error") in ("a", "b")',
        '"late" in row["late_error"]',
        'reason != "left"',
        "step.reason.lower().startswith(word)",
        're.search("lost", row["error"])',
        'PATTERN.fullmatch(f"{error}")',
        'str(error) == "database is locked"',
        '"locked" in str(self.error)',
        'error.args[0] == "database is locked"',
        "text = str(error)\nif 'locked' in text: pass",
        "try: pass\nexcept ValueError as why_not:\n    if str(why_not) == 'x': pass",
        'if (told := str(error)) != "x": pass',
        "match row['reason']:\n    case 'x': pass",
        "MEANINGS[reason]",
        "MEANINGS.get(row['error'])",
    ],
)
def test_a_sentence_that_decides_is_found(line: str) -> None:
    assert list(readings(ast.parse(line)))


@pytest.mark.parametrize(
    "line",
    [
        'print(row["reason"], str(error))',
        'shown = row["error"] or "none"',
        'if row["error"] is not None: pass',
        'raise Failure(f"{path}: {error}") from error',
        'row["reason_code"] == "changed"',
        "error.errno == 2",
        "isinstance(error, OSError)",
        'row["error"] = "lost"',
    ],
)
def test_a_sentence_that_is_shown_is_fine(line: str) -> None:
    assert list(readings(ast.parse(line))) == []


@pytest.mark.parametrize(
    ("statement", "is_found"),
    [
        ("SELECT id FROM step WHERE reason = 'first call'", True),
        ("SELECT id FROM step s WHERE s.reason LIKE 'changed%'", True),
        ("SELECT id FROM step WHERE reason IN ('a', 'b')", True),
        ("SELECT id FROM step WHERE error IS 'lost'", True),
        ("SELECT id FROM step WHERE 'lost' = error", True),
        ("SELECT CASE reason WHEN 'x' THEN 1 END FROM step", True),
        ("SELECT CASE WHEN error GLOB 'x*' THEN 1 END FROM step", True),
        ("SELECT id FROM step WHERE instr(error, 'lost')", True),
        ("SELECT id FROM step WHERE substr(s.error, 1, 4) = 'lost'", True),
        ("UPDATE step SET reason = 'x' WHERE error = 'y'", True),
        ("UPDATE step SET status = 'x', error = :error, reason = NULL WHERE id = :id", False),
        ("UPDATE step SET error = CASE kind WHEN 'llm' THEN :error ELSE error END", False),
        ("SELECT reason, substr(error, 1, 300) AS error FROM step WHERE reason_code = 'x'", False),
        ("SELECT id FROM step WHERE status = 'failed' AND error IS NOT NULL", False),
        ("SELECT 'reason = 1' -- error = 2", False),
    ],
)
def test_a_statement_that_decides_by_a_sentence_is_found(statement: str, is_found: bool) -> None:
    assert bool(reading_of(statement)) == is_found


def test_every_number_says_why(core: dict[str, Module], adapters: dict[str, Module]) -> None:
    found = [
        (module.path.name, name)
        for module in (*core.values(), *adapters.values())
        for name in unexplained(module.path.read_text("utf-8"))
    ]
    assert found == []


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ("MAX_ROWS = 2 * 500", ["MAX_ROWS"]),
        ("X = 1\n_WAIT_S: float = -2.5", ["X", "_WAIT_S"]),
        ("MAX_ROWS = 5  # a screen", []),
        ("# a screen\nMAX_ROWS = 5", []),
        ('MAX_ROWS = 5\n"""A screen."""', []),
        ("NAME = 'x'\nrows = 5\nFLAG = True", []),
    ],
)
def test_a_number_without_a_reason_is_found(source: str, names: list[str]) -> None:
    assert list(unexplained(f'"""Of a module."""\n\n{source}\n')) == names


def test_the_sources_are_there(core: dict[str, Module], adapters: dict[str, Module]) -> None:
    # the other tests find nothing wrong in an empty folder
    assert "rowtrail" in core
    assert "rowtrail_langgraph" in adapters


def test_every_room_is_drawn(core: dict[str, Module], adapters: dict[str, Module]) -> None:
    drawn = (ROOT / "docs" / "architecture.md").read_text("utf-8")
    packages = {module.name for module in (core | adapters).values() if module.is_package}
    rooms = {name.removeprefix("rowtrail.") for name in packages if name.count(".") <= 1}
    rooms = {room for room in rooms if "." not in room} - {"rowtrail"}
    assert "engine" in rooms
    assert {room for room in rooms if f"| `{room}` |" not in drawn} == set()


def test_links_of_the_documents_lead_somewhere() -> None:
    links = [
        (file.parent / link, file.name)
        for file in (ROOT / "docs").glob("*.md")
        for link in re.findall(r"\]\(([^)#:]+)\)", file.read_text("utf-8"))
    ]
    assert links
    assert [f"{name}: {path}" for path, name in links if not path.exists()] == []


def test_every_package_is_typed() -> None:
    packages = {path.parent for root in (CORE, ADAPTERS) for path in root.glob("*/__init__.py")}
    assert [path.name for path in packages if not (path / "py.typed").exists()] == []


def test_the_words_are_those_of_the_field(
    core: dict[str, Module], adapters: dict[str, Module]
) -> None:
    found = [
        f"{module.path.relative_to(ROOT)}:{line} {word!r}: say {instead}"
        for module in (core | adapters).values()
        for line, word, instead in odd_words(module.path.read_text("utf-8"))
    ]

    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    "source",
    [
        '"""Tell whether it is open."""',
        'def f():\n    """Refuse an effect that is none.\n\n    More.\n    """',
        "x = 1  # a name that is no text",
        "class _Mould: ...",
        "_blamed = []",
        "self._owed = 1",
        "def _companion(): ...",
    ],
)
def test_odd_words_are_found(source: str) -> None:
    assert list(odd_words(source))


@pytest.mark.parametrize(
    "source",
    [
        '"""Return whether it is open, None where there is none."""',
        "error: GraphBubbleUp",
        'x = "no answer is to blame"',
        "showed = 1  # UsageError: it is none of these",
    ],
)
def test_plain_words_are_not(source: str) -> None:
    assert list(odd_words(source)) == []


@pytest.fixture
def example(tmp_path: Path) -> dict[str, Module]:
    files = {
        "rowtrail/__init__.py": "from rowtrail.a import x\n",
        "rowtrail/a/__init__.py": "from ._inner import x\n",
        "rowtrail/a/_inner.py": "def f():\n    from rowtrail.b import y\nx = 1\n",
        "rowtrail/b.py": (
            "from typing import TYPE_CHECKING\n"
            "if TYPE_CHECKING:\n    import langgraph\nelse:\n    from . import a\ny = 1\n"
        ),
    }
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
    return load(tmp_path)


def test_imports_are_found_wherever_they_stand(example: dict[str, Module]) -> None:
    found = {(i.importer, i.module, i.name, i.typing_only) for i in offences(example)}

    assert found == {
        ("rowtrail", "rowtrail.a", "x", False),
        ("rowtrail.a", "rowtrail.a._inner", "x", False),
        ("rowtrail.a._inner", "rowtrail.b", "y", False),
        ("rowtrail.b", "typing", "TYPE_CHECKING", False),
        ("rowtrail.b", "langgraph", None, True),
        ("rowtrail.b", "rowtrail", "a", False),
    }


def test_cycles_are_found(example: dict[str, Module]) -> None:
    modules, _ = dependencies(example, rooms=False)
    rooms, _ = dependencies(example, rooms=True)

    assert set(cycle(modules)) == {"rowtrail.a", "rowtrail.a._inner", "rowtrail.b"}
    assert set(cycle(rooms)) == {"rowtrail.a", "rowtrail.b"}
