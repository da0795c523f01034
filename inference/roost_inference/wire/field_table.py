"""The page of the request's fields in Markdown: what is obeyed, refused, and named in warnings."""

import json
from collections.abc import Mapping

from roost_inference.wire.chat_call import ChatCall
from roost_inference.wire.completion_call import CHAT_ONLY, CompletionFields
from roost_inference.wire.fields import REFUSED, WARNED, FieldRule, names_on_the_wire
from roost_inference.wire.legacy import OLD_FIELDS


def field_table() -> str:
    """The tables of docs/engine-api.md."""
    chat = names_on_the_wire(ChatCall) | frozenset(OLD_FIELDS)
    plain = names_on_the_wire(CompletionFields) | (chat - CHAT_ONLY)
    return "\n".join(
        [
            "| field | chats | completions |",
            "| --- | --- | --- |",
            *(
                f"| `{name}` | {_fate(name, chat)} | {_fate(name, plain)} |"
                for name in sorted(chat | plain)
            ),
            "",
            "| refused with 400 | why | taken all the same |",
            "| --- | --- | --- |",
            *_rows(REFUSED),
            "",
            "| named in `warnings` | why | taken without a warning |",
            "| --- | --- | --- |",
            *_rows(WARNED),
            "",
        ]
    )


def _fate(name: str, obeyed: frozenset[str]) -> str:
    if name in obeyed:
        return "obeyed"
    return "refused" if name in REFUSED or name in CHAT_ONLY else "unknown"


def _rows(rules: Mapping[str, FieldRule]) -> list[str]:
    return [
        f"| `{name}` | {rule.reason} | {', '.join(map(_value, rule.asks_nothing))} |"
        for name, rule in sorted(rules.items())
    ]


def _value(value: object) -> str:
    return f"`{json.dumps(value)}`"
