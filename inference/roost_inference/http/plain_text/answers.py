"""The choices of a completion that are generated at once, read as one."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable, Sequence
from typing import TypeAlias

from roost_inference.errors import EngineError
from roost_inference.http.generation import EngineGeneration, Piece

# Batches of pieces that wait for their reader; the choices wait then.
BATCHES_WAITING_MAX = 64

ChoicePiece: TypeAlias = tuple[int, Piece]


class PlainAnswers:
    """prompts: the text that each prompt's choices begin with, empty without `echo`."""

    opening = ""

    def __init__(
        self, id: str, generations: Sequence[EngineGeneration], prompts: Sequence[str]
    ) -> None:
        self.id = id
        self.prompts = tuple(prompts)
        self.model = generations[0].model
        self.build = generations[0].build
        self._generations = generations

    @property
    def choices(self) -> int:
        """How many there are; those of the first prompt come first."""
        return len(self._generations)

    def prompt_of(self, choice: int) -> str:
        """The text that a choice begins with."""
        return self.prompts[choice * len(self.prompts) // self.choices]

    def submit(self, check: Callable[[], None]) -> None:
        """Queue all requests, or none: raises what EnginePort.submit and `check` raise."""
        try:
            for generation in self._generations:
                check()
                generation.submit()
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
            asyncio.ensure_future(_read(number, generation, queue))
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
    number: int,
    generation: EngineGeneration,
    queue: "asyncio.Queue[list[ChoicePiece] | EngineError | None]",
) -> None:
    try:
        async with contextlib.aclosing(generation.pieces()) as batches:
            async for batch in batches:
                await queue.put([(number, piece) for piece in batch])
    except EngineError as error:
        await queue.put(error)
    else:
        await queue.put(None)
