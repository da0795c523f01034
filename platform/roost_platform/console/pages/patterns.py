"""Every component on one page, with made-up data: one screenshot reviews the whole console."""

from dataclasses import dataclass
from typing import Annotated

from roost_platform.console.console import Visit
from roost_platform.console.navigation import NavLink
from roost_platform.console.page import Page
from roost_platform.console.pages.overview import HealthStrip, Tile, spark
from roost_platform.console.pages.session import NowSection, TranscriptSection
from roost_platform.views.channels import ChannelHealth
from roost_platform.views.health import ServiceHealth
from roost_platform.views.pagination import Pages
from roost_platform.views.session.spans import TurnSpan, TurnView
from roost_platform.views.session.transcript import Bubble, CallView, QuoteView
from roost_platform.views.session.view import RunningTurn

PHASES = (
    *(
        "queued",
        "thinking",
        "tool",
        "answering",
        "unreachable",
        "waiting",
        "pending",
        "held",
        "failed",
        "stopped",
        "idle",
    ),
)
DELIVERIES = (
    *("pending", "sending", "sent", "delivered", "read", "uncertain", "failed", "cancelled"),
)
TEXT = """It opens at **ten**.

```python
print('hello')
```

| day | hours |
| --- | --- |
| Mon | closed |
"""


@dataclass(frozen=True, slots=True)
class PatternsContext:
    """The pattern page."""

    phases: Annotated[tuple[str, ...], "States of a session"]
    deliveries: Annotated[tuple[str, ...], "States of a delivery"]
    tiles: Annotated[tuple[Tile, ...], "Figures"]
    health: Annotated[HealthStrip, "The health strip"]
    transcript: Annotated[TranscriptSection, "Messages of every kind"]
    now: Annotated[NowSection, "A running answer"]
    turns: Annotated[tuple[TurnView, ...], "Waterfalls"]
    pages: Annotated[Pages, "A pager"]


def example(now: float) -> PatternsContext:
    """Every component with made-up data; `now` in seconds since the epoch."""
    call = CallView(
        "call-1", "calculator", '{"expression": "17 * 23"}', "pure", "ok", 1, "391", 0.012
    )
    lost = CallView(
        "call-2", "send_invoice", '{"to": "Ada"}', "unsafe", "unknown", 2, "Outcome unknown.", 4.2
    )
    busy = CallView("call-3", "web_search", '{"q": "herons"}', "pure", "running", 1, "", None)
    quote = QuoteView("bot", "The museum opens at ten.", True)
    bubbles = (
        Bubble("p1", "user", "When does it open?", now - 300, author="Ada"),
        Bubble("p2", "assistant", "", now - 298, calls=(call, lost)),
        Bubble(
            "p3",
            "assistant",
            TEXT,
            now - 295,
            delivery="delivered",
            outbox_id="x",
            tokens=42,
        ),
        Bubble("p4", "user", "And on Sundays?", now - 200, author="Ada", quote=quote),
        Bubble(
            "p5", "operator", "I'll check by phone.", now - 150, author="Grace", delivery="sent"
        ),
        Bubble("p6", "assistant", "On Sundays it", now - 100, note="stopped by the user after 3 s"),
        Bubble("p7", "notice", "Stopped after 3 s: 1 done, 0 undone, 1 unknown.", now - 99),
        Bubble("p8", "error", "The engine did not answer for five minutes.", now - 50),
    )
    spans = (
        TurnSpan("queue", "Queue", 0, 4, 0.05),
        TurnSpan("prefill", "First token", 4, 16, 0.21),
        TurnSpan("decode", "Writing", 20, 12, 0.16, "120 in, 90 cached, 14 out"),
        TurnSpan("tool", "calculator", 32, 5, 0.07, "ok"),
        TurnSpan("prefill", "First token", 37, 6, 0.08),
        TurnSpan("decode", "Writing", 43, 42, 0.55),
        TurnSpan("deliver", "Deliver", 85, 15, 0.19, "sent"),
    )
    turn = TurnView("t1", 3, "done", "", now - 100, 1.31, 420, 360, 42, 0.21, spans)
    wave = [3, 5, 4, 8, 7, 9, 12, 10, 14, 11, 13, 16]
    return PatternsContext(
        phases=PHASES,
        deliveries=DELIVERIES,
        tiles=(
            Tile("p-active", "Active sessions", "12", hint="3 in the engine"),
            Tile("p-ttft", "Time to first token", "184", "ms", "p95 420 ms", spark=spark(wave)),
            Tile("p-queue", "Queue", "14", hint="2 waiting in the engine", tone="warn"),
            Tile("p-failed", "Deliveries failed", "2", hint="to look at", tone="bad"),
        ),
        health=HealthStrip(
            (ServiceHealth("engine", "up", "version 1"), ServiceHealth("worker", "down", "silent")),
            (ChannelHealth("telegram", "42", "degraded", "slow", "@roost_bot", now, now, now),),
        ),
        transcript=TranscriptSection(bubbles, 0),
        now=NowSection(
            RunningTurn("t2", 4, "answering", "On Sundays it is *open*", now - 4, False, (busy,)),
            (),
        ),
        turns=(turn,),
        pages=Pages(2, 61, "/patterns"),
    )


async def load(visit: Visit) -> PatternsContext:
    """The made-up data."""
    return example(visit.now)


PAGE = Page(
    path="/patterns",
    template="patterns/page.html",
    load=load,
    nav=NavLink("/patterns", "Patterns", "palette", "Administration"),
)
