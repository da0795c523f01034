"""What the HTTP routes serve: an engine, or a script in tests."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from roost_inference.http.generation import Generation
from roost_inference.http.plain_text.answers import PlainAnswers
from roost_inference.http.preparation import Preparation
from roost_inference.wire.chat_call import ChatCall
from roost_inference.wire.completion_call import CompletionCall
from roost_inference.wire.fields import RequestWarning
from roost_inference.wire.session_hint import SessionHint


class ChatService(Protocol):
    """Any thread may call it, but for what says otherwise."""

    def models(self) -> list[dict[str, Any]]:
        """The models served, as entries of /v1/models."""
        ...

    def prepare(
        self, call: ChatCall, body: Mapping[str, Any], preparation: Preparation
    ) -> Generation:
        """Accept a request; `body` is its JSON as sent. Runs on a thread of the preparation.

        Calls `preparation.check` before each long piece of work. Raises EngineError; nothing is
        computed then.
        """
        ...

    def complete(self, call: CompletionCall, preparation: Preparation) -> PlainAnswers:
        """Accept a request for completions of plain text; see `prepare`."""
        ...

    def warnings(self, call: ChatCall) -> Sequence[RequestWarning]:
        """What of a chat request the model's template does not heed."""
        ...

    def tokenize(
        self, call: ChatCall | str, preparation: Preparation, *, adds_special: bool = False
    ) -> list[int]:
        """The tokens of a request's prompt, or of a text, with BOS where `adds_special` and the
        model's texts begin with it. Runs on a thread of the preparation."""
        ...

    def spelling(self, token: int) -> bytes:
        """The bytes a token is written with. Raises InvalidRequest for an unknown one."""
        ...

    def health(self) -> tuple[int, dict[str, Any]]:
        """HTTP status and body of /health."""
        ...

    def sessions(self, limit: int | None = None) -> list[dict[str, Any]]:
        """What is known of the `limit` latest sessions, or of all; may block."""
        ...

    def session(self, session_id: str, action: str, hint: SessionHint) -> dict[str, Any]:
        """Do the `action` (pin, prefetch, offload or close) with a session; may block."""
        ...

    def metrics(self) -> bytes:
        """Prometheus' text format."""
        ...
