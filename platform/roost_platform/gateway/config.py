"""Settings of the gateway: its bounds, the providers, and the models as aliases of targets."""

import re
from typing import Annotated, Any, Self
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    field_validator,
    model_validator,
)

from roost_inference.config import ByteSize
from roost_platform.gateway.request import Wire

BUNDLED = "roost"  # the provider that is the engine of this installation
DEFAULT = "default"  # the model of requests that name none
NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
MODEL_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@-]{0,127}")
TARGETS_MAX = 16
MIB = 2**20


class PriceConfig(BaseModel):
    """Prices in US dollars for a million tokens."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    input: float = Field(default=0.0, ge=0, description="Of the prompt.")
    cached: float | None = Field(
        default=None, ge=0, description="Of cached tokens of the prompt; by default as `input`."
    )
    cache_write: float | None = Field(
        default=None, ge=0, description="Of tokens that the provider keeps; by default as `input`."
    )
    output: float = Field(default=0.0, ge=0, description="Of the answer and its reasoning.")


class TieredPrice(PriceConfig):
    """A price for prompts of at most `above_tokens`; longer ones cost `above`, all their tokens."""

    above_tokens: int
    above: PriceConfig


class ProviderConfig(BaseModel):
    """One provider: any server with OpenAI's or Anthropic's API."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    base_url: str = Field(description="Address of the API, such as https://api.openai.com/v1.")
    api_key: SecretStr = Field(default=SecretStr(""), description="The provider's key.")
    wire: Wire = Field(default="openai", description="The API it speaks: `openai` or `anthropic`.")
    connect_timeout_s: float = Field(default=5.0, gt=0, description="Bound of connecting.")
    first_byte_timeout_s: float = Field(
        default=120.0,
        gt=0,
        description="Bound of the wait for the first event of an answer. Who then only shows that "
        "it lives, by pings or comments, has ten times as long for each next piece.",
    )
    read_timeout_s: float = Field(
        default=120.0, gt=0, description="Bound of a silence in the middle of an answer."
    )
    concurrency: int | None = Field(
        default=None,
        ge=1,
        description="Most calls at once of each process; further ones go to the next target, or "
        "wait a moment where there is none.",
    )
    prices: dict[str, PriceConfig] = Field(
        default_factory=dict,
        description="Prices by the provider's name of the model; known ones need none.",
    )
    keep_reasoning: bool = Field(
        default=False,
        description="Send a model its earlier reasoning back, as some models want it between "
        "tool calls; by default it is left out.",
    )

    @field_validator("base_url")
    @classmethod
    def _is_address(cls, value: str) -> str:
        url = urlsplit(value)
        if url.scheme not in ("http", "https") or not url.hostname or url.query or url.fragment:
            raise ValueError("write the whole address, such as https://api.openai.com/v1")
        return value.rstrip("/")

    @model_validator(mode="after")
    def _has_one_proof(self) -> Self:
        if urlsplit(self.base_url).username is not None and self.api_key.get_secret_value():
            raise ValueError(
                "base_url has a user and there is an api_key: a request can bear one of them"
            )
        return self


def _target(value: Any) -> Any:
    """`provider/model`, perhaps with `*weight`, as a target; `roost` for the engine's own model."""
    if not isinstance(value, str):
        return value
    name, _, weight = value.partition("*")
    provider, slash, model = name.partition("/")
    if not provider or (provider != BUNDLED and not (slash and model)):
        raise ValueError(f"{value!r} is not a target; write provider/model, such as openai/gpt-5")
    return {"provider": provider, "model": model, **({"weight": weight} if weight else {})}


class TargetConfig(BaseModel):
    """A model of a provider. order: lower ones are tried first; weight: the share of requests that
    this one gets first among those of one order.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    provider: str = Field(description=f"Name of a provider, `{BUNDLED}` for the engine in use.")
    model: str = Field(
        default="",
        description=f"The provider's name of the model; of `{BUNDLED}` empty for the one it has.",
    )
    weight: float = Field(default=1.0, gt=0, le=1000, description="Share among equals.")
    order: int = Field(default=0, ge=0, le=100, description="Lower ones are tried first.")
    price: PriceConfig | None = Field(default=None, description="Its price, if not the known one.")

    @model_validator(mode="after")
    def _names_a_model(self) -> Self:
        if not self.model and self.provider != BUNDLED:
            raise ValueError(f"the target {self.provider!r} needs a model")
        return self


class ModelConfig(BaseModel):
    """A model of the gateway: an alias with its targets."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    targets: tuple[Annotated[TargetConfig, BeforeValidator(_target)], ...] = Field(
        min_length=1,
        max_length=TARGETS_MAX,
        description="`provider/model`, or tables with order, weight and price.",
    )
    fallbacks: tuple[str, ...] = Field(
        default=(), description="Models that are tried when all targets fail."
    )
    longer: tuple[str, ...] = Field(
        default=(), description="Models that are tried when the prompt is too long."
    )
    context_tokens: int | None = Field(default=None, ge=1, description="The context window.")
    max_output_tokens: int = Field(
        default=4096, ge=1, description="Bound of an answer where a budget needs one."
    )
    compress: bool = Field(
        default=False, description="Replace old tool results and turns of long prompts by stubs."
    )


class GatewayConfig(BaseModel):
    """Bounds of the gateway."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    enabled: bool = Field(default=True, description="Serve /v1 on the web port.")
    default_model: str = Field(
        default="", description="The model of requests that name none; by default the engine's."
    )
    max_body_bytes: ByteSize = Field(
        default=8 * MIB, description="Largest request body; more is refused before it is read."
    )
    calls_max: int = Field(default=256, ge=1, description="Most calls at once, of all keys.")
    retries: int = Field(
        default=2, ge=0, le=10, description="Further tries before the first byte of an answer."
    )
    cooldown_s: float = Field(
        default=10.0, ge=0, description="How long a target that failed is passed over."
    )
    failures_before_cooldown: int = Field(
        default=3, ge=1, description="Failures in a row after which a target cools down."
    )
    usage_days: int = Field(default=400, ge=1, description="How long rows of usage are kept.")
    responses_days: int = Field(default=30, ge=1, description="How long stored responses are kept.")
    compress_above_tokens: int = Field(
        default=100_000, ge=1, description="Prompts above it are compressed where that is on."
    )


def _named(providers: dict[str, ProviderConfig]) -> dict[str, ProviderConfig]:
    """Refuse a name that can't stand in a variable, or that is taken."""
    for name in providers:
        if not NAME.fullmatch(name):
            raise ValueError(f"{name!r} can't be a name; use small letters, digits, - and _")
        if name == BUNDLED:
            raise ValueError(f"{name!r} is the engine of this installation")
    return providers


Providers = Annotated[
    dict[str, ProviderConfig],
    AfterValidator(_named),
    Field(description="Providers by name: `[providers.openai]` with `base_url` and `api_key`."),
]
Models = Annotated[
    dict[str, ModelConfig],
    Field(description="Models by name, such as `[models.fast]` with `targets`."),
]
