"""Searching the journal, apart from `rowtrail.history`: asking it in SQL loads none of this."""

from __future__ import annotations

from rowtrail.history._embedder import EmbedderLike
from rowtrail.history._filling import Progress
from rowtrail.history._index_file import check_can_search
from rowtrail.history._search import Indexed, Mode, build_index, search
from rowtrail.vocabulary import Kind

__all__ = [
    "EmbedderLike",
    "Indexed",
    "Kind",
    "Mode",
    "Progress",
    "build_index",
    "check_can_search",
    "search",
]
