"""Texts that a model writes itself, with the hidden states of their tokens.

They are kept in files, as float16: 200,000 tokens of a small model take 700 MB.
"""

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from roost_inference.backend import DecodeStatus
from roost_inference.batch import Batch, Tokens
from roost_inference.benchmarking.ruler import WORDS, Ruler
from roost_inference.errors import EngineFailed, EngineUnavailable
from roost_inference.llama.backend import LlamaBackend
from roost_inference.llama.drafting import LlamaTaps

SIDE_BY_SIDE = 16
PROMPT_TOKENS_MAX = 256
ANSWER_TOKENS = 192
# Of the free disk, so that others have room.
DISK_SHARE = 0.5
TEMPERATURE = 0.8
FORMS = (
    "Tell me about {0} and {1}.",
    "What is the difference between {0} and {1}?",
    "Write a short story about a {0} and a {1}.",
    "Give me five ideas for {0}, with {1} in mind.",
    "Explain to a child what {0} has to do with {1}.",
    "Write an email to a colleague about {0}. Mention the {1}.",
    "Write a Python function that counts each {0} of a {1}, and explain it.",
    "List the steps to plan a {0} with little {1}.",
    "Summarise what people usually say about {0} and {1} in three sentences.",
    "Is {0} more important than {1}? Answer with reasons.",
)
# Words of prompts that are never learned from: drafters are measured on them.
HELD_OUT_WORDS = 12

Features = NDArray[np.float16]


@dataclass(frozen=True, slots=True)
class Text:
    """A prompt and its answer. features: [tokens - 1, width], of all tokens but the last."""

    tokens: Tokens
    prompt_length: int
    features: Features


def prompts(ruler: Ruler, count: int, *, held_out: bool, seed: int = 0) -> list[list[int]]:
    """Prompts for the model as token ids; the held out ones are of other words."""
    random = np.random.default_rng(seed + held_out)
    words = WORDS[:HELD_OUT_WORDS] if held_out else WORDS[HELD_OUT_WORDS:]
    made: list[list[int]] = []
    for number in range(count):
        pair = random.choice(len(words), 2, replace=False)
        question = FORMS[number % len(FORMS)].format(*(words[at] for at in pair))
        made.append(ruler.prompt([{"role": "user", "content": question}])[-PROMPT_TOKENS_MAX:])
    return made


class Writer:
    """Lets a model answer prompts side by side and keeps its hidden states."""

    def __init__(self, target: LlamaBackend, taps: LlamaTaps, *, temperature: float) -> None:
        """temperature: 0 for the likeliest tokens. The target has cells for all at once."""
        self._target = target
        self._taps = taps
        self._temperature = temperature
        self._random = np.random.default_rng(0)
        self._batch = Batch(PROMPT_TOKENS_MAX)

    def write(self, asked: Sequence[list[int]], answer: int) -> Iterator[Text]:
        """Answers of at most so many tokens, in the order of the prompts. Raises EngineFailed."""
        self._taps.switch(on=True)
        try:
            for at in range(0, len(asked), SIDE_BY_SIDE):
                yield from self._side_by_side(asked[at : at + SIDE_BY_SIDE], answer)
        finally:
            self._taps.switch(on=False)

    def _side_by_side(self, asked: Sequence[list[int]], answer: int) -> list[Text]:
        count, batch = len(asked), self._batch
        texts = [list(prompt) for prompt in asked]
        kept: list[list[Features]] = [[] for _ in asked]
        for number, prompt in enumerate(asked):
            batch.clear()
            batch.add(prompt, 0, number, output=True)
            self._decode()
            kept[number].append(self._features(np.arange(len(prompt))))
            texts[number].append(self._choose(len(prompt) - 1))
        ends = self._target.vocabulary.end_tokens
        going = [number for number in range(count) if texts[number][-1] not in ends]
        for _ in range(answer - 1):
            if not going:
                break
            batch.clear()
            places = [len(texts[number]) - 1 for number in going]
            batch.add_last([texts[number][-1] for number in going], places, going)
            self._decode()
            features = self._features(np.arange(len(going)))
            for row, number in enumerate(going):
                kept[number].append(features[row : row + 1])
                texts[number].append(self._choose(row))
            going = [number for number in going if texts[number][-1] not in ends]
        for number in range(count):
            self._target.sequence_remove(number, 0)
        return [
            Text(np.array(text, np.int32), len(prompt), np.concatenate(rows))
            for text, prompt, rows in zip(texts, asked, kept, strict=True)
        ]

    def _decode(self) -> None:
        if self._target.decode(self._batch) is not DecodeStatus.DONE:
            raise EngineFailed("The model did not compute a text")

    def _features(self, rows: NDArray[np.intp]) -> Features:
        features = self._taps.features(rows)
        if features is None:
            raise EngineFailed("The model gave no hidden states out")
        return np.clip(features, -65504, 65504).astype(np.float16)

    def _choose(self, row: int) -> int:
        logits = self._target.logits(row)
        if self._temperature <= 0:
            return int(logits.argmax())
        noise = self._random.gumbel(size=len(logits)).astype(np.float32)
        return int((logits / np.float32(self._temperature) + noise).argmax())


class TextStore:
    """Texts in files of a folder, as many tokens as `room`. Made once, read many times."""

    def __init__(self, folder: Path, *, room: int, width: int) -> None:
        """Raises EngineUnavailable if the disk is too small."""
        needed, free = room * (2 * width + 4), shutil.disk_usage(folder).free
        if needed > DISK_SHARE * free:
            raise EngineUnavailable(
                f"{room} tokens need {needed / 2**20:.0f} MiB in {folder}, {free / 2**20:.0f} MiB "
                f"are free and half of that may be taken. Ask for fewer tokens."
            )
        self._features = np.memmap(folder / "features", np.float16, "w+", shape=(room, width))
        self._tokens = np.memmap(folder / "tokens", np.int32, "w+", shape=(room,))
        self._spans: list[tuple[int, int, int]] = []
        self._room = room
        self.size = 0

    def __len__(self) -> int:
        return len(self._spans)

    def fill(self, texts: Iterator[Text]) -> None:
        """Keep texts until there is no room or no further text."""
        for text in texts:
            size = len(text.tokens)
            if self.size + size > self._room:
                return
            here = slice(self.size, self.size + size)
            self._tokens[here] = text.tokens
            self._features[here][:-1] = text.features
            self._spans.append((self.size, size, text.prompt_length))
            self.size += size

    def get(self, number: int) -> Text:
        """A text, by its number."""
        at, size, prompt = self._spans[number]
        here = slice(at, at + size)
        return Text(self._tokens[here], prompt, self._features[here][:-1])

    def counts(self, vocabulary: int) -> NDArray[np.int64]:
        """How often each token was written."""
        return np.bincount(self._tokens[: self.size], minlength=vocabulary)
