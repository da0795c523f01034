"""The markup of Hermes and Qwen, which models without one of their own are asked to use as well."""

import json
from collections.abc import Sequence

from roost_inference.prompt.call_markup import (
    CALL_CLOSE,
    CALL_OPEN,
    CallMarkup,
    CallParser,
    Markers,
    Signature,
)
from roost_inference.prompt.tool_calls import ToolCallParser


class HermesCalls(CallMarkup):
    """`<tool_call>`, JSON and `</tool_call>`, on lines of their own."""

    opening = CALL_OPEN
    parts = (CALL_OPEN, CALL_CLOSE)

    def rules(self, functions: Sequence[Signature], markers: Markers) -> list[str]:
        """See CallMarkup."""
        bodies = []
        for number, function in enumerate(functions):
            head = f'\n{{"name": {json.dumps(function.name)}, "arguments": '
            bodies.append(f"{json.dumps(head)} arguments_{number}")
        return [
            f"open: {markers.literal(CALL_OPEN)}",
            f'call: ({" | ".join(bodies)}) "}}\\n" {markers.literal(CALL_CLOSE)}',
            'more: "\\n" open call',
        ]

    def parser(self, functions: Sequence[Signature]) -> CallParser:
        """See CallMarkup."""
        return ToolCallParser()


HERMES = HermesCalls()
