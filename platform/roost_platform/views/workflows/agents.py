"""Agents and their tools as the running worker has them, what policy says of each, and versions."""

import difflib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, cast

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from roost_platform.approval_rules import ApprovalRules, Verdict
from roost_platform.db import models
from roost_platform.db.agent_versions import StoredVersion, versions
from roost_platform.db.waits.policies import verdict_of
from roost_workflows.wait_ports import CallFacts

CONTEXT_LINES: Final = 3  # around each change of a diff

LineKind = Literal["same", "added", "removed", "gap"]


@dataclass(frozen=True, slots=True)
class PolicyView:
    """A rule of an operator. Empty fields mean any; see `ToolPolicy`."""

    id: str
    agent: str
    tool: str
    channel: str
    person_id: str
    verdict: Verdict
    set_by: str
    set_at: float


@dataclass(frozen=True, slots=True)
class ToolView:
    """A tool of an agent. parameters: its JSON schema; code: the hash that approvals are bound to.

    approval: what the developer declares, None for nothing. verdict: what is in force for people
    and channels without a rule of their own. policies: the rules that speak of this tool.
    """

    name: str
    description: str
    label: str
    effect: str
    timeout_s: float
    approval: str | None
    approver: str
    parameters: dict[str, Any]
    code: str
    verdict: Verdict
    policies: tuple[PolicyView, ...]


@dataclass(frozen=True, slots=True)
class VersionView:
    """A version by its hash; times in seconds since the epoch."""

    digest: str
    first_seen_at: float
    last_seen_at: float
    is_running: bool


@dataclass(frozen=True, slots=True)
class AgentView:
    """One agent. is_running: the worker has it; is_off: an operator switched it off.

    The rest is of its running version, else of the last one. versions: newest first.
    """

    name: str
    digest: str
    is_running: bool
    is_off: bool
    instructions: str
    queue: str | None
    model: dict[str, Any]
    limits: dict[str, float]
    tools: tuple[ToolView, ...]
    policies: tuple[PolicyView, ...]
    versions: tuple[VersionView, ...]


@dataclass(frozen=True, slots=True)
class DiffLine:
    """A line of a difference between two versions; a gap stands for equal lines left out."""

    kind: LineKind
    text: str


async def agents(session: AsyncSession, defaults: ApprovalRules) -> tuple[AgentView, ...]:
    """Every agent that a worker ever ran with, those that run now first, by name."""
    by_name: dict[str, list[StoredVersion]] = {}
    for version in await versions(session):
        by_name.setdefault(version.agent, []).append(version)
    found = [await _view(session, rows, defaults) for rows in by_name.values()]
    return tuple(sorted(found, key=lambda agent: (not agent.is_running, agent.name)))


async def agent(session: AsyncSession, name: str, defaults: ApprovalRules) -> AgentView | None:
    """One agent; None if no worker ever ran with it."""
    rows = await versions(session, name)
    return await _view(session, rows, defaults) if rows else None


async def difference(
    session: AsyncSession, name: str, before: str, after: str
) -> tuple[DiffLine, ...] | None:
    """What changed between two versions of an agent; None if it has no such versions."""
    known = {version.digest: version for version in await versions(session, name)}
    if before not in known or after not in known:
        return None
    old, new = (definition_lines(known[digest].definition) for digest in (before, after))
    return tuple(_lines(difflib.unified_diff(old, new, n=CONTEXT_LINES, lineterm="")))


def definition_lines(definition: dict[str, Any]) -> list[str]:
    """A definition as lines for reading and comparing."""
    lines = ["instructions", *_indented(definition["instructions"])]
    for tool in definition["tools"]:
        lines += [f"tool {tool['name']}", *_indented(tool["description"])]
        lines += _facts({key: tool[key] for key in tool if key not in ("name", "description")})
    for part in ("model", "limits"):
        lines += [part, *_facts(definition[part])]
    return [*lines, f"queue: {definition['queue']}"]


def _indented(text: str) -> list[str]:
    return [f"  {line}" for line in text.splitlines()]


def _facts(values: dict[str, Any]) -> list[str]:
    lines = []
    for name, value in values.items():
        if isinstance(value, dict):
            shown = json.dumps(value, ensure_ascii=False, indent=2, sort_keys=True)
            lines += [f"  {name}:", *(f"    {line}" for line in shown.splitlines())]
        else:
            lines.append(f"  {name}: {value}")
    return lines


def _lines(unified: Iterable[str]) -> Iterable[DiffLine]:
    kinds: dict[str, LineKind] = {"+": "added", "-": "removed", " ": "same"}
    for number, line in enumerate(unified):
        if number < 2:
            continue  # the names of two files, which these are not
        if line.startswith("@@"):
            yield DiffLine("gap", "…")
        else:
            yield DiffLine(kinds[line[0]], line[1:])


async def _view(
    session: AsyncSession, rows: Sequence[StoredVersion], defaults: ApprovalRules
) -> AgentView:
    newest, definition = rows[0], rows[0].definition
    policies = await _policies(session, newest.agent)
    tools = [
        await _tool(session, newest.agent, tool, policies, defaults) for tool in definition["tools"]
    ]
    return AgentView(
        name=newest.agent,
        digest=newest.digest,
        is_running=newest.is_running,
        is_off=any(_is_off_switch(policy) for policy in policies),
        instructions=definition["instructions"],
        queue=definition["queue"],
        model=definition["model"],
        limits=definition["limits"],
        tools=tuple(tools),
        policies=tuple(policy for policy in policies if not policy.tool),
        versions=tuple(
            VersionView(row.digest, row.first_seen_at, row.last_seen_at, row.is_running)
            for row in rows
        ),
    )


def _is_off_switch(policy: PolicyView) -> bool:
    narrower = policy.tool or policy.channel or policy.person_id
    return policy.verdict == "off" and not narrower


async def _policies(session: AsyncSession, agent: str) -> tuple[PolicyView, ...]:
    """The rules that speak of this agent or of any."""
    rows = await session.scalars(
        select(models.ToolPolicy)
        .where(models.ToolPolicy.agent.in_(("", agent)))
        .order_by(
            models.ToolPolicy.agent,
            models.ToolPolicy.tool,
            models.ToolPolicy.channel,
            models.ToolPolicy.person_id,
        )
    )
    return tuple(
        PolicyView(
            row.id,
            row.agent,
            row.tool,
            row.channel,
            row.person_id,
            cast(Verdict, row.verdict),
            row.set_by,
            row.set_at,
        )
        for row in rows
    )


async def _tool(
    session: AsyncSession,
    agent: str,
    tool: dict[str, Any],
    policies: Sequence[PolicyView],
    defaults: ApprovalRules,
) -> ToolView:
    facts = CallFacts(
        agent=agent,
        tool=tool["name"],
        tool_hash=tool["code"],
        args_hash="",
        arguments="{}",
        effect=tool["effect"],
        approval=tool["approval"],
        approver=tool["approver"],
    )
    return ToolView(
        name=tool["name"],
        description=tool["description"],
        label=tool["label"],
        effect=tool["effect"],
        timeout_s=tool["timeout_s"],
        approval=tool["approval"],
        approver=tool["approver"],
        parameters=tool["parameters"],
        code=tool["code"],
        verdict=await verdict_of(session, facts, "", "", defaults),
        policies=tuple(policy for policy in policies if policy.tool == tool["name"]),
    )
