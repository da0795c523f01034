"""How large the benchmarks are: the fields of this class, each set by an environment variable."""

import os
from collections.abc import Mapping
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from roost_inference.llama.machine import physical_cores

PREFIX = "BENCH_"


class Parameters(BaseModel):
    """Defaults are the published job; `BENCH_SESSIONS=2 BENCH_TURNS=2` and so on make it smaller.
    The peers' variables carry no prefix: LLAMA_SERVER, LLAMA_SERVER_BEST, PEER_URL, PEER_KEY."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: Path | None = Field(default=None, description="a GGUF instead of the bundled model")
    threads: int = Field(default_factory=physical_cores, ge=1)
    record: bool = Field(default=True, description="write docs/benchmarks.md and the chart")

    sessions: int = Field(default=12, ge=1, le=200)
    turns: int = Field(default=4, ge=2, le=50)
    active: int = Field(default=4, ge=1, description="requests under way at once")
    shared_tokens: int = Field(default=600, ge=8)
    tool_tokens: int = Field(default=250, ge=8)
    answer_tokens: int = Field(default=32, ge=1)
    gap_s: float = Field(default=1.0, ge=0, description="what a tool takes between two turns")

    restart_tokens: int = Field(default=1500, ge=64)
    restarts: int = Field(default=3, ge=1)
    tier_tokens: tuple[int, ...] = (512, 1024, 2048, 4096)
    tier_rounds: int = Field(default=2, ge=1)

    handover_tokens: int = Field(default=2000, ge=64)
    handovers: int = Field(default=3, ge=1, description="by each transport")

    decode_sequences: tuple[int, ...] = (1, 4, 8, 16)
    decode_tokens: int = Field(default=64, ge=8)
    decode_rounds: int = Field(default=3, ge=1)
    speculation_tokens: int = Field(default=160, ge=8)
    speculation_rounds: int = Field(default=2, ge=1)

    equality_conversations: int = Field(default=50, ge=1, description="of two prompts each")
    equality_tokens: int = Field(default=48, ge=4)

    flood: int = Field(default=16, ge=1, description="requests the flooding tenant keeps open")
    flood_tokens: int = Field(default=400, ge=8)
    victims: int = Field(default=5, ge=1)
    aborts: int = Field(default=10, ge=1)
    stall_tokens: int = Field(default=4000, ge=64)
    stalls: int = Field(default=2, ge=1)

    llama_server: Path | None = None
    llama_server_best: str = "-np 12 -c 24576"
    peer_url: str | None = None
    peer_key: str = ""

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] = os.environ) -> "Parameters":
        """Raises pydantic.ValidationError; a BENCH_ variable that means nothing is an error too."""
        values: dict[str, object] = {
            name.removeprefix(PREFIX).lower(): value
            for name, value in environ.items()
            if name.startswith(PREFIX)
        }
        for name in ("tier_tokens", "decode_sequences"):
            if name in values:
                values[name] = tuple(str(values[name]).replace(",", " ").split())
        for name in ("llama_server", "llama_server_best", "peer_url", "peer_key"):
            if value := environ.get(name.upper()):
                values[name] = value
        return cls.model_validate(values)
