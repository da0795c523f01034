"""What a request names without sending it: earlier responses, and items by their ids."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from roost_inference.errors import InvalidRequest
from roost_platform.gateway.errors import NotFoundHere
from roost_platform.gateway.families.responses.ids import is_response_id, response_of
from roost_platform.gateway.families.responses.items import REFERENCE, usable
from roost_platform.gateway.families.responses.store import ResponseStore, StoredResponse


class PreviousNotFound(NotFoundHere):
    """The response to go on from is not there."""

    code = "previous_response_not_found"


@dataclass(frozen=True, slots=True)
class History:
    """Finds it among the responses of one key."""

    store: ResponseStore

    async def before(self, key_id: str, previous: str | None) -> list[Mapping[str, Any]]:
        """The items of the conversation that ends with this response, oldest first.

        Raises PreviousNotFound where it, or one before it, has been deleted: a conversation without
        its beginning is another one. Raises InvalidRequest while it still runs.
        """
        if previous is None:
            return []
        found = await self.store.history(key_id, previous) if is_response_id(previous) else ()
        if not found:
            raise _missing(f"There is no response {previous[:100]!r}")
        if found[0].resource.get("previous_response_id") is not None:
            raise _missing("An earlier response of this conversation has been deleted")
        if found[-1].is_open:
            raise InvalidRequest(f"{previous!r} still runs", param="previous_response_id")
        items: list[Mapping[str, Any]] = []
        for response in found:
            items += response.input_items
            items += usable(response.resource["output"])
        return items

    async def resolved(
        self, key_id: str, items: Sequence[Mapping[str, Any]]
    ) -> list[Mapping[str, Any]]:
        """The items, with those in the place of references that these name. Raises NotFoundHere."""
        named = {str(item["id"]) for item in items if item["type"] == REFERENCE}
        if not named:
            return list(items)
        responses = {response for id in named if (response := response_of(id)) is not None}
        found = await self.store.find(key_id, responses)
        known = {item["id"]: item for one in found.values() for item in _items_of(one)}
        for id in named - set(known):
            raise _missing(f"There is no item {id[:100]!r}", param="input")
        return [known[str(item["id"])] if item["type"] == REFERENCE else item for item in items]


def _items_of(response: StoredResponse) -> list[Mapping[str, Any]]:
    return [*response.input_items, *response.resource["output"]]


def _missing(message: str, *, param: str = "previous_response_id") -> NotFoundHere:
    error = PreviousNotFound(message) if param == "previous_response_id" else NotFoundHere(message)
    error.param = param
    return error
