"""How many tokens a prompt will have, learnt from what each target has counted before.

A budget holds an estimate until the provider has counted. One that is too low lets calls in that
the budget does not cover; one that is too high refuses the last call that it does. So neither a
margin above nor a mean serves: the estimate has to be what the provider will say.

* Before a target has counted anything: a quarter of a token for each byte, as English has it, and
  what roles and separators take. Of other scripts and of a template with words of its own the first
  calls hold too little, at most until the first of them is settled.
* Each count is remembered for prompts of about that size (a step of an eighth of its power of two),
  with the same number of answers and pictures. A prompt of exactly that size is then held exactly:
  five equal calls fit into a budget for five, and the sixth does not.
* The newest count stands alone. A mean of what different clients send would be wrong for each.
* A prompt of another size differs from the nearest count by tokens a byte: those between the two
  nearest counts, where there are two; else what a long prompt shows by itself, while what a short
  one shows is its template.

What was counted the same way gives the same estimate: no chance and no clock. Memory is bounded,
for each target and for all; the oldest goes first.
"""

import heapq
import math
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from roost_platform.gateway.request import ModelRequest
from roost_platform.gateway.sizes import PromptSize

TOKENS_PER_BYTE: Final = 0.25
TOKENS_PER_BYTE_MIN: Final = 0.1  # long words of a large vocabulary
TOKENS_PER_BYTE_MAX: Final = 1.0  # no tokenizer has more tokens than bytes
MESSAGE_TOKENS: Final = 4  # the role and its separators, as OpenAI documents them
REQUEST_TOKENS: Final = 3  # the beginning of the answer
IMAGE_TOKENS: Final = 800  # between OpenAI's 85 to 1105 and Anthropic's up to 1600
TARGETS_MAX: Final = 1000
COUNTS_MAX: Final = 256  # of one target
SIZE_STEPS: Final = 8  # in each power of two

LONG_BYTES: Final = 4096  # what a template adds is little beside so many

_Count = tuple[PromptSize, int]  # a prompt and its tokens
Kind = tuple[int, int]  # answers and pictures, of which each has its own price
PICTURES: Final = frozenset({"image_url", "input_image", "image"})


@dataclass(slots=True)
class _Counted:
    """The newest counts of one target, by kind and class of size."""

    by_class: OrderedDict[tuple[Kind, int], _Count] = field(default_factory=OrderedDict)

    def nearest(self, size: PromptSize) -> list[_Count]:
        """The counts of this kind for the two sizes nearest to it, the nearest first."""
        kind, wanted = _kind(size), _size_class(size.bytes)
        known = [(abs(found - wanted), found) for of, found in self.by_class if of == kind]
        return [self.by_class[kind, found] for _, found in heapq.nsmallest(2, known)]


@dataclass(slots=True)
class PromptEstimates:
    """What targets have counted, by their names."""

    _targets: OrderedDict[str, _Counted] = field(default_factory=OrderedDict)

    def tokens(self, target: str, size: PromptSize, *, prompts: int = 1) -> int:
        """The tokens of such a prompt at this target. prompts: how often it is read for `n`
        answers, as far as nothing of the kind was counted.
        """
        counted = self._targets.get(target)
        if counted is None:
            return at_first(size) * prompts
        same = counted.by_class.get((_kind(size), _size_class(size.bytes)))
        if same is not None and same[0] == size:
            return max(1, same[1])
        near = counted.nearest(size)
        if not near:
            return at_first(size) * prompts
        of, tokens = near[0]
        more = _per_byte(near) * (size.bytes - of.bytes)
        more += MESSAGE_TOKENS * (size.messages - of.messages)
        least = 1 if _size_class(of.bytes) == _size_class(size.bytes) else at_first(size) // 2
        return max(least, math.ceil(tokens + more))

    def learn(self, target: str, size: PromptSize, tokens: int) -> None:
        """Remember what this target has counted."""
        counted = self._targets.get(target)
        if counted is None:
            if len(self._targets) >= TARGETS_MAX:
                self._targets.popitem(last=False)
            counted = self._targets[target] = _Counted()
        place = (_kind(size), _size_class(size.bytes))
        if place not in counted.by_class and len(counted.by_class) >= COUNTS_MAX:
            counted.by_class.popitem(last=False)
        counted.by_class[place] = size, tokens
        counted.by_class.move_to_end(place)


def _per_byte(near: Sequence[_Count]) -> float:
    """Tokens that a byte more adds, by the nearest counts."""
    of, tokens = near[0]
    found = TOKENS_PER_BYTE
    if of.bytes >= LONG_BYTES:
        found = tokens / of.bytes
    if len(near) > 1:
        other, others = near[1]
        bytes = of.bytes - other.bytes
        if abs(bytes) * SIZE_STEPS >= max(of.bytes, other.bytes):
            found = (tokens - others - MESSAGE_TOKENS * (of.messages - other.messages)) / bytes
    return min(max(found, TOKENS_PER_BYTE_MIN), TOKENS_PER_BYTE_MAX)


def at_first(size: PromptSize) -> int:
    """The tokens of a prompt whose target has counted nothing like it."""
    words = math.ceil(size.bytes * TOKENS_PER_BYTE)
    return words + MESSAGE_TOKENS * size.messages + REQUEST_TOKENS + IMAGE_TOKENS * size.images


def prompt_size(request: ModelRequest) -> PromptSize:
    """The size of a request's prompt."""
    images, writes_cache = 0, False
    messages = request.messages
    for message in messages:
        content = message.get("content")
        if isinstance(content, list):
            images += _pictures(content)
            writes_cache = writes_cache or _marks(content)
    if request.native is not None and not writes_cache and request.native.wire == "anthropic":
        writes_cache = _marks(request.native.body.get("system")) or _marks(
            request.native.body.get("tools")
        )
    return PromptSize(request.prompt_bytes, len(messages), images, request.n, writes_cache)


def _pictures(content: Sequence[Any]) -> int:
    return sum(1 for part in content if isinstance(part, Mapping) and part.get("type") in PICTURES)


def _marks(parts: Any) -> bool:
    """Whether one of these parts ends a prefix that the provider shall keep."""
    if not isinstance(parts, list | tuple):
        return False
    return any(isinstance(part, Mapping) and "cache_control" in part for part in parts)


def _kind(size: PromptSize) -> Kind:
    return size.n, size.images


def _size_class(size: int) -> int:
    """A number for all sizes that differ by less than an eighth of their power of two."""
    power = size.bit_length()
    if power <= 4:
        return size
    step = (size >> (power - 4)) - SIZE_STEPS  # of the three bits after the first
    return 16 + (power - 5) * SIZE_STEPS + step
