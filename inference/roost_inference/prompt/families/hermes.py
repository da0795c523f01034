"""The markup of Hermes and Qwen, which models without one of their own are asked to use as well."""

import json
from collections.abc import Sequence

from roost_inference.prompt.call_markup import (
    CALL_CLOSE,
    CALL_OPEN,
    CallMarkup,
    CallParser,
    Markers,
)
from roost_inference.prompt.tool_calls import ToolCallParser


class HermesCalls(CallMarkup):
    """`<tool_call>`, JSON and `</tool_call>`, on lines of their own."""

    opening = CALL_OPEN
    parts = (CALL_OPEN, CALL_CLOSE)

    def rules(self, names: Sequence[str], markers: Markers) -> list[str]:
        """See CallMarkup."""
        bodies = []
        for number, name in enumerate(names):
            head = f'\n{{"name": {json.dumps(name)}, "arguments": '
            bodies.append(f"{json.dumps(head)} arguments_{number}")
        return [
            f"open: {markers.literal(CALL_OPEN)}",
            f'call: ({" | ".join(bodies)}) "}}\\n" {markers.literal(CALL_CLOSE)}',
            'more: "\\n" open call',
        ]

    def parser(self, names: frozenset[str]) -> CallParser:
        """See CallMarkup."""
        return ToolCallParser()


HERMES = HermesCalls()
