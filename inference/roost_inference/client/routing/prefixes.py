"""Remembers which engine has read which beginnings of conversations."""

import hashlib
import json
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

PREFIXES_KEPT: Final = 16_384
MESSAGES_HASHED_MAX: Final = 4096
# Until answers tell how many tokens a prompt has.
BYTES_PER_TOKEN: Final = 4.0
LEARNING_RATE: Final = 0.1
LARGE_CHARACTERS: Final = 128 * 1024
# What the prompt is made of, beside the messages, and whose it is.
SHAPING: Final = (
    *("tools", "tool_choice", "cache_salt", "response_format", "structured_outputs"),
    *("chat_template_kwargs", "add_generation_prompt", "continue_final_message", "functions"),
    "reasoning_effort",
)


@dataclass(frozen=True, slots=True)
class PromptChain:
    """A name for each beginning of a prompt, shortest first, and its size in bytes."""

    names: tuple[bytes, ...]
    sizes: tuple[int, ...]

    @classmethod
    def of(cls, body: Mapping[str, Any]) -> "PromptChain":
        """The chain of a chat request; the names are equal only for equal beginnings."""
        shape = _written({name: body[name] for name in SHAPING if body.get(name) is not None})
        name, size = hashlib.blake2b(shape, digest_size=16).digest(), len(shape)
        names, sizes = [], []
        messages = body.get("messages")
        for message in messages if isinstance(messages, list | tuple) else ():
            text = _written(message)
            name = hashlib.blake2b(name + text, digest_size=16).digest()
            size += len(text)
            names.append(name)
            sizes.append(size)
        return cls(tuple(names[-MESSAGES_HASHED_MAX:]), tuple(sizes[-MESSAGES_HASHED_MAX:]))


def is_large(body: Mapping[str, Any]) -> bool:
    """Whether naming the beginnings of this request takes so long that others would feel it."""
    messages = body.get("messages")
    texts = (one.get("content") for one in messages or () if isinstance(one, Mapping))
    return sum(len(text) if isinstance(text, str) else 1024 for text in texts) > LARGE_CHARACTERS


class PrefixIndex:
    """Tokens by beginning and engine, of the beginnings that were used last."""

    def __init__(self) -> None:
        self._tokens: OrderedDict[bytes, dict[str, int]] = OrderedDict()
        self._bytes_per_token = BYTES_PER_TOKEN

    def learn(self, engine: str, chain: PromptChain, tokens: int, written: int = 0) -> None:
        """The engine has read a prompt of so many tokens, and written so many behind it."""
        if not chain.names or tokens <= 0:
            return
        size = chain.sizes[-1]
        self._bytes_per_token += LEARNING_RATE * (size / tokens - self._bytes_per_token)
        for name, part in zip(chain.names, chain.sizes, strict=True):
            known = self._tokens.setdefault(name, {})
            is_whole = name == chain.names[-1]
            known[engine] = tokens + written if is_whole else tokens * part // size
            self._tokens.move_to_end(name)
        while len(self._tokens) > PREFIXES_KEPT:
            self._tokens.popitem(last=False)

    def known(self, engine: str, chain: PromptChain) -> int:
        """Tokens of the longest beginning that the engine has read."""
        for name in reversed(chain.names):
            tokens = self._tokens.get(name, {}).get(engine)
            if tokens is not None:
                return tokens
        return 0

    def total(self, chain: PromptChain) -> int:
        """About how many tokens the prompt has."""
        if not chain.names:
            return 0
        for name, part in zip(reversed(chain.names), reversed(chain.sizes), strict=True):
            if known := self._tokens.get(name):
                return max(known.values()) + self._of_bytes(chain.sizes[-1] - part)
        return self._of_bytes(chain.sizes[-1])

    def _of_bytes(self, size: int) -> int:
        return int(size / self._bytes_per_token)


def _written(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), default=str).encode()
