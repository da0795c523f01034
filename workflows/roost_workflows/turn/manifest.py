"""What the prompt of a model call was made of: places in the transcript, hashes and settings."""

from collections.abc import Sequence
from typing import Any

from roost.agent import Agent
from roost_inference.client.engine_client import ChatRequest
from roost_workflows.definitions.versions import sha256, version_of
from roost_workflows.ports import TranscriptMessage


def manifest_of(
    agent: Agent, messages: Sequence[TranscriptMessage], request: ChatRequest
) -> dict[str, Any]:
    """The manifest of a request, as JSON without content.

    messages: those of the prompt. positions: [first, last] of each unbroken stretch of them in the
        transcript; of a forked child those of its parent come first. segments, memories: ids of
        what is fetched for a prompt; nothing is yet. prompt_hash, tools_hash: SHA-256 of the
        canonical JSON of what the engine gets. agent_hash: the digest of the agent's version.
        sampling: what was asked for; what is absent was left to the engine.
    """
    places = stretches([one.position for one in messages if one.position is not None])
    return _manifest(places, version_of(agent).digest, request)


def manifest_of_entry(
    agent: Agent | None,
    request: ChatRequest,
    *,
    path: str,
    args_hash: str,
    code_hash: str,
    tries: int,
) -> dict[str, Any]:
    """The manifest of a model call that a flow's `generate` makes; it reads no transcript.

    flow: the entry's path, whose arguments have args_hash, of the code with code_hash. agent_hash:
    empty where no agent's instructions count. tries: which request this was for the entry, from 1.
    """
    digest = "" if agent is None else version_of(agent).digest
    entry = {"flow": path, "args_hash": args_hash, "code_hash": code_hash, "tries": tries}
    return {**_manifest([], digest, request), **entry}


def _manifest(positions: list[list[int]], agent_hash: str, request: ChatRequest) -> dict[str, Any]:
    sampling = {
        "temperature": request.temperature,
        "top_p": request.top_p,
        "max_tokens": request.max_tokens,
        "seed": request.seed,
        "stop": list(request.stop) or None,
        **request.extra,
    }
    return {
        "positions": positions,
        "segments": [],
        "memories": [],
        "prompt_hash": sha256(request.messages),
        "tools_hash": sha256(request.tools),
        "agent_hash": agent_hash,
        "sampling": {name: value for name, value in sampling.items() if value is not None},
    }


def stretches(positions: Sequence[int]) -> list[list[int]]:
    """[first, last] of each stretch of numbers that follow each other."""
    found: list[list[int]] = []
    for position in positions:
        if found and position == found[-1][1] + 1:
            found[-1][1] = position
        else:
            found.append([position, position])
    return found
