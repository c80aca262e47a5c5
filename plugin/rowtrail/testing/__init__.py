"""Helpers for testing agents that use rowtrail: no network, no key, real sockets and files."""

from rowtrail.testing.llm import LLMServer, Reply, Usage

__all__ = ["LLMServer", "Reply", "Usage"]
