"""Settings of the inference core; the platform reads them from TOML and the environment."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    field_validator,
    model_validator,
)

# llama.cpp's LLAMA_MAX_SEQ is 256; one id stays free as the scratch sequence of block export.
MAX_SEQUENCES_LIMIT = 255

_UNITS = {"": 1, "B": 1, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30, "TIB": 2**40}
_SIZE = re.compile(r"^\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)\s*$")


def parse_bytes(value: object) -> object:
    """Bytes from text such as "2GiB" or "512 MiB"; other values pass through to pydantic."""
    if not isinstance(value, str):
        return value
    match = _SIZE.match(value)
    unit = _UNITS.get(match.group(2).upper()) if match else None
    if match is None or unit is None:
        raise ValueError(f"{value!r} is not a size; write it like 512MiB or 2GiB")
    return int(float(match.group(1)) * unit)


def addresses(text: str) -> tuple[str, ...]:
    """The addresses in a text with commas between them, as they are compared: no `/` at the end."""
    return tuple(one.strip().rstrip("/") for one in text.split(",") if one.strip())


def check_addresses(urls: Sequence[str]) -> None:
    """Raise ValueError for one that is no whole address, and for one that stands there twice. It
    tells them by their number, as an address may have a password in it."""
    for number, url in enumerate(urls, 1):
        if not re.match(r"https?://[^/\s]", url):
            which = f"address {number}: " if len(urls) > 1 else ""
            raise ValueError(
                f"{which}write the engine's whole address, such as http://gpu-box:8000/v1"
            )
        if urls.count(url) > 1:
            raise ValueError(f"address {number} stands there twice")


ByteSize = Annotated[int, BeforeValidator(parse_bytes), Field(ge=0)]


class EngineConfig(BaseModel):
    """Everything that can be set about the engine. Lengths are in tokens, one KV cell holds one."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    model: Path | None = Field(
        default=None, description="Path of a GGUF model. Without it the bundled small model runs."
    )
    chat_template: Path | None = Field(
        default=None,
        description="Path of a Jinja file to use instead of the model's own chat template, for a "
        "GGUF that has none or a wrong one.",
    )
    embedding_model: Path | None = Field(
        default=None,
        description="Path of a GGUF embedding model: the bundled core then answers /v1/embeddings, "
        "beside its chats and on a thread of its own.",
    )
    embedding_context_length: int = Field(
        default=2048,
        ge=16,
        le=32768,
        description="Longest text of /v1/embeddings in tokens, where the embedding model was "
        "trained for as many. More tokens cost memory.",
    )
    kernels: Literal["auto", "native", "portable"] = Field(
        default="auto",
        description="Build of the bundled core's kernels: `native` ones are compiled for this "
        "processor, `portable` ones come prebuilt. auto takes native ones if they are there and "
        "work.",
    )
    url: str | None = Field(
        default=None,
        description="Base URL of an OpenAI-compatible engine to use instead of the bundled core. "
        "Several, with commas between them, share the work: each session stays with one.",
    )
    prefill_urls: tuple[str, ...] = Field(
        default=(),
        description="Base URLs of engines with `role` prefill, a list like "
        '["http://gpu-box:8421"]. They read long prompts for the engines that answer, where that '
        "is sooner done. They take the same key.",
    )
    api_key: SecretStr = Field(
        default=SecretStr(""),
        description="Bearer token: sent to the engine at `url`, asked for by the bundled core on "
        "all but /health, /metrics and /ping. Default for the bundled core: one that is made at "
        "its first start, in the file `engine-key` of the data folder.",
    )
    model_name: str | None = Field(
        default=None,
        description="Model to ask for at `url`; for the bundled core, the name it answers to.",
    )
    images: bool = Field(
        default=False,
        description="Whether the model at `url` sees pictures: those that people send are then "
        "part of its prompts. The bundled core reads text alone.",
    )
    host: str = Field(default="127.0.0.1", description="Address the engine listens on.")
    port: int = Field(default=0, ge=0, le=65535, description="Port; 0 picks a free one.")
    allowed_hosts: tuple[str, ...] = Field(
        default=(),
        description="Host names under which the bundled core is reached, besides loopback and "
        "`host`. Others are refused, so that no web page reaches it by DNS rebinding.",
    )
    context_length: int = Field(
        default=16384,
        ge=256,
        description="KV cells on the device, shared by all sequences. More cells cost memory.",
    )
    request_context_length: int | None = Field(
        default=None,
        ge=16,
        description="Longest prompt and answer of one request. Default: what the model was "
        "trained for, at most `context_length`.",
    )
    prefill_length: int | None = Field(
        default=None,
        ge=0,
        description="Prompts up to this long are read in a KV cache of their own, alone, which is "
        "faster on a CPU and makes their KV independent of who else is served; it costs the "
        "memory of as many more cells. 0 is off. Default: the longest request, 0 on a GPU.",
    )
    stream_memory: ByteSize | None = Field(
        default=None,
        description="Memory for the KV of answers that are written at once: each gets cells of its "
        "own, so that none walks over the cells of the others. 0 is off. Default: enough for "
        "16 answers of 2048 tokens, at most an eighth of the free memory; 0 on a GPU.",
    )
    max_sequences: int = Field(
        default=64,
        ge=1,
        le=MAX_SEQUENCES_LIMIT,
        description="Sequences that hold KV at once: running ones and remembered sessions.",
    )
    max_running: int = Field(
        default=32, ge=1, le=MAX_SEQUENCES_LIMIT, description="Sequences computed in one step."
    )
    batch_tokens: int = Field(
        default=512, ge=32, le=4096, description="Tokens computed in one step at most."
    )
    inter_token_target_ms: float = Field(
        default=100.0,
        gt=0,
        description="Answers being written get their next token within about this time, "
        "at most twice as much on two or three cores, while a long prompt is read. A prompt that "
        "takes at most 15 times as long is read in one go, as long as the answers get a token in "
        "twice this time on average.",
    )
    resident_cells: int | None = Field(
        default=None,
        ge=0,
        description="KV cells that idle sessions may keep on the device; they slow every step. "
        "Default: an eighth of `context_length`, 1024 at most, half of it without paging.",
    )
    threads: int | None = Field(
        default=None,
        ge=1,
        le=512,
        description="Compute threads at most; a step gets fewer where they compute it faster. "
        "Default: the physical cores.",
    )
    kv_type: Literal["f16", "q8_0", "q4_0"] = Field(
        default="f16",
        description="Number format of the KV cache. q8_0 halves its memory; on a CPU prompts are "
        "then read up to three times slower behind a long context.",
    )
    kv_q4_0_accepted: bool = Field(
        default=False,
        description="Needed for kv_type q4_0, which answers measurably worse than f16 and q8_0.",
    )
    kv_ram: ByteSize = Field(
        default=2**30,
        description="RAM for the KV of sessions that are not on the device, e.g. 2GiB; 0 turns "
        "paging off, on disk and in the object store, too.",
    )
    kv_disk: ByteSize = Field(
        default=4 * 2**30,
        description="Disk for paged-out KV, below the data directory; it outlives a restart. "
        "0 is off.",
    )
    kv_object_url: str | None = Field(
        default=None,
        description="Object store for paged-out KV, e.g. s3://bucket/prefix or a file:/// folder. "
        "Credentials come from the environment, as for every S3 client.",
    )
    kv_object_options: dict[str, str | bool] = Field(
        default_factory=dict,
        description="More settings of the object store by obstore's names: endpoint, region, "
        "access_key_id, secret_access_key.",
    )
    kv_object: ByteSize = Field(
        default=64 * 2**30, description="Bytes this engine may hold in the object store."
    )
    role: Literal["both", "prefill", "decode"] = Field(
        default="both",
        description="What the bundled core is meant for where two engines share the work: "
        "`prefill` computes prompts and offers their KV, `decode` fetches it and writes the "
        "answers. Each still does the other's part when it is asked to.",
    )
    handover_peers: tuple[str, ...] = Field(
        default=(),
        description="Engines that KV is fetched from, by the name or address that they offer it "
        "under, with `:port` where only one is meant. Those on loopback need no entry. They have "
        "the same api_key.",
    )
    handover_host: str | None = Field(
        default=None,
        min_length=1,
        max_length=253,
        description="Name or address under which other engines reach this one for its KV. Default: "
        "`host`, or the machine's name where that stands for every address.",
    )
    handover_lease_s: float = Field(
        default=30.0,
        gt=0,
        le=3600,
        description="Seconds that KV offered to another engine is kept without a sign of it.",
    )
    speculation: Literal["auto", "off"] = Field(
        default="auto",
        description="auto guesses several tokens and verifies them in one step where "
        "measurements say that it pays; off never does. The text is the same either way.",
    )
    speculation_depth_max: int = Field(
        default=63, ge=1, le=63, description="Tokens guessed ahead at most."
    )
    speculation_corpus_tokens: int = Field(
        default=65536,
        ge=0,
        le=2**22,
        description="Tokens of finished answers kept per tenant as a source of guesses.",
    )
    draft_model: Path | None = Field(
        default=None,
        description="Path of a GGUF file that guesses, too, where speculation is on: a smaller "
        "model with the same vocabulary, or a drafter that reads the model's hidden states.",
    )
    queue_limit: int = Field(
        default=256,
        ge=1,
        description="Requests that may wait in each class (interactive, tool continuation, "
        "background), one tenant in three quarters of the places; the next one gets a 429.",
    )
    max_body_bytes: ByteSize = Field(
        default=8 * 2**20, description="Largest request body the engine accepts."
    )

    @property
    def urls(self) -> tuple[str, ...]:
        """The addresses in `url`; empty for the bundled core."""
        return addresses(self.url or "")

    @field_validator("url")
    @classmethod
    def _is_address(cls, url: str | None) -> str | None:
        check_addresses(addresses(url or ""))
        return url

    @field_validator("prefill_urls")
    @classmethod
    def _are_addresses(cls, urls: tuple[str, ...]) -> tuple[str, ...]:
        urls = tuple(url.rstrip("/") for url in urls)
        check_addresses(urls)
        return urls

    @model_validator(mode="after")
    def _consistent(self) -> "EngineConfig":
        if self.max_running > self.max_sequences:
            raise ValueError("max_running must not exceed max_sequences")
        if self.max_running > self.batch_tokens:
            raise ValueError("max_running must not exceed batch_tokens: each takes a row a step")
        if self.kv_type == "q4_0" and not self.kv_q4_0_accepted:
            raise ValueError("kv_type q4_0 costs quality; set kv_q4_0_accepted to use it")
        if set(self.urls) & set(self.prefill_urls):
            raise ValueError(
                "an address is in `url` and in `prefill_urls`: an engine reads prompts for "
                "another one, not for itself"
            )
        if self.images and not self.url:
            raise ValueError("images needs an engine at `url`: the bundled core reads text alone")
        longest = self.request_context_length
        if longest is not None and longest > self.context_length:
            raise ValueError("request_context_length must not exceed context_length")
        return self
