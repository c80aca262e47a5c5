"""LangGraph's checkpointer on a journal."""

from rowtrail_langgraph.saver._address import Address
from rowtrail_langgraph.saver._saver import RowtrailSaver
from rowtrail_langgraph.saver._transactions import Transactions

__all__ = [
    "Address",
    "RowtrailSaver",
    "Transactions",
]
