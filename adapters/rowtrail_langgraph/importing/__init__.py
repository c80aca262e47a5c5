"""Taking over the files of LangGraph's SQLite savers."""

from rowtrail_langgraph.importing._threads import ImportProgress, ImportReport, import_sqlite_saver

__all__ = [
    "ImportProgress",
    "ImportReport",
    "import_sqlite_saver",
]
