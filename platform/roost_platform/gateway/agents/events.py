"""An agent's model call over a provider whose wire is not OpenAI's."""

import contextlib
from collections.abc import AsyncGenerator

from roost_inference.client.chat_request import fields_of
from roost_inference.client.engine_client import ChatRequest, Completed, Delta, ToolCall
from roost_platform.gateway.answer import Answer
from roost_platform.gateway.events import TextDelta, TextWasReasoning
from roost_platform.gateway.request import ModelRequest
from roost_platform.gateway.routing.catalogue import Target
from roost_platform.gateway.sizes import text_bytes


def inner_request(request: ChatRequest) -> ModelRequest:
    """The request of an agent in the gateway's form."""
    return ModelRequest(
        family="chat",
        model=request.model,
        body={"messages": list(request.messages), **fields_of(request), **request.extra},
        stream=True,
        max_tokens=request.max_tokens,
        prompt_bytes=text_bytes(list(request.messages)) + text_bytes(list(request.tools)),
    )


async def agent_answer(
    target: Target, request: ModelRequest
) -> AsyncGenerator[Delta | Completed, None]:
    """The target's answer as EngineClient tells answers: an empty Delta with the first event, text
    as it comes, then one Completed.
    """
    answer, has_begun = Answer(), False
    async with contextlib.aclosing(target.provider.stream(request, target.model, {})) as batches:
        async for batch in batches:
            answer.take(batch)
            if not has_begun:
                has_begun = True
                yield Delta()
            for event in batch:
                if isinstance(event, TextDelta) and event.text:
                    yield Delta(event.text)
                elif isinstance(event, TextWasReasoning):
                    yield Delta(replaces=True)
    yield _completed(answer)


def _completed(answer: Answer) -> Completed:
    choice, usage = answer.choices[0], answer.usage
    return Completed(
        text=choice.text or choice.refusal,
        tool_calls=tuple(
            ToolCall(call.id, call.name, call.arguments or "{}") for call in choice.calls
        ),
        finish_reason=choice.finish or "stop",
        model=answer.started.model,
        message_id=answer.started.id,
        prompt_tokens=usage.input_tokens,
        cached_tokens=usage.cached_tokens,
        completion_tokens=usage.output_tokens,
        metrics=usage.metrics,
        reasoning=choice.reasoning_text,
    )
