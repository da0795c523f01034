"""Drops the oldest turns of a prompt that no target takes, for requests that ask for it."""

import contextlib
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import replace
from itertools import takewhile
from typing import Any, Final

from roost_inference.errors import PromptTooLong
from roost_platform.gateway.events import Event
from roost_platform.gateway.request import ModelRequest
from roost_platform.gateway.routing.router import CallTrace
from roost_platform.gateway.sizes import text_bytes

ROUNDS_MAX: Final = 8
ROOM: Final = 0.9  # of the window that a shortened prompt may fill, as sizes are estimates
HALF: Final = 0.5  # is kept where the engine does not say how long the prompt is
RULES: Final = frozenset({"system", "developer"})

Stream = Callable[
    [ModelRequest, CallTrace, Mapping[str, Any]], AsyncGenerator[Sequence[Event], None]
]


def truncating(stream: Stream) -> Stream:
    """The same stream, asked again with fewer of the oldest turns while the prompt is too long.

    Rules and the last turn stay. Raises PromptTooLong where these alone are too long.
    """

    async def shortened_stream(
        request: ModelRequest, trace: CallTrace, hints: Mapping[str, Any]
    ) -> AsyncGenerator[Sequence[Event], None]:
        for _ in range(ROUNDS_MAX):
            try:
                async with contextlib.aclosing(stream(request, trace, hints)) as batches:
                    async for batch in batches:
                        yield batch
                return
            except PromptTooLong as error:
                shorter = None if trace.target is not None else _shortened(request, error)
                if shorter is None:
                    raise
                request = shorter
                trace.prompt_bytes = request.prompt_bytes
        raise PromptTooLong("The prompt does not fit however many turns are left out")

    return shortened_stream


def _shortened(request: ModelRequest, error: PromptTooLong) -> ModelRequest | None:
    """The request without its oldest turns; None if only one is left."""
    share = HALF
    if error.prompt_tokens and error.limit_tokens and error.limit_tokens < error.prompt_tokens:
        share = ROOM * error.limit_tokens / error.prompt_tokens
    rules = list(takewhile(_is_rule, request.messages))
    turns = _turns(request.messages[len(rules) :])
    if len(turns) < 2:
        return None
    room = request.prompt_bytes * share
    size = request.prompt_bytes
    while len(turns) > 1:
        turn = turns.pop(0)
        rules += filter(_is_rule, turn)
        size -= text_bytes([message for message in turn if not _is_rule(message)])
        if size <= room:
            break
    messages = [*rules, *(message for turn in turns for message in turn)]
    return replace(request, body={**request.body, "messages": messages}, prompt_bytes=size)


def _is_rule(message: Mapping[str, Any]) -> bool:
    return message.get("role") in RULES


def _turns(messages: Sequence[Mapping[str, Any]]) -> list[list[Mapping[str, Any]]]:
    """Each turn begins with what a user says, so that calls and their results stay together."""
    turns: list[list[Mapping[str, Any]]] = []
    was_user = False
    for message in messages:
        is_user = message.get("role") == "user"
        if not turns or (is_user and not was_user):
            turns.append([])
        turns[-1].append(message)
        was_user = is_user
    return turns
