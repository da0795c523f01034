"""What a flow is started with, what its steps give it, and what it raises."""

import asyncio
import math
import sys
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any
from uuid import UUID, uuid4

import pytest
from pydantic import BaseModel, Field, SecretStr

from roost import FlowContext, flow, tool
from roost.errors import CallFailed, FlowError, FlowLimit
from roost.flow import Flow, WrongInput
from roost.flows.advancing import advance
from roost.testing import run_flow

NOW = 1_800_000_000.0


class Booking(BaseModel):
    """A booking."""

    place: str


@dataclass
class Order:
    """An order whose state nobody gives."""

    item: str
    state: str = field(init=False, default="new")


class Letter(BaseModel):
    """A letter with an alias and a part that is not written out."""

    to: str = Field(alias="from", default="nobody")
    pin: str = Field(default="", exclude=True)


def calling(kind: Any, value: Any) -> tuple[Flow, list[Any]]:
    """A flow that calls a tool which returns this value of this type, and what the flow gets."""
    got: list[Any] = []

    async def find() -> Any:
        """Find it."""
        return value

    find.__annotations__["return"] = kind
    finder = tool(effect="pure")(find)

    @flow
    async def asks(ctx: FlowContext) -> str:
        got.append(await ctx.call(finder))
        return "asked"

    return asks, got


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (str | None, None),
        (str | None, "null"),
        (str | None, "done"),
        (str | int, "5"),
        (list[int] | str, "[1]"),
        (str | bool, "true"),
        (Booking | None, None),
        (Booking | None, Booking(place="Rome")),
        (Booking | str, "Rome"),
        (dict[str, int] | None, None),
        (list[str | None], [None, "a"]),
    ],
)
async def test_a_flow_gets_what_its_tool_returned_also_where_two_types_are_written_alike(
    kind: Any, value: Any
) -> None:
    asks, got = calling(kind, value)
    run = await run_flow(asks)
    assert (run.state, got) == ("done", [value]) and type(got[0]) is type(value)


async def test_bytes_that_are_no_text_are_an_error_and_not_other_bytes() -> None:
    asks, got = calling(bytes, b"\xff\x00")
    run = await run_flow(asks)
    assert isinstance(run.error, CallFailed) and got == []
    asks, got = calling(bytes, b"plain")
    await run_flow(asks)
    assert got == [b"plain"]


class Login(BaseModel):
    """A login with a secret."""

    pin: SecretStr


@pytest.mark.parametrize(
    "secret", [SecretStr("1234"), Login(pin=SecretStr("1234")), [{"a": (SecretStr("1234"),)}]]
)
async def test_a_secret_becomes_no_asterisks_between_a_flow_and_its_tools(secret: Any) -> None:
    given: list[Any] = []

    @tool(effect="pure")
    async def log_in(name: str, pin: Any) -> str:
        """Log in."""
        given.append(pin)
        return name

    @flow
    async def enters(ctx: FlowContext, undoes: bool) -> str:
        if undoes:
            ctx.compensate(log_in, name="ada", pin=secret)
        return str(await ctx.call(log_in, name="ada", pin=secret))

    for undoes in (True, False):
        run = await run_flow(enters, input={"undoes": undoes})
        assert isinstance(run.error, FlowError) and given == []
        assert "log_in: pin has a secret" in str(run.error) and "get_secret" in str(run.error)
    for kind in (type(secret), Any):
        asks, got = calling(kind, secret)
        run = await run_flow(asks)
        assert isinstance(run.error, CallFailed) and got == []
        assert "find ran, but its result has a secret" in str(run.error)


@pytest.mark.parametrize("text", ['{"x": NaN}', '{"x": 1e999}', '{"x": -Infinity}'])
def test_a_number_that_json_does_not_know_is_refused_at_the_start(text: str) -> None:
    @flow
    async def takes(ctx: FlowContext, x: float) -> str:
        return str(x)

    with pytest.raises(WrongInput, match="Send its input as JSON"):
        takes.parse(text)
    with pytest.raises(WrongInput):
        takes.parse_input({"x": math.nan})


async def test_what_a_flow_was_started_with_reaches_it_whole() -> None:
    got: list[Any] = []

    @flow
    async def takes(
        ctx: FlowContext,
        letter: Letter,
        code: SecretStr,
        order: Order,
        at: datetime,
        whom: Annotated[str, Field(alias="for")],
        tags: list[str] = None,  # type: ignore[assignment]  # noqa: RUF013
    ) -> str:
        got.append((letter.to, letter.pin, code.get_secret_value(), order.item, at, whom, tags))
        return "taken"

    given = {
        "letter": {"from": "Ada", "pin": "1234"},
        "code": "hush",
        "order": {"item": "lamp"},
        "at": datetime(2027, 1, 1, tzinfo=UTC),
        "for": "Bob",
    }
    run = await run_flow(takes, input=given)
    assert run.text == "taken"
    started = takes.text_of(takes.parse_input(given))  # as the API starts it: by a message
    assert (await run_flow(takes, started)).text == "taken"
    assert got == [("Ada", "1234", "hush", "lamp", given["at"], "Bob", None)] * 2


def test_a_default_that_is_made_anew_each_time_stays_that_of_the_run() -> None:
    @flow
    async def takes(ctx: FlowContext, id: Annotated[UUID, Field(default_factory=uuid4)]) -> str:
        return str(id)

    values = takes.parse("{}")
    assert {advance(takes, values, ()).text for _ in range(3)} == {values["id"]}


def test_input_that_fits_no_more_after_an_edit_says_so() -> None:
    @flow(name="takes")
    async def before(ctx: FlowContext, place: str) -> str:
        return place

    @flow(name="takes")
    async def after(ctx: FlowContext, place: str, people: int) -> str:
        return place

    how = advance(after, before.parse('{"place": "Rome"}'), ())
    assert how.state == "failed" and isinstance(how.error, FlowError)
    assert "does not fit the code as it is now: people: Field required" in str(how.error)


@pytest.mark.parametrize(
    "raised", [SystemExit(3), KeyboardInterrupt(), GeneratorExit(), asyncio.CancelledError()]
)
async def test_what_a_flow_raises_ends_the_flow_and_nothing_else(raised: BaseException) -> None:
    undone: list[str] = []

    @tool(effect="pure")
    async def undo() -> None:
        """Undo it."""
        undone.append("undone")

    @flow
    async def raises(ctx: FlowContext) -> str:
        ctx.compensate(undo)
        await ctx.gather(ctx.sleep(1), _raise(raised))
        return "never"

    run = await run_flow(raises)
    assert (run.state, undone) == ("failed", ["undone"])
    assert isinstance(run.error, FlowError) and type(raised).__name__ in str(run.error)


async def test_a_flow_that_exits_while_it_is_closed_goes_on_waiting() -> None:
    @flow
    async def exits(ctx: FlowContext) -> str:
        try:
            return str(await ctx.ask("Which?"))
        finally:
            sys.exit(1)

    assert (await run_flow(exits)).state == "waiting"


def test_a_sleep_of_ninety_days_goes_on_while_the_clock_is_set_back() -> None:
    @flow
    async def rests(ctx: FlowContext) -> str:
        await ctx.sleep(until=ctx.now() + timedelta(days=90))
        return "rested"

    began = advance(rests, {}, (), clock=lambda: NOW)
    again = advance(rests, {}, began.new, clock=lambda: NOW - 3600)
    assert (began.state, again.state, again.error) == ("open", "open", None)


def test_a_sleep_that_was_too_long_is_still_refused_when_its_end_is_near() -> None:
    @flow
    async def rests(ctx: FlowContext) -> str:
        try:
            await ctx.sleep(until=datetime.fromtimestamp(NOW, UTC) + timedelta(days=100))
        except FlowLimit:
            await ctx.ask("Shorter?")
        return "rested"

    began = advance(rests, {}, (), clock=lambda: NOW)
    assert [(entry.op, entry.state) for entry in began.new] == [
        ("sleep", "error"),
        ("ask", "planned"),
    ]
    again = advance(rests, {}, began.new, clock=lambda: NOW + 20 * 86400)
    assert (again.state, again.error) == ("open", None)


async def test_a_text_as_options_is_refused() -> None:
    @flow
    async def asks(ctx: FlowContext) -> str:
        return str(await ctx.ask("Which?", options="Rome"))

    run = await run_flow(asks)
    assert run.state == "failed" and "a list of texts, not 'Rome'" in str(run.error)


async def _raise(error: BaseException) -> None:
    raise error
