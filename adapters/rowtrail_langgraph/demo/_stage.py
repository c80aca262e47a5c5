"""The demo from its first line to its table: the folder, the scenarios in it, what is printed."""

from __future__ import annotations

import os
import time
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import click
from rich.console import Console
from rich.text import Text

from rowtrail.extras import Package, needed
from rowtrail_langgraph.demo import _report
from rowtrail_langgraph.demo._corpus import copy_corpus
from rowtrail_langgraph.demo._director import (
    AGAIN,
    Director,
    Kill,
    Outcome,
    has_sqlite_saver,
    plan_kills,
)
from rowtrail_langgraph.demo._model import Respond, real, scripted
from rowtrail_langgraph.demo._process import DemoError
from rowtrail_langgraph.demo._report import Figures, Saved

SCRIPTED_MODEL = "gpt-4o-mini"
STYLES = {"rowtrail": "green", "baseline": "yellow", "undisturbed": "dim"}


class Stage:
    """A new folder, and the scenarios that are played in it."""

    def __init__(self, folder: Path, model: str | None) -> None:
        self.db = folder / "agent.db"
        self._folder = folder
        self._is_scripted = model is None
        self._respond = scripted if model is None else _open_model(model)
        self._model = SCRIPTED_MODEL if model is None else model.partition(":")[2] or model
        self._messages = Console(stderr=True, highlight=False)
        folder.mkdir(parents=True, exist_ok=True)
        self._kills = plan_kills(copy_corpus(folder / "files"))

    def run(self, *, baseline: bool) -> tuple[Figures, Figures | None]:
        """Play every scenario and return the figures of rowtrail and of the baseline.

        A real model answers differently each time, so that its undisturbed run would compare to
        nothing: it is left out.

        Raises:
            DemoError: one of them could not be carried out.
        """
        undisturbed = None
        if self._is_scripted:
            undisturbed = self._play("undisturbed", "none", self._folder / "unused", ())
        outcome = self._play("rowtrail", "rowtrail", self.db, self._kills)
        saved = _report.fetch_saved(self.db)
        figures = _report.count(outcome, undisturbed, saved, "rowtrail", self.db)
        return figures, self._run_baseline(undisturbed) if baseline else None

    def _run_baseline(self, undisturbed: Outcome | None) -> Figures:
        journal = "sqlite" if has_sqlite_saver() else "none"
        db = self._folder / "baseline" / "checkpoints.db"
        outcome = self._play("baseline", journal, db, self._kills)
        kept = db if journal == "sqlite" else None
        return _report.count(outcome, undisturbed, Saved(), journal, kept)

    def _play(self, name: str, journal: str, db: Path, kills: tuple[Kill, ...]) -> Outcome:
        director = Director(
            journal,
            db=db,
            folder=self._folder / name,
            files=self._folder / "files",
            model=self._model,
            respond=self._respond,
            say=partial(self._say, name),
        )
        return director.run(kills)

    def _say(self, name: str, text: str) -> None:
        striking = text.startswith("SIGKILL") or text.endswith(AGAIN)
        style = "bold red" if striking else ""
        line = Text.assemble((f"{name:<12}", STYLES[name]), (text, style))
        self._messages.print(line, soft_wrap=True)


def run_demo(folder: Path | None, model: str | None, *, as_json: bool, baseline: bool) -> int:
    """Run the demo, print its figures, and return the exit code: 0 if nothing was repeated.

    Raises:
        MissingPackageError: The agent needs langchain-openai.
        click.ClickException: it could not be carried out; the message says why.
    """
    with needed(Package("langchain-openai", "1.0", extra=None), by="the demo"):
        if find_spec("langchain_openai") is None:  # its import takes a second: for the agent
            raise ModuleNotFoundError(name="langchain_openai")
    stage = Stage(_new_folder(folder), model)
    try:
        figures, compared = stage.run(baseline=baseline)
    except DemoError as error:
        raise click.ClickException(str(error)) from error
    if as_json:
        click.echo(_report.as_json(figures, compared))
    else:
        _print_report(stage.db, figures, compared)
    return 0 if figures.repeated_nothing and figures.answer_equal is not False else 1


def _print_report(db: Path, figures: Figures, compared: Figures | None) -> None:
    console = Console(highlight=False)
    console.print(_report.build_table(figures, compared))
    lines = ["The journal stays on disk. Look at it:", *_report.queries(db)]
    console.print("\n  ".join(lines), soft_wrap=True, markup=False)


def _new_folder(folder: Path | None) -> Path:
    if folder is None:
        folder = Path(time.strftime("demo-%Y%m%d-%H%M%S"))
    if folder.exists() and any(folder.iterdir()):
        raise click.UsageError(f"--dir {str(folder)!r} is not empty: give a new folder")
    return folder


def _open_model(name: str) -> Respond:
    if name.startswith("openai:") and not os.environ.get("OPENAI_API_KEY"):
        raise click.UsageError(f"--model {name!r} needs a key: set OPENAI_API_KEY")
    try:
        return real(name)
    except (ImportError, ValueError) as error:
        raise click.UsageError(f"--model {name!r} cannot be used: {error}") from error
