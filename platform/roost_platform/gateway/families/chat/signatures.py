"""Reasoning that bears a provider's signature, in OpenRouter's form: a client that sends
`reasoning_details` back with its history lets the provider go on thinking.
"""

from collections.abc import Sequence
from typing import Any

from roost_platform.gateway.answer import ReasoningBlock
from roost_platform.gateway.events import ReasoningDelta


class SignedReasoning:
    """Makes deltas of reasoning. A signature comes last, and goes out with the text it signs."""

    def __init__(self) -> None:
        self._texts: dict[int, str] = {}
        self._count = 0

    def delta(self, event: ReasoningDelta) -> dict[str, Any]:
        """What a chunk says of this event; empty for nothing. Reasoning has two names."""
        delta: dict[str, Any] = {}
        if event.text and not event.is_redacted:
            delta = {"reasoning": event.text, "reasoning_content": event.text}
            self._texts[event.choice] = self._texts.get(event.choice, "") + event.text
        if event.signature or event.is_redacted:
            text = event.text if event.is_redacted else self._texts.pop(event.choice, "")
            block = ReasoningBlock(text, event.signature, event.is_redacted)
            delta["reasoning_details"] = [_detail(self._count, block)]
            self._count += 1
        return delta


def details_of(blocks: Sequence[ReasoningBlock]) -> list[dict[str, Any]]:
    """The blocks that a provider wants back; none where it signs nothing."""
    signed = [block for block in blocks if block.signature or block.is_redacted]
    return [_detail(index, block) for index, block in enumerate(signed)]


def _detail(index: int, block: ReasoningBlock) -> dict[str, Any]:
    known = {"id": None, "format": "anthropic-claude-v1", "index": index}
    if block.is_redacted:
        return {"type": "reasoning.encrypted", "data": block.text, **known}
    return {
        "type": "reasoning.text",
        "text": block.text,
        "signature": block.signature,
        **known,
    }
