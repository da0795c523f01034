"""Schedules with what somebody tries who wants to break them: groups, strangers, old buttons, stops
at every wait, edits under open cards, two couriers, and clocks that jump both ways.
"""

import json
import random
from dataclasses import replace

from sqlalchemy import select

from roost_platform.chaos.answers import DEEP, DOES
from roost_platform.chaos.sim.plan import (
    GROUP,
    POINTS_MAX,
    SECOND_COURIER,
    Crash,
    Edit,
    Jump,
    Plan,
    Says,
    draw,
    draw_waits,
)
from roost_platform.db import models
from roost_platform.db.base.engine import Database

EDITS = ("tool", "flow", "arguments")


_PAYING = select(models.ToolCall).where(
    models.ToolCall.name == "pay", models.ToolCall.state == "waiting"
)


async def edit_arguments(database: Database) -> None:
    """Change the arguments of every payment that waits; the card shows what they were."""
    async with database.write() as session:
        for call in (await session.scalars(_PAYING)).all():
            given = json.loads(call.arguments)
            call.arguments = json.dumps({**given, "mark": f"{given['mark']}-edited"})


def plan_of(seed: int) -> Plan:
    """The plan of a seed: one in four without waits, as all were once, and two with attacks."""
    return (draw, draw_waits, draw_attacks, draw_attacks)[seed % 4](seed)


def draw_attacks(seed: int) -> Plan:
    """The plan of a seed in which people, strangers, operators and clocks do their worst."""
    plan, rng = draw_waits(seed), random.Random(f"attacks of {seed}")
    says = tuple(_harder(rng, one) for one in plan.says)
    if rng.random() < 0.35:
        says = _in_a_group(rng, says)
    couriers = rng.choice((1, 1, 2))
    habits = replace(
        plan.habits,
        strangers=rng.choice((0.0, 0.5, 1.0)),
        stale=rng.choice((0.0, 0.4)),
        stops=rng.choice((0.0, 0.0, 0.4)),
    )
    crashes = plan.crashes
    if couriers == 2:
        crashes += (Crash(SECOND_COURIER, rng.randint(1, POINTS_MAX), rng.choice((0.05, 3.0))),)
    edits = tuple(
        Edit(rng.uniform(2.0, 30.0), rng.choice(EDITS)) for _ in range(rng.choice((0, 0, 1, 2)))
    )
    return replace(
        plan,
        says=says,
        jumps=_jumps(rng, plan, says),
        crashes=crashes,
        habits=habits,
        couriers=couriers,
        edits=edits,
    )


def _harder(rng: random.Random, says: Says) -> Says:
    if says.command:
        return says
    return replace(says, does=rng.choice((*DOES, DEEP, DEEP, "pay", "form")))


def _in_a_group(rng: random.Random, says: tuple[Says, ...]) -> tuple[Says, ...]:
    """Some of it is written in a group by two people instead."""
    moved = [replace(one, chat=GROUP, by=rng.choice((7, 8)), trouble=None) for one in says[:4]]
    return (*moved, *says[4:])


def _jumps(rng: random.Random, plan: Plan, says: tuple[Says, ...]) -> tuple[Jump, ...]:
    """Forward, and the same way back; times that Twilio's fake tells would contradict each other,
    so there back only where nobody writes over WhatsApp.
    """
    if rng.random() < 0.75 or any(one.chat.startswith("whatsapp:") for one in says):
        return plan.jumps
    at, by_s = rng.uniform(1.0, 20.0), rng.choice((5.0, 60.0, 900.0))
    return (*plan.jumps, Jump(at, by_s), Jump(at + rng.uniform(1.0, 20.0), -by_s))
