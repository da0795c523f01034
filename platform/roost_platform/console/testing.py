"""For tests and screenshots: a console on loopback over a database with a plausible day in it."""

import asyncio
import contextlib
import threading
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import uvicorn
from argon2 import PasswordHasher
from starlette.applications import Starlette
from starlette.routing import BaseRoute

from roost_platform.console.accounts import Accounts
from roost_platform.console.console import Console
from roost_platform.console.deps import ChannelSetup, ConsoleDeps, EngineHealth, SandboxUrls
from roost_platform.console.live import Live
from roost_platform.console.logins import Logins
from roost_platform.console.passwords import Passwords
from roost_platform.console.roles import parse_role
from roost_platform.console.routes import build_console
from roost_platform.console.security import console_middleware
from roost_platform.console.tokens import Tokens
from roost_platform.db import models
from roost_platform.db.rows import new_id
from roost_platform.db.stores import Stores, open_stores
from roost_platform.intake import PlatformIntake

Result = TypeVar("Result")
START_S = 10.0
ADMIN, PASSWORD = "Grace Hopper", "correct horse battery"


@dataclass(slots=True)
class QuietDoorbell:
    """Remembers what rang instead of waking Temporal."""

    rings: list[str] = field(default_factory=list)
    stops: list[str] = field(default_factory=list)

    async def ring(self, conversation_id: str) -> None:
        self.rings.append(conversation_id)

    async def stop(self, conversation_id: str) -> None:
        self.stops.append(conversation_id)


class CalmEngine:
    """An engine whose health is always the same."""

    async def health(self) -> dict[str, Any]:
        return {
            "status": "ok",
            "running": 1,
            "waiting": 0,
            "tokens_per_second": 61.4,
            "ttft_ms": {"p50": 212.0, "p95": 640.0},
        }


CHANNELS = (
    ChannelSetup(
        "telegram",
        "42",
        mode="polling",
        access="pairing",
        steps=("Ask **@BotFather** for a token.", "Set `ROOST_TELEGRAM__TOKEN` and restart."),
    ),
    ChannelSetup(
        "whatsapp",
        "whatsapp:+15550001000",
        mode="webhook",
        access="pairing",
        webhooks=(
            ("When a message comes in", "https://roost.example.org/hooks/twilio/inbound"),
            ("Status callback", "https://roost.example.org/hooks/twilio/status"),
        ),
        steps=("Buy a sender in Twilio's console.", "Set `ROOST_TWILIO__ACCOUNT_SID`."),
    ),
)


@dataclass(slots=True)
class ConsoleServer:
    """A console in a thread of its own, with its own event loop and database connections."""

    database_url: str
    sandbox: SandboxUrls | None = None
    engine: EngineHealth | None = None
    clock: Callable[[], float] = time.time
    options: dict[str, Any] = field(default_factory=dict)
    doorbell: QuietDoorbell = field(default_factory=QuietDoorbell)
    url: str = field(default="", init=False)
    stores: Stores = field(init=False)
    intake: PlatformIntake = field(init=False)
    routes: list[BaseRoute] = field(init=False)
    _loop: asyncio.AbstractEventLoop = field(init=False)

    def run(self, work: Coroutine[Any, Any, Result]) -> Result:
        """Run something in the server's loop: its database connections live there."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(30)

    def sign_in_cookie(self, name: str, role: str) -> dict[str, str]:
        """A session for an operator of this role, made on the way; returns its cookie."""
        return self.run(self._sign_in(name, role))

    async def _sign_in(self, name: str, role: str) -> dict[str, str]:
        console = self._console
        principal = await console.accounts.create(name, PASSWORD, parse_role(role))
        token = await console.logins.open(principal, ip="127.0.0.1", user_agent="Tests")
        return {"name": console.session_cookie, "value": token}

    @contextlib.contextmanager
    def serving(self) -> Iterator["ConsoleServer"]:
        """Serve on a free loopback port until the block ends."""
        ready = threading.Event()
        thread = threading.Thread(target=lambda: asyncio.run(self._serve(ready)), daemon=True)
        thread.start()
        if not ready.wait(START_S):
            raise TimeoutError("the console did not start")
        try:
            yield self
        finally:
            self._server.should_exit = True
            thread.join(START_S)

    @property
    def live(self) -> Live:
        return self._console.live

    @property
    def accounts(self) -> Accounts:
        return self._console.accounts

    @property
    def logins(self) -> Logins:
        return self._console.logins

    @property
    def tokens(self) -> Tokens:
        return self._console.tokens

    _server: uvicorn.Server = field(init=False)
    _console: Console = field(init=False)

    async def _serve(self, ready: threading.Event) -> None:
        self._loop = asyncio.get_running_loop()
        self.stores = open_stores(self.database_url, version="0.1.0")
        self.intake = PlatformIntake(self.stores, self.doorbell)
        deps = ConsoleDeps(
            stores=self.stores,
            intake=self.intake,
            engine_client=self.engine,
            sandbox=self.sandbox,
            clock=self.clock,
            channels=CHANNELS,
            version="0.1.0",
            **self.options,
        )
        self._console, self.routes = build_console(deps)
        # The real settings cost 130 ms of a core a time; tests sign in often.
        quick = Passwords(PasswordHasher(time_cost=1, memory_cost=1024, parallelism=1))
        self._console.accounts.passwords = self._console.logins.passwords = quick
        app = Starlette(routes=self.routes, middleware=console_middleware())
        self._server = uvicorn.Server(
            uvicorn.Config(
                app,
                host="127.0.0.1",
                port=0,
                log_config=None,
                lifespan="off",
                timeout_graceful_shutdown=1,
            )
        )
        serving = asyncio.create_task(self._server.serve())
        while not self._server.started:
            await asyncio.sleep(0.01)
        port = self._server.servers[0].sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        ready.set()
        await serving
        await self.intake.close()
        await self._console.close()
        await self.stores.close()


@contextlib.asynccontextmanager
async def writing(stores: Stores) -> AsyncIterator[Callable[..., Any]]:
    """A transaction whose `add` flushes each row, so that foreign keys hold."""
    async with stores.database.write() as session:

        async def add(*rows: models.Base) -> None:
            session.add_all(rows)
            await session.flush()

        yield add


async def seed(stores: Stores, now: float) -> dict[str, str]:
    """A plausible day; returns the ids that tests ask for."""
    ids: dict[str, str] = {}
    async with writing(stores) as add:
        ada = await _person(add, "Ada Lovelace", "allowed", "telegram", "1001", "ada", now)
        alan = await _person(
            add, "Alan Turing", "allowed", "whatsapp", "whatsapp:+15550002", "", now
        )
        eve = await _person(add, "Eve Stranger", "pending", "telegram", "1666", "eve_s", now - 800)
        ids["eve"] = eve
        ids["ada"] = await _talk(add, "telegram", "42", "1001", ada, now)
        ids["alan"] = await _short(
            add, "whatsapp", "whatsapp:+15550001000", "whatsapp:+15550002", alan, now
        )
        ids["console"] = await _short(add, "console", "local", "trial", None, now - 4000)
        ids["failed"] = await _failed_delivery(add, ids["alan"], now)
        await _stranger(add, eve, now)
        await _health(add, now)
        await _background(add, now)
    return ids


async def _person(
    add: Any, name: str, access: str, channel: str, address: str, username: str, now: float
) -> str:
    id = new_id()
    await add(
        models.Identity(
            id=id,
            display_name=name,
            access=access,
            created_at=now - 9000,
            decided_at=now - 8000 if access != "pending" else None,
            decided_by="Grace Hopper" if access != "pending" else "",
        )
    )
    await add(
        models.Alias(
            channel=channel,
            address=address,
            identity_id=id,
            username=username,
            created_at=now - 9000,
        )
    )
    return id


async def _conversation(
    add: Any, channel: str, account: str, chat: str, person: str | None, turns: int, at: float
) -> tuple[str, str]:
    id, session_id = new_id(), new_id()
    await add(
        models.Conversation(
            id=id,
            key=f"{channel}:{account}:{chat}",
            channel=channel,
            account=account,
            chat=chat,
            session_id=session_id,
            agent="concierge",
            identity_id=person,
            inbox_sequence=20,
            turn_count=turns,
            last_inbound_at=at,
            created_at=at - 3000,
        )
    )
    await add(
        models.Session(
            id=session_id,
            conversation_id=id,
            number=1,
            agent="concierge",
            transcript_length=50,
            created_at=at - 3000,
        )
    )
    return id, session_id


def _turn(
    conversation: str, session: str, number: int, state: str, at: float, took: float | None
) -> models.Turn:
    return models.Turn(
        id=new_id(),
        conversation_id=conversation,
        session_id=session,
        number=number,
        agent="concierge",
        state=state,
        queued_at=at - 0.04,
        started_at=at,
        finished_at=at + took if took is not None else None,
    )


def _step(
    turn: models.Turn,
    step: int,
    at: float,
    *,
    ttft: float,
    took: float,
    tokens: int,
    finish: str = "answer",
    state: str = "closed",
) -> models.TurnStep:
    return models.TurnStep(
        turn_id=turn.id,
        step=step,
        state=state,
        finish=finish,
        text="",
        prompt_tokens=380 + 60 * step,
        cached_tokens=320,
        completion_tokens=tokens,
        time_to_first_token_s=ttft,
        duration_s=took,
        started_at=at,
        created_at=at + took,
    )


def _said(
    session: str, position: int, role: str, text: str, at: float, **more: Any
) -> models.Transcript:
    return models.Transcript(
        id=new_id(),
        session_id=session,
        position=position,
        role=role,
        content=text,
        created_at=at,
        **more,
    )


async def _talk(add: Any, channel: str, account: str, chat: str, person: str, now: float) -> str:
    """A long conversation with tools, a quote, a stopped turn, an operator's reply, and one running."""
    id, session = await _conversation(add, channel, account, chat, person, 4, now - 6)
    first = _turn(id, session, 1, "done", now - 900, 2.1)
    second = _turn(id, session, 2, "done", now - 610, 3.4)
    third = _turn(id, session, 3, "stopped", now - 300, 2.9)
    running = _turn(id, session, 4, "running", now - 6, None)
    await add(first, second, third, running)
    await add(
        _step(first, 1, now - 899.9, ttft=0.21, took=0.6, tokens=22, finish="tools"),
        _step(first, 2, now - 899.1, ttft=0.08, took=0.9, tokens=58),
        _step(second, 1, now - 609.9, ttft=0.19, took=3.1, tokens=171),
        _step(third, 1, now - 299.9, ttft=0.2, took=2.6, tokens=96, finish="stopped"),
        _step(running, 1, now - 5.9, ttft=0.24, took=0.5, tokens=31, finish="tools", state="open"),
    )
    await add(
        _call(first, 1, "call-1", "calculator", '{"expression":"17 * 23"}', "pure", "ok", "391"),
        _call(
            running,
            1,
            "call-2",
            "remember",
            '{"note":"Ada likes the museum quiet"}',
            "idempotent",
            "running",
            "",
        ),
    )
    quote = {
        "ref": "77",
        "author": "bot",
        "text": "17 × 23 is **391**.",
        "excerpt": "17 × 23 is 391",
        "is_manual": True,
        "resolved": True,
    }
    calls = [{"id": "call-1", "name": "calculator", "arguments": '{"expression":"17 * 23"}'}]
    await add(
        _said(session, 0, "user", "Hello! What is 17 times 23?", now - 900),
        _said(session, 1, "assistant", "", now - 899, turn_id=first.id, tool_calls=calls),
        _said(session, 2, "tool", "391", now - 899, turn_id=first.id, tool_call_id="call-1"),
        _said(
            session,
            3,
            "assistant",
            "17 × 23 is **391**.\n\nA quick check: `20 × 23 − 3 × 23 = 460 − 69`.",
            now - 898,
            turn_id=first.id,
            completion_tokens=58,
        ),
        _said(session, 4, "user", "Why minus 69?", now - 611, quoted=quote),
        _said(
            session,
            5,
            "assistant",
            "Because 17 is 20 − 3:\n\n1. 20 × 23 = 460\n2. 3 × 23 = 69\n3. 460 − 69 = 391",
            now - 606,
            turn_id=second.id,
            completion_tokens=171,
        ),
        _said(session, 6, "user", "Tell me everything about Paris.", now - 301),
        _said(
            session,
            7,
            "assistant",
            "Paris is the capital of France. It lies on the Seine, and",
            now - 297,
            turn_id=third.id,
            note="stopped by the user after 3 s",
        ),
        _said(
            session,
            8,
            "operator",
            "The museum opens at ten; I checked with them.",
            now - 200,
            name="Grace Hopper",
        ),
        _said(session, 9, "user", "Thanks! Remember that I like it quiet.", now - 6.2),
    )
    await add(
        models.RunProgress(
            turn_id=running.id,
            conversation_id=id,
            phase="answering",
            text="I'll remember that. The museum is quietest",
            tools=["remember"],
            updated_at=now,
        )
    )
    await _delivered(add, id, channel, account, first.id, "answer", "17 × 23 is 391.", now - 898, 1)
    await _delivered(add, id, channel, account, second.id, "answer", "Because 17…", now - 606, 2)
    await _delivered(
        add, id, channel, account, third.id, "notice", "Stopped after 3 s: 0 done.", now - 297, 3
    )
    return id


def _call(
    turn: models.Turn,
    step: int,
    id: str,
    name: str,
    arguments: str,
    effect: str,
    state: str,
    result: str,
) -> models.ToolCall:
    return models.ToolCall(
        turn_id=turn.id,
        step=step,
        call_id=id,
        position=0,
        name=name,
        arguments=arguments,
        effect=effect,
        state=state,
        attempts=1,
        result=result,
        started_at=turn.started_at + 0.7,
        finished_at=turn.started_at + 0.76 if state != "running" else None,
    )


async def _short(
    add: Any, channel: str, account: str, chat: str, person: str | None, now: float
) -> str:
    id, session = await _conversation(add, channel, account, chat, person, 1, now - 1500)
    turn = _turn(id, session, 1, "done", now - 1500, 1.4)
    await add(turn)
    await add(_step(turn, 1, now - 1499.9, ttft=0.2, took=1.1, tokens=44))
    await add(
        _said(session, 0, "user", "When are you open?", now - 1500),
        _said(session, 1, "assistant", "Every day from ten.", now - 1498, turn_id=turn.id),
    )
    return id


_sequence = iter(range(1000, 10**9))


async def _delivered(
    add: Any,
    conversation: str,
    channel: str,
    account: str,
    turn: str | None,
    kind: str,
    text: str,
    at: float,
    number: int,
    state: str = "sent",
) -> str:
    outbox, part = new_id(), new_id()
    await add(
        models.Outbox(
            id=outbox,
            sequence=next(_sequence),
            conversation_id=conversation,
            channel=channel,
            account=account,
            turn_id=turn,
            kind=kind,
            text=text,
            state=state,
            dedupe_key=f"seed:{outbox}",
            next_at=at,
            created_at=at,
            finished_at=at + 0.3,
        )
    )
    await add(
        models.Part(
            id=part,
            outbox_id=outbox,
            conversation_id=conversation,
            position=0,
            count=1,
            rendered={"text": text, "entities": []},
            char_start=0,
            char_end=len(text),
            state="sent" if state == "sent" else "failed",
            receipt="delivered" if number == 1 else "",
            attempts=1 if state == "sent" else 3,
            next_at=at,
            message_id=f"{number + 76}" if state == "sent" else None,
            error="" if state == "sent" else "63016: outside the 24 hour window",
            evidence=[]
            if state == "sent"
            else [{"at": at, "note": "The list has no such message."}],
            started_at=at + 0.05,
            sent_at=at + 0.25 if state == "sent" else None,
        )
    )
    ids: Sequence[int] = (1,) if state == "sent" else (1, 2, 3)
    for attempt in ids:
        await add(
            models.DeliveryAttempt(
                part_id=part,
                attempt=attempt,
                outcome="sent"
                if state == "sent"
                else ("ambiguous", "not_sent", "failed")[attempt - 1],
                http_status=200 if state == "sent" else (0, 503, 400)[attempt - 1],
                code="" if state == "sent" else ("", "", "63016")[attempt - 1],
                description=""
                if state == "sent"
                else ("Timed out", "Service unavailable", "Outside the window")[attempt - 1],
                started_at=at + attempt,
                finished_at=at + attempt + 0.2,
            )
        )
    return outbox


async def _failed_delivery(add: Any, conversation: str, now: float) -> str:
    return await _delivered(
        add,
        conversation,
        "whatsapp",
        "whatsapp:+15550001000",
        None,
        "answer",
        "Your table is booked for eight.",
        now - 700,
        9,
        state="failed",
    )


async def _stranger(add: Any, identity: str, now: float) -> None:
    id, _ = await _conversation(add, "telegram", "42", "1666", identity, 0, now - 700)
    await add(
        models.Pairing(
            code="K7QM2XRT",
            identity_id=identity,
            conversation_id=id,
            state="open",
            created_at=now - 700,
            expires_at=now + 2900,
            notified_at=now - 700,
        )
    )
    await add(
        models.Inbox(
            id=new_id(),
            conversation_id=id,
            sequence=1,
            channel="telegram",
            account="42",
            event_id="e-1",
            message_id="1",
            kind="message",
            identity_id=identity,
            sender={"address": "1666", "display_name": "Eve Stranger"},
            text="Hi, can you help me?",
            raw={},
            state="held",
            sent_at=now - 700,
            received_at=now - 700,
        )
    )


async def _health(add: Any, now: float) -> None:
    for service in ("engine", "worker", "courier", "web"):
        await add(
            models.ServiceHeartbeat(
                service=service, pid=1, version="0.1.0", started_at=now - 7200, seen_at=now + 3600
            )
        )
    for channel, account, state, name, detail in (
        ("telegram", "42", "up", "@roost_bot", ""),
        ("whatsapp", "whatsapp:+15550001000", "degraded", "", "Twilio answers slowly (2.1 s)."),
    ):
        await add(
            models.ChannelState(
                channel=channel,
                account=account,
                state=state,
                detail=detail,
                name=name,
                last_in_at=now - 6,
                last_out_at=now - 200,
                updated_at=now,
            )
        )


async def _background(add: Any, now: float) -> None:
    """An hour of turns, so that the chart has a shape."""
    id, session = await _conversation(add, "console", "local", "load", None, 130, now - 30)
    number = 0
    for minute in range(59):
        for extra in range((minute * 7) % 5 + (2 if minute > 30 else 0)):
            number += 1
            at = now - 3600 + minute * 60 + extra * 9
            turn = _turn(id, session, number, "done", at, 1.2)
            await add(turn)
            ttft = 0.15 + ((minute * 13 + extra * 7) % 10) / 60
            await add(_step(turn, 1, at, ttft=ttft, took=1.0, tokens=40 + (minute * 11) % 37))
