"""The fields of a request that say how its messages become a prompt, in vLLM's form."""

from typing import Any

from pydantic import Field

from roost_inference.wire.message import WireModel

DOCUMENTS_MAX = 256
# The prompt keeps all of the model's context but one token for the answer.
TRUNCATE_TO_CONTEXT = -1


class PromptOptions(WireModel):
    """continue_final_message: the answer goes on with the last message, an assistant's.
    add_generation_prompt: the prompt ends where the assistant's answer begins, unless it goes on
    with a message. add_special_tokens: the prompt begins with BOS, which templates bring along.

    chat_template: only the model's own. chat_template_kwargs: variables of the template, such as
    `enable_thinking`. documents: for templates that show some. reasoning_effort: OpenAI's, for
    templates that read it. truncate_prompt_tokens: how many of the prompt's last tokens are read.
    """

    add_generation_prompt: bool | None = None
    continue_final_message: bool | None = None
    add_special_tokens: bool | None = None
    chat_template: str | None = None
    chat_template_kwargs: dict[str, Any] | None = Field(default=None, max_length=64)
    documents: list[dict[str, Any]] | None = Field(default=None, max_length=DOCUMENTS_MAX)
    reasoning_effort: str | None = Field(default=None, max_length=32)
    truncate_prompt_tokens: int | None = Field(default=None, ge=TRUNCATE_TO_CONTEXT, lt=2**31)
