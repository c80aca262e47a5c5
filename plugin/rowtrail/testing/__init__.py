"""Helpers for testing agents that use rowtrail: no network, no key, real sockets and files."""

from rowtrail.testing._clock import FakeClock
from rowtrail.testing._journal import temporary_journal
from rowtrail.testing.llm import LLMServer, Reply, Usage

__all__ = ["FakeClock", "LLMServer", "Reply", "Usage", "temporary_journal"]
