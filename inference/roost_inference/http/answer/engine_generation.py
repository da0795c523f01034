"""An answer that is being generated: the engine thread makes it, the event loop reads it."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import replace

from roost_inference.errors import EngineError
from roost_inference.http.answer.track import Track, joined
from roost_inference.http.engine_port import EnginePort
from roost_inference.http.generation import LoopNotifier, Piece, Remember
from roost_inference.prompt.call_markup import CallParser
from roost_inference.request import Event, Listener, Request

SEEDS = 2**63


class EngineGeneration:
    """A Generation of an EnginePort. Call `submit` first.

    Each choice is a request of its own: the first one reads the prompt, and the others wait for it
    and share its cells. max_tokens of the requests bounds the queues between the threads.
    """

    def __init__(
        self,
        engine: EnginePort,
        request: Request,
        *,
        notifier: LoopNotifier,
        new_parser: Callable[[], CallParser] | None = None,
        choices: int = 1,
        tells_tokens: bool = False,
        observe: Listener = lambda event: None,
        remember: Remember = lambda answer: None,
        figures: Mapping[str, object] | None = None,
        opening: str = "",
    ) -> None:
        self.id = request.id
        self.model = engine.model.name
        self.build = f"{engine.model.name} {engine.model.build}"
        self.opening = opening
        self.prompt_tokens = request.prompt_tokens
        self._engine = engine
        self._observe = observe
        self._notifier = notifier
        self._ready = asyncio.Event()
        self._requests = requests_of(request, choices)
        self._tracks = {
            each.id: Track(
                choice,
                parser=new_parser() if new_parser is not None else None,
                tells_tokens=tells_tokens,
                remember=remember,
                figures=figures or {},
            )
            for choice, each in enumerate(self._requests)
        }

    def submit(self) -> None:
        """Queue the requests; any thread may call it. Raises what EnginePort.submit raises, and
        then none of them goes on."""
        for count, request in enumerate(self._requests):
            try:
                self._engine.submit(request, self._listen)
            except EngineError:
                for earlier in self._requests[:count]:
                    self._engine.abort(earlier.id)
                raise

    def cancel(self) -> None:
        """See Generation."""
        for id, track in self._tracks.items():
            if not track.finished:
                self._engine.abort(id)

    def _listen(self, event: Event) -> None:
        """Take an event; the engine thread calls it."""
        self._observe(event)
        self._tracks[event.request_id].hear(event)
        self._notifier.notify(self._ready)

    async def pieces(self) -> AsyncGenerator[list[Piece], None]:
        """See Generation."""
        tracks = list(self._tracks.values())
        while not all(track.finished for track in tracks):
            await self._ready.wait()
            self._ready.clear()
            pieces: list[Piece] = []
            failure: EngineError | None = None
            for track in tracks:
                taken, failed = track.take()
                pieces += taken
                failure = failure or failed
            if pieces:
                yield joined(pieces)
            if failure is not None:
                raise failure


def requests_of(request: Request, choices: int) -> Sequence[Request]:
    """A request for each choice. With a seed each has its own, the next number: so a choice is the
    answer that its seed alone gives."""
    requests, sampling = [request], request.sampling
    for choice in range(1, choices):
        seed = None if sampling.seed is None else (sampling.seed + choice) % SEEDS
        own = replace(sampling, seed=seed)
        id = f"{request.id}-{choice}"
        requests.append(replace(request, id=id, sampling=own, prompt_logprobs=None))
    return requests
