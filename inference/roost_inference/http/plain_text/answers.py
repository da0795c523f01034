"""The completions of several prompts that are generated at once, read as one answer."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable, Sequence
from typing import TypeAlias

from roost_inference.errors import EngineError, InvalidRequest
from roost_inference.http.answer.engine_generation import EngineGeneration
from roost_inference.http.generation import Piece

# Batches of pieces that wait for their reader; the choices wait then.
BATCHES_WAITING_MAX = 64

ChoicePiece: TypeAlias = tuple[int, Piece]


class PlainAnswers:
    """One generation of `n` choices for each prompt. prompts: the text that its choices begin with,
    empty without `echo`."""

    def __init__(
        self,
        id: str,
        generations: Sequence[EngineGeneration],
        prompts: Sequence[str],
        first_tokens: Sequence[bytes],
        n: int,
    ) -> None:
        self._first_tokens = first_tokens
        self.id = id
        self.n = n
        self.prompts = tuple(prompts)
        self.model = generations[0].model
        self.build = generations[0].build
        self._generations = generations

    @property
    def choices(self) -> int:
        """How many there are; those of the first prompt come first."""
        return len(self._generations) * self.n

    @property
    def prompt_tokens(self) -> int:
        """The tokens of all prompts."""
        return sum(len(generation.prompt_tokens) for generation in self._generations)

    def prompt_of(self, choice: int) -> str:
        """The text that a choice begins with."""
        return self.prompts[choice // self.n]

    def first_token_of(self, choice: int) -> bytes:
        """The first token of a choice's prompt, as it is written."""
        return self._first_tokens[choice // self.n]

    def submit(self, check: Callable[[], None]) -> None:
        """Queue all requests, or none: raises what EnginePort.submit and `check` raise."""
        try:
            for generation in self._generations:
                check()
                generation.submit()
        except InvalidRequest as error:
            self.cancel()
            if error.param == "messages":  # what the engine calls the prompt
                error.param = "prompt"
            raise
        except BaseException:
            self.cancel()
            raise

    def cancel(self) -> None:
        """Stop every choice. Any thread may call it."""
        for generation in self._generations:
            generation.cancel()

    async def pieces(self) -> AsyncGenerator[list[ChoicePiece], None]:
        """Batches of pieces with the number of their choice; see Generation. The first choice that
        fails ends all of them with its error."""
        queue: asyncio.Queue[list[ChoicePiece] | EngineError | None] = asyncio.Queue(
            BATCHES_WAITING_MAX
        )
        readers = [
            asyncio.ensure_future(_read(number * self.n, generation, queue))
            for number, generation in enumerate(self._generations)
        ]
        left = len(readers)
        try:
            while left:
                batch = await queue.get()
                if isinstance(batch, EngineError):
                    raise batch
                if batch is None:
                    left -= 1
                else:
                    yield batch
        finally:
            self.cancel()
            for reader in readers:
                reader.cancel()
            await asyncio.wait(readers)


async def _read(
    first: int,
    generation: EngineGeneration,
    queue: "asyncio.Queue[list[ChoicePiece] | EngineError | None]",
) -> None:
    try:
        async with contextlib.aclosing(generation.pieces()) as batches:
            async for batch in batches:
                await queue.put([(first + piece.choice, piece) for piece in batch])
    except EngineError as error:
        await queue.put(error)
    else:
        await queue.put(None)
