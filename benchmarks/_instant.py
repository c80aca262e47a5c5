"""A chat model that answers at once."""

from __future__ import annotations

from typing import Any

from langchain_core.callbacks import CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from pydantic import PrivateAttr


class InstantModel(BaseChatModel):
    """Says what it is given to say, one answer after the other."""

    # private: what it will say is no part of what it is
    _answers: list[AIMessage] = PrivateAttr(default_factory=list[AIMessage])

    def will_say(self, *answers: AIMessage) -> None:
        """Say these next."""
        self._answers[:] = answers

    @property
    def _llm_type(self) -> str:
        return "instant"

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        return ChatResult(generations=[ChatGeneration(message=self._answers.pop(0))])
