"""What a router and another engine ask about stored KV: bodies of the routes below /v1/kv."""

from typing import Annotated, Any

from pydantic import Field, ValidationError

from roost_inference.wire.answer_options import TokenId
from roost_inference.wire.message import WireModel
from roost_inference.wire.parsing import first_error

KEYS_MAX = 64
LOOKUP_TOKENS_MAX = 2**20
KEY_HEX = r"^[0-9a-f]{32}$"


class KvLookup(WireModel):
    """A prompt as tokens, and the salt under which it is stored."""

    tokens: list[TokenId] = Field(max_length=LOOKUP_TOKENS_MAX)
    cache_salt: str | None = Field(default=None, max_length=1024)

    @classmethod
    def parse(cls, value: Any) -> "KvLookup":
        """Check a body. Raises InvalidRequest."""
        try:
            return cls.model_validate(value)
        except ValidationError as error:
            raise first_error(error) from error


class BlockKeys(WireModel):
    """The blocks that a reader wants, ascending, as hexadecimal keys."""

    keys: list[Annotated[str, Field(pattern=KEY_HEX)]] = Field(min_length=1, max_length=KEYS_MAX)

    @classmethod
    def parse(cls, value: Any) -> list[bytes]:
        """Check a body, and return its keys. Raises InvalidRequest."""
        try:
            return [bytes.fromhex(key) for key in cls.model_validate(value).keys]
        except ValidationError as error:
            raise first_error(error) from error
