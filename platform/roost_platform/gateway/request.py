"""The inner request: what a client asks of a model, in OpenAI's chat form, whatever its family."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

Family = Literal["chat", "completions", "responses", "messages", "embeddings"]
Wire = Literal["openai", "anthropic"]

# Ours and vLLM's hints about sessions and tenants. A client could forge them, so the gateway takes
# them out and mints its own for the bundled core.
HINTS = frozenset(
    {"session_id", "cache_salt", "priority", "tenant", "kv_transfer_params", "request_id"}
)


class TextSink(Protocol):
    """Takes text of a streamed answer as it comes, past its events. It is for providers whose next
    events are waited for: text must not overtake what came before it.
    """

    @property
    def is_ready(self) -> bool:
        """Whether it takes text now. Text that it does not take becomes an event."""
        ...

    def send(self, text: str, choice: int) -> None:
        """Take this text of a choice, where `is_ready`."""
        ...


@dataclass(frozen=True, slots=True)
class NativeCall:
    """The client's call as it came, for a provider with the same wire.

    body: without the hints. headers: those the provider has to see, such as `anthropic-beta`.
    """

    wire: Wire
    body: Mapping[str, Any]
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ModelRequest:
    """One generation. model: the alias the client names.

    body: OpenAI's chat completions request without `model`, `stream`, `stream_options`, `n` and the
    hints; fields that are unknown here stay in it, a provider may know them. max_tokens: the bound
    of the output where the client gives one; it is in `body` as well.
    prompt_bytes: UTF-8 bytes of messages and tools, from which tokens are estimated.
    session: the client's own name of its conversation, empty where it names none.
    person: OpenAI's `user` or Anthropic's `metadata.user_id`. n: choices in all. more_bodies: of
    further prompts in the same call; each prompt gets its share of `n`, in their order.
    truncates: drop the oldest turns of a prompt that is too long, rather than refuse it.
    native_only: a field that only a provider with the wire of `native` can obey, empty for none.
    unread: fields of the client's request that do nothing at any provider.
    direct: takes text of the answer, where a client waits for it as it comes.
    """

    family: Family
    model: str
    body: Mapping[str, Any]
    stream: bool = False
    n: int = 1
    max_tokens: int | None = None
    prompt_bytes: int = 0
    session: str = ""
    person: str = ""
    native: NativeCall | None = None
    truncates: bool = False
    more_bodies: Sequence[Mapping[str, Any]] = ()
    native_only: str = ""
    unread: Sequence[str] = ()
    direct: TextSink | None = field(default=None, repr=False, compare=False)

    @property
    def messages(self) -> Sequence[Mapping[str, Any]]:
        """The conversation, in OpenAI's form."""
        messages: Sequence[Mapping[str, Any]] = self.body.get("messages", ())
        return messages
