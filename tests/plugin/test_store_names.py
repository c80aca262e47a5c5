"""One file by several names: who comes by a name with another WAL is refused, nothing is lost."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from rowtrail import Journal
from rowtrail.engine.files import DamagedFile, back_up, inspect_file
from rowtrail.engine.reading import open_reader
from rowtrail.errors import SecondNameError, StorageError
from tests._sample import spread

AGENT = """
import os, signal, sys, rowtrail
with rowtrail.Journal(sys.argv[1]) as journal:
    for name in sys.argv[3:]:
        with journal.run(name): pass
    print("ready", flush=True)
    if sys.argv[2] == "stays": sys.stdin.readline()
    if sys.argv[2] == "dies": os.kill(os.getpid(), signal.SIGKILL)
"""


def begin(path: Path, how: str, *runs: str, via: tuple[str, ...] = ()) -> subprocess.Popen[str]:
    """Start a process that records runs; it `stays` until it reads a line, `dies` or `ends`."""
    return subprocess.Popen(
        [*via, sys.executable, "-c", AGENT, str(path), how, *runs],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@contextmanager
def agent_at(path: Path, *runs: str, via: tuple[str, ...] = ()) -> Generator[None]:
    """Have a process hold the journal open, idle, after it recorded runs."""
    agent = begin(path, "stays", *runs, via=via)
    assert agent.stdout is not None
    assert agent.stdout.readline() == "ready\n", agent.communicate()
    try:
        yield
    finally:
        _, said = agent.communicate("\n", timeout=110)
        assert agent.returncode == 0, said


def record(path: Path, how: str, *runs: str, via: tuple[str, ...] = ()) -> str:
    """Record runs in a process of its own, and return what it wrote to stderr."""
    return begin(path, how, *runs, via=via).communicate(timeout=110)[1]


def runs_of(path: Path) -> set[str]:
    with Journal(path) as journal:
        return {run["run_id"] for run in journal.runs()}


def open_for_writing(path: Path) -> None:
    Journal(path).close()


def open_for_reading(path: Path) -> None:
    with open_reader(str(path)) as reader:
        reader.read(lambda tx: tx.value("meta_value", key="journal_id"))


def list_runs(path: Path) -> None:
    command = [sys.executable, "-m", "rowtrail", "runs", "--db", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    if done.returncode:
        raise SecondNameError(done.stderr, path=str(path), other=None)


def copy(path: Path) -> None:
    back_up(str(path), f"{path}.{os.urandom(4).hex()}", lambda done, pages: None)


OPENERS: dict[str, Callable[[Path], object]] = {
    "Journal": open_for_writing,
    "Reader": open_for_reading,
    "rowtrail runs": list_runs,
    "back_up": copy,
    "DamagedFile": lambda path: DamagedFile(str(path)).close(),
    "inspect_file": lambda path: inspect_file(str(path), check=None),
}
journal_or_reader = pytest.mark.parametrize("opener", ["Journal", "Reader"])


@pytest.fixture
def names(tmp_path: Path) -> tuple[Path, Path]:
    """Return a journal and a second name of it in another folder, as a hard link."""
    for folder in "xy":
        (tmp_path / folder).mkdir()
    first, second = tmp_path / "x" / "a.db", tmp_path / "y" / "b.db"
    record(first, "ends", "base")
    os.link(first, second)
    return first, second


def hold_in_this_process(stack: ExitStack, path: Path) -> None:
    journal = stack.enter_context(Journal(path))
    with journal.run("held"):
        pass


def hold_in_another(stack: ExitStack, path: Path) -> None:
    stack.enter_context(agent_at(path, "held"))


def crash(stack: ExitStack, path: Path) -> None:
    record(path, "dies", "held")


HOLDERS = {"this process": hold_in_this_process, "another": hold_in_another, "a crash": crash}
every_holder = pytest.mark.parametrize("holder", HOLDERS)
either_first = pytest.mark.parametrize("turned", [False, True], ids=["", "turned"])


@pytest.mark.parametrize(("holder", "opener", "turned"), spread(HOLDERS, OPENERS, (False, True)))
def test_a_second_name_of_a_journal_in_use_is_refused(
    names: tuple[Path, Path], holder: str, opener: str, turned: bool
) -> None:
    first, second = names[::-1] if turned else names
    with ExitStack() as stack:
        HOLDERS[holder](stack, first)
        if (holder, opener) == ("a crash", "Journal"):
            assert runs_of(second) == {"base", "held"}  # it has the right to mend it
            return
        with pytest.raises(SecondNameError, match="other name") as caught:
            OPENERS[opener](second)
        if opener != "rowtrail runs":
            assert caught.value.other == str(first)
        assert not os.path.exists(f"{second}-wal") or not os.path.getsize(f"{second}-wal")
    # By the name that was used nothing is missing, and then by the other.
    assert runs_of(first) == runs_of(second) == {"base", "held"}


@every_holder
@journal_or_reader
def test_a_link_that_was_made_while_the_journal_was_new_is_refused(
    tmp_path: Path, holder: str, opener: str
) -> None:
    """Nothing of it was ever moved from its WAL into the file."""
    first, second = tmp_path / "a.db", tmp_path / "b.db"
    with ExitStack() as stack:
        HOLDERS[holder](stack, first)
        os.link(first, second)
        if (holder, opener) != ("a crash", "Journal"):
            with pytest.raises(SecondNameError):
                OPENERS[opener](second)
    assert runs_of(first) == runs_of(second) == {"held"}


def test_names_may_take_turns(names: tuple[Path, Path]) -> None:
    expected = {"base"}
    for turn in range(6):
        record(names[turn % 2], "ends", f"run {turn}")
        expected.add(f"run {turn}")
        open_for_reading(names[(turn + 1) % 2])
        assert runs_of(names[(turn + 1) % 2]) == expected


def test_two_processes_that_come_by_two_names_at_once_lose_nothing(
    names: tuple[Path, Path],
) -> None:
    for turn in range(4):
        agents = [
            begin(path, "ends", f"{turn} {path.name} {n}") for path in names for n in range(2)
        ]
        failed = [agent for agent in agents if agent.wait(timeout=60)]
        for agent in agents:
            said = agent.communicate()[1]
            assert ("SecondNameError" in said) == (agent in failed), said
        for path in names:
            runs = runs_of(path)
            made = {run for run in runs if run.startswith(f"{turn} ")}
            assert len(made) == len(agents) - len(failed)


@pytest.mark.parametrize("with_wal", [False, True])
def test_a_file_whose_other_name_is_gone_opens_again(
    names: tuple[Path, Path], with_wal: bool
) -> None:
    first, second = names
    record(first, "dies", "newest")
    first.unlink()
    wal = Path(f"{first}-wal")
    if with_wal:
        with pytest.raises(SecondNameError, match="without its newest rows") as caught:
            open_for_writing(second)
        with pytest.raises(SecondNameError):
            open_for_reading(second)
        assert str(wal) in str(caught.value)
        shutil.move(wal, f"{second}-wal")  # as the error says
        assert runs_of(second) == {"base", "newest"}
    else:
        wal.unlink()
        assert runs_of(second) == {"base"}


def test_a_copy_is_a_journal_of_its_own(names: tuple[Path, Path], tmp_path: Path) -> None:
    target = tmp_path / "copy.db"
    with agent_at(names[0], "held"):
        back_up(str(names[0]), str(target), lambda done, pages: None)
        assert runs_of(target) == {"base", "held"}


def test_a_journal_that_was_moved_with_its_wal_opens(tmp_path: Path) -> None:
    first, second = tmp_path / "a.db", tmp_path / "b.db"
    record(first, "dies", "r")
    for suffix in ("", "-wal"):
        shutil.move(f"{first}{suffix}", f"{second}{suffix}")
    open_for_reading(second)
    assert runs_of(second) == {"r"}


def test_symbolic_links_are_the_name_of_their_target(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "linked").symlink_to(tmp_path / "real")
    real, link = tmp_path / "real" / "a.db", tmp_path / "link.db"
    link.symlink_to(tmp_path / "linked" / "a.db")
    with agent_at(link, "by link"), Journal(real) as journal:
        for path in (real, link, tmp_path / "linked" / "a.db"):
            with Journal(path) as same:
                assert same.store is journal.store
            open_for_reading(path)
            list_runs(path)
    assert runs_of(link) == {"by link"}


def mounted(kind: str, source: Path, target: Path) -> tuple[str, ...]:
    """Return the command that runs another where `source` is mounted on `target` as well."""
    via = ("unshare", "-m") if os.getuid() == 0 else ("unshare", "-Urm")
    target.mkdir() if kind == "folder" else target.touch()
    script = f'mount --bind {source} {target} && exec "$0" "$@"'
    command = (*via, "sh", "-c", script)
    try:
        done = subprocess.run([*command, "true"], capture_output=True, timeout=20, check=False)
    except OSError:
        pytest.skip("there is no unshare here")
    if done.returncode:
        pytest.skip("mounting is not allowed here")
    return command


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    (tmp_path / "x").mkdir()
    return tmp_path / "x" / "a.db", tmp_path / "y"


@either_first
def test_mounted_folders_are_one_place(folders: tuple[Path, Path], turned: bool) -> None:
    first, y = folders
    via = mounted("folder", first.parent, y)
    record(first, "ends", "base")
    if turned:
        with agent_at(y / "a.db", "mounted", via=via):
            assert runs_of(first) == {"base", "mounted"}
            open_for_reading(first)
    else:
        with agent_at(first, "here"):
            assert record(y / "a.db", "ends", "mounted", via=via) == ""
    assert len(runs_of(first)) == 2 + (not turned)


@either_first
@journal_or_reader
def test_a_mounted_file_is_a_second_name(
    folders: tuple[Path, Path], turned: bool, opener: str
) -> None:
    first, y = folders
    record(first, "ends", "base")
    via = mounted("file", first, y)
    if turned:
        with agent_at(y, "mounted", via=via), pytest.raises(SecondNameError):
            OPENERS[opener](first)
    else:
        with agent_at(first, "here"):
            assert "SecondNameError" in record(y, "ends", "mounted", via=via)
    assert record(y, "ends", "later", via=via) == ""  # nobody has it open
    assert runs_of(first) == {"base", "later"} | ({"mounted"} if turned else {"here"})


def test_a_second_name_that_is_young_or_unreadable_says_what_it_is(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    record(path, "ends", "r")
    with Journal(path) as journal:
        journal.store.write(lambda tx: tx.run("meta_set", key="home", value="{"))
    assert runs_of(path) == {"r"}  # told anew
    with Journal(path) as journal:
        told = json.loads(
            journal.store.read(lambda tx: tx.value("meta_value", key="home"))  # as it was born
        )
    assert told["path"] == str(path.resolve())


# Where a journal is created.


@pytest.mark.parametrize("depth", [1, 3])
def test_a_journal_that_a_dangling_link_makes_is_private(tmp_path: Path, depth: int) -> None:
    (tmp_path / "data").mkdir()
    target = tmp_path / "data" / "real.db"
    for number in range(depth):
        link = tmp_path / f"link{number}.db"
        link.symlink_to(os.path.relpath(target, tmp_path))
        target = link
    before = os.umask(0o022)
    try:
        with Journal(target) as journal, journal.run("r"):
            modes = {
                file.name: file.stat().st_mode & 0o777 for file in target.resolve().parent.iterdir()
            }
    finally:
        os.umask(before)
    assert modes == dict.fromkeys(("real.db", "real.db-wal", "real.db-shm"), 0o600)


def test_links_that_lead_nowhere_are_clear_errors(tmp_path: Path) -> None:
    loop, folder, missing = (tmp_path / name for name in ("loop.db", "folder.db", "missing.db"))
    loop.symlink_to(loop)
    folder.symlink_to(tmp_path)
    missing.symlink_to(tmp_path / "no" / "such" / "a.db")
    for path, word in ((loop, "symbolic link"), (folder, "folder"), (missing, "folder")):
        with pytest.raises(StorageError, match=word) as caught:
            Journal(path)
        assert repr(str(path)) in str(caught.value)
