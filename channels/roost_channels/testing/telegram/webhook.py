"""Delivers updates to the bot's webhook: in order per chat, repeated until they are accepted."""

import asyncio
import json
import random
from collections.abc import Awaitable, Callable
from typing import Any

import httpx2

from roost_channels.testing.clock import wait_for_event
from roost_channels.testing.telegram.parameters import Parameters, from_mapping
from roost_channels.testing.telegram.state.core import TelegramCore
from roost_channels.testing.telegram.state.updates import Update

RETRY_AFTER_MAX_S = 3600.0
RESEND_MAX_S = 60.0
GONE_CLOSES_AFTER_S = 23 * 3600.0
READ_TIMEOUT_S = 60.0
SECRET_HEADER = "X-Telegram-Bot-Api-Secret-Token"
NEVER_IN_ANSWERS = ("deletewebhook", "setwebhook", "close", "logout")

Execute = Callable[[str, Parameters], Awaitable[tuple[int, dict[str, Any]]]]


class WebhookSender:
    """Runs one task per chat, a lane; an update that fails blocks its own lane only."""

    def __init__(self, core: TelegramCore, execute: Execute) -> None:
        self._core = core
        self._execute = execute
        self._task: asyncio.Task[None] | None = None
        self._lanes: dict[str, asyncio.Task[None]] = {}
        self._gone_since: float | None = None
        self._random = random.Random(0)

    def start(self) -> None:
        """Start to deliver."""
        if self._task is None:
            self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Stop all lanes; updates under way stay in the queue."""
        tasks = [task for task in (self._task, *self._lanes.values()) if task is not None]
        self._task = None
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _run(self) -> None:
        # A new client reads the certificates; a bot without a webhook need not wait for that.
        await self._wait_for_update()
        limits = httpx2.Limits(max_connections=100)
        async with httpx2.AsyncClient(
            limits=limits, timeout=READ_TIMEOUT_S, trust_env=False
        ) as client:
            while True:
                self._open_lanes(client)
                await self._wait_for_update()

    async def _wait_for_update(self) -> None:
        """Wait until an update arrived and a webhook is set."""
        while True:
            await self._core.updates.arrived.wait()
            self._core.updates.arrived.clear()
            if self._core.webhook.url:
                return

    def _open_lanes(self, client: httpx2.AsyncClient) -> None:
        self._lanes = {name: task for name, task in self._lanes.items() if not task.done()}
        for update in list(self._core.updates.pending):
            if update.lane not in self._lanes:
                if len(self._lanes) >= self._core.webhook.max_connections:
                    return
                lane = asyncio.create_task(self._drain(client, update.lane))
                lane.add_done_callback(lambda _: self._core.updates.arrived.set())
                self._lanes[update.lane] = lane

    async def _drain(self, client: httpx2.AsyncClient, lane: str) -> None:
        pending = self._core.updates.pending
        while self._core.webhook.url:
            pending = self._core.updates.pending
            update = next((u for u in pending if u.lane == lane), None)
            if update is None:
                return
            await self._deliver(client, update)

    async def _deliver(self, client: httpx2.AsyncClient, update: Update) -> None:
        """Try until the bot answers 2xx: at once, then after 2, 4, 8 … s or Retry-After."""
        core, fails, delay = self._core, 0, 1.0
        while core.webhook.url and update in core.updates.pending:
            error, wait = await self._post(client, update)
            if not error:
                self._forget(update)
                for again in core.updates.take_duplicates(update.update_id + 1):
                    await self._post(client, again)
                return
            core.webhook.last_error, core.webhook.last_error_at = error, core.now()
            core.changed()
            if wait == 0 and fails > 0:
                ceiling = self._random.uniform(RESEND_MAX_S, 2 * RESEND_MAX_S)
                delay = min(ceiling, delay * 2)
                wait = delay
            fails += 1
            if core.now() + wait > update.expires_at:
                self._forget(update)
                return
            await wait_for_event(asyncio.Event(), core.clock, wait)

    def _forget(self, update: Update) -> None:
        if update in self._core.updates.pending:
            self._core.updates.pending.remove(update)
        self._core.changed()

    async def _post(self, client: httpx2.AsyncClient, update: Update) -> tuple[str, float]:
        """Try once; the error text (empty for success) and the seconds of Retry-After."""
        webhook = self._core.webhook
        headers = {"Content-Type": "application/json"}
        if webhook.secret:
            headers[SECRET_HEADER] = webhook.secret
        body = json.dumps(update.to_json(), ensure_ascii=False).encode()
        try:
            answer = await client.post(webhook.url, content=body, headers=headers)
        except httpx2.HTTPError:
            return "Webhook connection closed", 0.0
        if answer.is_success:
            self._gone_since = None
            await self._call_in_answer(answer)
            return "", 0.0
        self._count_gone(answer.status_code)
        reason = answer.reason_phrase
        retry_after = answer.headers.get("Retry-After", "0")
        wait = float(retry_after) if retry_after.isdigit() else 0.0
        return (
            f"Wrong response from the webhook: {answer.status_code} {reason}",
            min(wait, RETRY_AFTER_MAX_S),
        )

    def _count_gone(self, status: int) -> None:
        """Close the webhook after 23 hours of 410."""
        now = self._core.now()
        if status != 410:
            self._gone_since = None
        elif self._gone_since is None:
            self._gone_since = now
        elif now > self._gone_since + GONE_CLOSES_AFTER_S:
            self._core.webhook.url = ""

    async def _call_in_answer(self, answer: httpx2.Response) -> None:
        """Run the method that the response's body names; its result is dropped."""
        try:
            body = answer.json()
        except ValueError:
            return
        if not isinstance(body, dict) or not isinstance(body.get("method"), str):
            return
        name = body.pop("method")
        if name.lower() not in NEVER_IN_ANSWERS and not name.lower().startswith("get"):
            await self._execute(name, from_mapping(body))
