"""The family of responses for one call: its request and history in, its resource out and kept."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from roost_inference.errors import EngineError
from roost_platform.gateway.answer import Answer
from roost_platform.gateway.families.chat.reading import session_of
from roost_platform.gateway.families.chat.writing import error_object
from roost_platform.gateway.families.responses.ids import response_id
from roost_platform.gateway.families.responses.items import chat_messages
from roost_platform.gateway.families.responses.reading import ResponseRequest
from roost_platform.gateway.families.responses.resource import new_resource
from roost_platform.gateway.families.responses.store import (
    OPEN,
    ResponseStore,
    StoredResponse,
)
from roost_platform.gateway.families.responses.writing import ResponseWriter, whole_response
from roost_platform.gateway.request import Family, ModelRequest
from roost_platform.gateway.sizes import text_bytes


class ResponseCall:
    """One response; see GenerationFamily. items: of its own input; before: those of its history.

    is_admitted: set once its key may have it. A response that is stored is stored before the client
    is told that it has ended (`keep`).
    """

    name: Family = "responses"

    def __init__(
        self,
        asked: ResponseRequest,
        items: Sequence[Mapping[str, Any]],
        before: Sequence[Mapping[str, Any]],
        *,
        call_id: str,
        key_id: str,
        store: ResponseStore,
    ) -> None:
        self.id = response_id(call_id)
        self.asked = asked
        self.is_admitted = asyncio.Event()
        self._items = items
        self._before = before
        self.key_id = key_id
        self._is_added = False
        self._keeping: asyncio.Future[None] | None = None
        self._store = store
        status = "queued" if asked.background else "in_progress"
        self.resource = new_resource(self.id, asked.echo, status)
        self._writer: ResponseWriter | None = None

    def read(self, body: Mapping[str, Any], headers: Mapping[str, str]) -> ModelRequest:
        """The request of this call; the body has been read before."""
        return self.request(self.conversation, body, headers)

    @property
    def conversation(self) -> list[Mapping[str, Any]]:
        """All items, oldest first."""
        return [*self._before, *self._items]

    def request(
        self,
        items: Sequence[Mapping[str, Any]],
        body: Mapping[str, Any],
        headers: Mapping[str, str],
    ) -> ModelRequest:
        """The request of this call for these items. Raises InvalidRequest."""
        asked = self.asked
        messages = chat_messages(asked.instructions, items)
        return ModelRequest(
            family="responses",
            model=asked.model,
            body={"messages": messages, **asked.chat},
            stream=asked.stream or asked.background,
            max_tokens=asked.max_tokens,
            prompt_bytes=text_bytes(messages) + text_bytes(asked.chat.get("tools")),
            session=session_of(body, headers),
            person=asked.person,
            truncates=asked.truncates,
            unread=asked.unread,
        )

    def writer(
        self, request: ModelRequest, body: Mapping[str, Any], call_id: str
    ) -> ResponseWriter:
        """The writer of a streamed answer."""
        self.is_admitted.set()
        return self.own_writer

    @property
    def own_writer(self) -> ResponseWriter:
        """The one writer of this call."""
        if self._writer is None:
            asked = self.asked
            self._writer = ResponseWriter(
                self.resource, custom=asked.tools.custom, summarises=asked.summarises
            )
        return self._writer

    def whole(
        self, request: ModelRequest, body: Mapping[str, Any], call_id: str, answer: Answer
    ) -> Mapping[str, Any]:
        """A whole answer as one object."""
        asked = self.asked
        return whole_response(
            self.resource, answer, custom=asked.tools.custom, summarises=asked.summarises
        )

    def error(self, error: EngineError, request_id: str) -> Mapping[str, Any]:
        """An error as the body of a response."""
        return error_object(error)

    @property
    def has_output(self) -> bool:
        """Whether a client may have read a part of it."""
        return self._writer is not None and self._writer.has_begun

    @property
    def is_open(self) -> bool:
        """Whether it has not ended yet."""
        return self.resource["status"] in OPEN

    async def add(self) -> None:
        """Store it before it runs."""
        self._is_added = True
        await self._store.add(self._stored())

    async def keep(self) -> None:
        """Store it as it has ended, if the client wants it stored; a second time does nothing.

        Once begun, it goes on to its end, also where the waiting for it is cancelled.
        """
        if self.is_open or not self.asked.store:
            return
        if self._keeping is None:
            self._keeping = asyncio.ensure_future(self._keep())
        await asyncio.shield(self._keeping)

    async def _keep(self) -> None:
        if self._is_added:
            await self._store.change(self.id, self.resource)
        else:
            await self._store.add(self._stored())

    async def leave(self) -> None:
        """Keep what there is of a stream whose client has left."""
        if self.has_output and self.is_open:
            self.own_writer.cancel()
            await self.keep()

    def _stored(self) -> StoredResponse:
        return StoredResponse(
            id=self.id,
            key_id=self.key_id,
            resource=self.resource,
            input_items=self._items,
            previous_id=self.asked.previous_id,
        )
