"""Conversations that are long enough to be compressed, and a model that reads what was left out."""

import contextlib
import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import select

from roost_inference.testing.scripts import Call, Say, Step, text_of
from roost_platform.db import models
from roost_platform.testing.providers.gateway import GatewayServer, gateway_server

NEEDLES = {"invoice": "INV-20417", "date": "2026-03-14", "name": "Wilhelmina Okafor"}
Row = dict[str, Any]


@contextlib.asynccontextmanager
async def compressing(folder: Path, **model: Any) -> AsyncIterator[GatewayServer]:
    """A gateway that compresses prompts of the model `fast` above 1000 tokens, not of `plain`."""
    overrides = {
        "gateway": {"compress_above_tokens": 1000},
        "models": {
            "fast": {"targets": ["roost/scripted"], "compress": True, **model},
            "plain": {"targets": ["roost/scripted"]},
        },
    }
    async with gateway_server(folder, overrides=overrides) as server:
        yield server


def conversation() -> list[Row]:
    """An old turn whose three results each hold a needle, and a question about something else."""
    rows: list[Row] = [{"role": "user", "content": "Read the three files."}]
    functions = [
        {"id": name, "type": "function", "function": {"name": "read", "arguments": "{}"}}
        for name in NEEDLES
    ]
    rows.append({"role": "assistant", "tool_calls": functions})
    for name, needle in NEEDLES.items():
        filler = "\n".join(f"{name} line {number} of no interest" for number in range(200))
        rows.append({"role": "tool", "tool_call_id": name, "content": f"{filler}\n{needle}\n"})
    rows.append({"role": "assistant", "content": "I have read them."})
    rows.append({"role": "user", "content": "What do you recall?"})
    return rows


def request(**fields: Any) -> dict[str, Any]:
    """A request with that conversation."""
    return {"model": "fast", "messages": conversation(), **fields}


def stubs(body: Mapping[str, Any]) -> list[str]:
    """The references of the stubs in a request."""
    texts = [text_of(row) for row in body["messages"] if row["role"] == "tool"]
    return [text.split("reference ")[1][:18] for text in texts if text.startswith("[Left out")]


def results(body: Mapping[str, Any]) -> list[str]:
    """What was retrieved so far: the results after the last question."""
    rows = body["messages"]
    last = max(index for index, row in enumerate(rows) if row["role"] == "user")
    return [text_of(row) for row in rows[last:] if row["role"] == "tool"]


def answer_by(
    gateway: GatewayServer, script: Callable[[Mapping[str, Any]], Sequence[Step]]
) -> None:
    """Answer every request by this script."""
    gateway.engine.steps = script  # type: ignore[method-assign, assignment]


async def rows_of(gateway: GatewayServer) -> list[models.GatewayCall]:
    """The rows of its calls."""
    async with gateway.database.read() as session:
        return list(await session.scalars(select(models.GatewayCall)))


def retrieves_all(gateway: GatewayServer, *more: Call, text: str = "") -> None:
    """Let the model read every stub, beside these calls and this text, and say what it found."""

    def is_first(body: Mapping[str, Any]) -> bool:
        return bool(stubs(body)) and not results(body)

    def script(body: Mapping[str, Any]) -> Sequence[Step]:
        if is_first(body):
            said = [Say(text)] if text else []
            wanted = [Call("retrieve", json.dumps({"reference": r})) for r in stubs(body)]
            return [*said, *wanted, *more]
        found = [n for n in NEEDLES.values() if any(n in one for one in results(body))]
        return [Say("Found " + ", ".join(found))]

    answer_by(gateway, script)
