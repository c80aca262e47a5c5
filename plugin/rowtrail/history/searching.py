"""Searching the journal, apart from `rowtrail.history`: asking it in SQL loads none of this."""

from __future__ import annotations

from rowtrail.history._background import fill_alone, go_on_filling, stop_filling
from rowtrail.history._embedder import EmbedderLike
from rowtrail.history._filling import Progress
from rowtrail.history._finding import Mode
from rowtrail.history._index_file import check_can_search
from rowtrail.history._search import Indexed, build_index, search
from rowtrail.vocabulary import Kind

__all__ = [
    "EmbedderLike",
    "Indexed",
    "Kind",
    "Mode",
    "Progress",
    "build_index",
    "check_can_search",
    "fill_alone",
    "go_on_filling",
    "search",
    "stop_filling",
]
