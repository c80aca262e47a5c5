"""The errors that rowtrail raises: one tree, a leaf for each condition."""

from __future__ import annotations

TYPE_CHECKING = False  # as in `rowtrail.lazy`
if TYPE_CHECKING:
    from typing import Any


class RowtrailError(Exception):
    """Root of every error that rowtrail raises on purpose."""


class StorageError(RowtrailError):
    """The journal's file could not be read or written.

    Attributes:
        path: The journal's file.
    """

    def __init__(self, message: str, *, path: str) -> None:
        super().__init__(message)
        self.path = path


class NotAJournalError(StorageError):
    """The file exists, and is not a rowtrail journal."""


class DamagedError(StorageError):
    """The file is a rowtrail journal whose content is damaged."""


class NewerSchemaError(StorageError):
    """A newer rowtrail wrote the file.

    Attributes:
        found: Schema version of the file.
        supported: Newest schema version that this rowtrail reads.
    """

    def __init__(self, message: str, *, path: str, found: int, supported: int) -> None:
        super().__init__(message, path=path)
        self.found = found
        self.supported = supported


class ReadOnlyError(StorageError):
    """The file or its folder cannot be written."""


class DiskFullError(StorageError):
    """The file system has no space left; nothing of the transaction was written."""


class BusyError(StorageError):
    """Another process held the write lock for longer than the busy timeout."""


class ClosedError(StorageError):
    """The journal was closed before this call."""


class ForkedError(StorageError):
    """The journal was open when this process was forked, and is used here in the child."""


class SecondNameError(StorageError):
    """The file is in use under another name, which has a WAL of its own: a hard link, say.

    Attributes:
        other: The other name, as far as it is known.
    """

    def __init__(self, message: str, *, path: str, other: str | None) -> None:
        super().__init__(message, path=path)
        self.other = other


class ReplacedError(StorageError):
    """The file was removed, renamed, replaced or written over while the journal was open."""


class UnsupportedError(RowtrailError):
    """This machine lacks something that rowtrail needs, such as a recent SQLite."""


class MissingPackageError(UnsupportedError, ImportError):
    """A package outside the base install is missing, too old, or cannot be imported.

    Attributes:
        package: Its name for pip.
        extra: The extra of rowtrail that brings it, None where no extra does.
        install: The command that installs it.
    """

    def __init__(self, message: str, *, package: str, extra: str | None, install: str) -> None:
        super().__init__(message)
        self.package = package
        self.extra = extra
        self.install = install


class UnstorableError(RowtrailError):
    """A value has no form in which it can be stored and given back equal.

    Attributes:
        type_name: Name of the type that has no stored form.
    """

    def __init__(self, message: str, *, type_name: str) -> None:
        super().__init__(message)
        self.type_name = type_name


class CorruptRowError(RowtrailError):
    """A stored row cannot be decoded.

    Attributes:
        row: The table and the id of the row.
    """

    def __init__(self, message: str, *, row: str) -> None:
        super().__init__(message)
        self.row = row


class NotRecordedError(RowtrailError):
    """A call was made and its result could not be written.

    Attributes:
        step_id: The step whose row still says `running`.
        result: What the call returned.
    """

    def __init__(self, message: str, *, step_id: str, result: Any) -> None:
        super().__init__(message)
        self.step_id = step_id
        self.result = result


class RunBusyError(RowtrailError):
    """A live process or thread holds the run.

    Attributes:
        run_id: The run.
        pid: Process id of the holder.
        host: Host of the holder.
        retry_after_s: Seconds after which the holder counts as dead if it stays silent; None where
            it is known to live.
    """

    def __init__(
        self, message: str, *, run_id: str, pid: int, host: str, retry_after_s: float | None = None
    ) -> None:
        super().__init__(message)
        self.run_id = run_id
        self.pid = pid
        self.host = host
        self.retry_after_s = retry_after_s


class UnknownIdError(RowtrailError):
    """No thread, run or step has the given id, no run the given agent.

    Attributes:
        kind: `thread`, `run`, `step` or `agent`.
        value: The id that was asked for.
    """

    def __init__(self, message: str, *, kind: str, value: str) -> None:
        super().__init__(message)
        self.kind = kind
        self.value = value


class InDoubtError(RowtrailError):
    """A step with effect `write` was started and its result was never recorded.

    Attributes:
        step_id: The step in doubt.
        name: Name of the tool or function.
        idempotency_key: The key that the tool was given.
    """

    def __init__(self, message: str, *, step_id: str, name: str, idempotency_key: str) -> None:
        super().__init__(message)
        self.step_id = step_id
        self.name = name
        self.idempotency_key = idempotency_key


class NotDoneError(RowtrailError):
    """Raised by a step of the user's own to say that what it does to the world did not happen.

    A `write` step that raises it is `failed` and is made again; with a time-out or a lost
    connection it would be in doubt.
    """


class DivergedError(RowtrailError):
    """With `strict=True`, a resumed run asked for something that was not recorded.

    Attributes:
        name: Name of the model, tool or function.
        scope: The scope in which it was called.
    """

    def __init__(self, message: str, *, name: str, scope: str) -> None:
        super().__init__(message)
        self.name = name
        self.scope = scope


class QueryError(RowtrailError):
    """A query was refused, is wrong, or ran out of time.

    Attributes:
        query: The text of the query.
    """

    def __init__(self, message: str, *, query: str) -> None:
        super().__init__(message)
        self.query = query


class EmbedderError(RowtrailError):
    """The embedder failed, or returned something else than one vector of numbers for each text."""


class UsageError(RowtrailError, RuntimeError):
    """The API was called in a way that has no meaning, such as a step outside a run."""


class ImportSourceError(RowtrailError):
    """A file cannot be imported from: it is something else, damaged, or holds what cannot be read.

    Attributes:
        path: The file.
    """

    def __init__(self, message: str, *, path: str) -> None:
        super().__init__(message)
        self.path = path


class ThreadsExistError(RowtrailError):
    """Threads that were to be imported are in the journal already; nothing was imported.

    Attributes:
        thread_ids: The threads.
    """

    def __init__(self, message: str, *, thread_ids: tuple[str, ...]) -> None:
        super().__init__(message)
        self.thread_ids = thread_ids


class ImportMismatchError(RowtrailError):
    """What an import wrote did not read back as the original; the thread was not kept.

    Attributes:
        thread_id: The thread.
        differences: Where it differs: namespace, checkpoint and part of each.
    """

    def __init__(self, message: str, *, thread_id: str, differences: tuple[str, ...]) -> None:
        super().__init__(message)
        self.thread_id = thread_id
        self.differences = differences
