"""Relay as a Channel: messages out, and what every way to fail means."""

from collections.abc import Mapping
from typing import Any, Literal

import httpx2

from relay.config import RelayConfig
from roost_channels.capabilities import Capabilities
from roost_channels.channel import Outgoing
from roost_channels.clock import Clock, SystemClock
from roost_channels.errors import (
    Ambiguous,
    AuthBroken,
    DeliveryError,
    EditTargetMissing,
    NotSent,
    Rejected,
    Throttled,
    Unreachable,
)
from roost_channels.intake import Intake
from roost_channels.message import Address, Attachment, Receipt

TIMEOUT_S = 10.0
# A message that the server does not list this long after the request was never accepted.
ABSENT_AFTER_S = TIMEOUT_S + 5.0
RETRY_AFTER_S = 5.0

CAPABILITIES = Capabilities(
    text_max=2000,
    text_unit="codepoint",
    markup="plain",
    can_edit=False,
    can_delete=False,
    native_quote=True,
    buttons=False,
    typing_s=0.0,
    edit_interval_s=(0.0, 0.0),
    send_interval_s=0.2,
)


class RelayChannel:
    """One account."""

    name = "relay"
    capabilities = CAPABILITIES

    def __init__(self, config: RelayConfig, clock: Clock | None = None) -> None:
        key = config.api_key.get_secret_value() if config.api_key else ""
        self.account = config.account
        self._clock = clock or SystemClock()
        self._http = httpx2.AsyncClient(
            base_url=config.api_base or "",
            headers={"Authorization": f"Bearer {key}"},
            timeout=TIMEOUT_S,
        )

    async def send(self, message: Outgoing) -> Receipt:
        """Send a message; `key` lets us ask later whether it arrived."""
        body = {
            "chat": message.address.chat,
            "thread": message.address.thread,
            "text": message.part.text,
            "reply_to": message.reply_to.message_id if message.reply_to else "",
            "key": message.part_id,
        }
        sent = await self._call("POST", json=body)
        if not sent.get("id"):
            raise Ambiguous("accepted without an id", code="decode")
        return Receipt(str(sent["id"]))

    async def find_sent(
        self, message: Outgoing, *, since: float
    ) -> Receipt | Literal["absent", "unknown"]:
        """Ask for the message by its key; it may still be on its way for as long as we wait."""
        if not message.part_id:
            return "unknown"
        listed = await self._call("GET", params={"key": message.part_id})
        if messages := listed.get("messages"):
            return Receipt(str(messages[0]["id"]))
        return "absent" if self._clock.time() - since >= ABSENT_AFTER_S else "unknown"

    async def edit(self, message_id: str, message: Outgoing) -> None:
        """Raise EditTargetMissing: what was sent stays."""
        raise EditTargetMissing("Relay's messages can't be edited")

    async def delete(self, address: Address, message_id: str) -> None:
        """Raise EditTargetMissing: what was sent stays."""
        raise EditTargetMissing("Relay's messages can't be deleted")

    async def indicate(self, address: Address, *, inbound_message_id: str = "") -> None:
        """Do nothing: Relay shows nobody typing."""

    async def download(self, attachment: Attachment, bytes_max: int) -> bytes:
        """Raise Rejected: no message comes with a file."""
        raise Rejected("Relay carries no files")

    async def acknowledge(self, callback_id: str, text: str = "") -> None:
        """Do nothing: there are no buttons."""

    async def ingest(self, intake: Intake) -> None:
        """Say that webhooks feed us; there is nothing to poll."""
        await intake.channel_state(self.name, self.account, "up", "waiting for webhooks")

    async def close(self) -> None:
        """Release the connections."""
        await self._http.aclose()

    async def _call(self, method: str, **request: Any) -> Mapping[str, Any]:
        """One request; asking twice is harmless, sending twice is not."""
        repeatable = method == "GET"
        try:
            response = await self._http.request(method, "/v1/messages", **request)
        except (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout) as error:
            raise NotSent(str(error), code="network") from error
        except httpx2.HTTPError as error:
            kind = NotSent if repeatable else Ambiguous
            raise kind(str(error) or type(error).__name__, code="network") from error
        if response.is_success:
            return _object(response)
        raise _refusal(response, repeatable=repeatable)


def _object(response: httpx2.Response) -> Mapping[str, Any]:
    try:
        answer = response.json()
    except ValueError:
        answer = None
    return answer if isinstance(answer, dict) else {}


def _refusal(response: httpx2.Response, *, repeatable: bool) -> DeliveryError:
    """What an answer other than a success means."""
    status, words = response.status_code, str(_object(response).get("error") or "")
    if status == 429:
        given = response.headers.get("Retry-After", "")
        return Throttled(float(given) if given.isdigit() else RETRY_AFTER_S, words)
    if status in (401, 403):
        return AuthBroken(words, http_status=status)
    if status == 404:
        return Unreachable(words, http_status=status)
    if status >= 500:
        return (NotSent if repeatable else Ambiguous)(words, http_status=status)
    return Rejected(words, http_status=status)
