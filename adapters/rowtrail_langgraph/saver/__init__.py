"""LangGraph's checkpointer on a journal."""

from rowtrail_langgraph.saver._saver import RowtrailSaver
from rowtrail_langgraph.saver._transactions import Address, Transactions

__all__ = [
    "Address",
    "RowtrailSaver",
    "Transactions",
]
