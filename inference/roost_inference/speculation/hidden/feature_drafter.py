"""What drafters that read the target's hidden states have in common: they follow sequences.

Of each token that the target computes, the inputs of some of its layers are given to the drafter's
network, which keeps keys and values made of them.
"""

import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from collections.abc import Sequence as Many
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

import numpy as np

from roost_inference.backend import Features, Logits, Payload, Rows
from roost_inference.batch import Tokens
from roost_inference.kv.block import BLOCK_TOKENS
from roost_inference.scheduling.cost import StepCost
from roost_inference.scheduling.drafts import Verified
from roost_inference.sequence import Sequence
from roost_inference.speculation.drafter import Proposal
from roost_inference.speculation.hidden.following import Following, Text

# Features wait until there are so many rows of a sequence, or until it is to be guessed: rows cost
# less together.
WAITING_ROWS_MAX = 64


class Taps(Protocol):
    """The hidden states of the target's last decode."""

    def switch(self, *, on: bool) -> None:
        """Let decodes keep hidden states from now on, or no more."""
        ...

    def features(self, rows: Rows) -> Features | None:
        """[rows, width] features of these rows of the last decode; None if it kept none."""
        ...


class FeatureNetwork(Protocol):
    """A network whose KV holds what was made of features; see llama.drafting.FeatureContext."""

    cells: int
    sequences: int
    outputs: int
    can_export: bool

    def logits(self, row: int) -> Logits:
        """A view of a row's logits."""
        ...

    def share(self, source: int, target: int, end: int) -> None:
        """Give an empty sequence the positions of another before `end`, in shared cells."""
        ...

    def remove(self, sequence: int, start: int) -> None:
        """Remove positions from `start` on."""
        ...

    def export(self, sequence: int, start: int, end: int) -> Payload:
        """A copy of the cells of positions [start, end)."""
        ...

    def attach(self, sequence: int, payload: Payload) -> int:
        """Append exported cells to a sequence that ends where they begin. Returns its new end, 0 if
        they are refused."""
        ...

    def close(self) -> None:
        """Give everything back."""
        ...


class Pieces(Protocol):
    """Stored cells; see library.DraftLibrary."""

    def pieces(self, salt: str, tokens: Tokens) -> tuple[list[Payload], int]:
        """Those of the longest prefix of the tokens that is in RAM, and its length; the last one
        may hold other tokens behind it."""
        ...


Network = TypeVar("Network", bound=FeatureNetwork)


@dataclass(frozen=True, slots=True)
class HiddenCosts:
    """What the drafter costs: guesses by the rows computed at once, to give features to the network
    (each time, and each row), and to keep them in a step of the target."""

    block: StepCost
    inject_ms: float = 0.0
    inject_row_ms: float = 0.0
    tap_ms: float = 0.0


class FeatureDrafter(ABC, Generic[Network]):
    """Implements ObservingDrafter but for the guesses. Owns its network.

    Tokens whose KV was found in a cache have no hidden states, so the network begins behind them,
    unless a sequence that began alike was followed. That weakens its guesses and nothing else.
    """

    name = "hidden"
    # How many tokens further on the token of a cell stands.
    ahead = 0

    def __init__(
        self,
        network: Network,
        taps: Taps,
        costs: HiddenCosts,
        *,
        depth_max: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """depth_max: guesses of one block at most; clock: see Engine's step_clock."""
        self._network = network
        self._taps = taps
        self._costs = costs
        self._depth_max = depth_max
        self._clock = clock
        self._following = Following(network.sequences, network.cells, ahead=self.ahead)
        self._is_closed, self._is_resting = False, False
        self.library: Pieces | None = None
        taps.switch(on=True)

    @abstractmethod
    def cost_ms(self, sequences: int, depth: int) -> float:
        """See Drafter: guesses for each sequence, and what following them costs."""

    @abstractmethod
    def propose(self, sequences: Many[Sequence], depth: int) -> list[Proposal | None]:
        """See Drafter. Raises EngineFailed."""

    @abstractmethod
    def _give(self, texts: list[Text]) -> None:
        """Give the network what waits of these sequences; there is room for it."""

    def prior(self, slot: int) -> float:
        """As published drafters do; small ones learn soon that they do worse."""
        return 0.6 * 0.9**slot

    def observe(self, verified: Many[Verified]) -> None:
        """See ObservingDrafter. The features are copied; the network reads them later."""
        if not verified:
            return
        first = verified[0].rows
        rows = first if len(verified) == 1 else [row for one in verified for row in one.rows]
        features = self._taps.features(np.asarray(rows, np.intp))
        if features is None:
            return
        at, full = 0, list[Text]()
        for one in verified:
            count = len(one.rows)
            text = self._following.follow(one.sequence)
            if text is not None:
                removed = text.held.add(one.start, features[at : at + count])
                self._following.remove(text.held, removed)
                if text.held.waiting >= WAITING_ROWS_MAX:
                    full.append(text)
            at += count
        if full:
            self._inject(full)

    def _is_known(self, sequence: Sequence) -> bool:
        """Whether the features came of tokens up to the one before the last."""
        held = self._following.get(sequence)
        return held is not None and held.end == len(sequence.tokens) - 1

    def _inject(self, texts: list[Text]) -> None:
        """Give the network what waits; where it has no room, the features are dropped."""
        self._restore(texts)
        if not self._following.make_room(sum(text.held.waiting for text in texts), texts):
            for text in texts:
                text.held.lose()
            texts = []
        self._apply_changes()
        if texts:
            self._give(texts)

    def _restore(self, texts: list[Text]) -> None:
        """Bring back the cells of tokens whose KV was loaded, before the first ones behind them
        are given. What is not in RAM by then stays away."""
        for text in texts:
            held = text.held
            is_due = held.given == held.begin > 0 and held.waiting and not held.is_restored
            if self.library is None or not is_due:
                continue
            held.is_restored = True
            pieces, known = self.library.pieces(text.cache_salt, text.tokens[: held.begin])
            room = held.begin + BLOCK_TOKENS
            if known < held.begin or not self._following.make_room(room, texts):
                continue
            self._apply_changes()
            ends = [self._network.attach(held.sequence_id, piece) for piece in pieces]
            end = min(ends[-1], known - self.ahead)
            if 0 in ends or held.begin - end > self.ahead:
                end = 0
            self._network.remove(held.sequence_id, end)
            if end:
                held.restore(end)

    @property
    def can_export(self) -> bool:
        """Whether its cells can be cut into blocks."""
        return self._network.can_export

    def export(self, salt: str, tokens: Tokens, start: int, end: int) -> Payload | None:
        """The cells of a text's positions [start, end), as far as they are known; None if they are
        not. Raises EngineFailed."""
        text = self._following.holding(salt, tokens, start, end)
        if text is None:
            return None
        if text.held.given < end - self.ahead:
            self._inject([text])
        self._apply_changes()
        stop = min(end, text.held.given)
        if stop < end - self.ahead or stop <= start:
            return None
        return self._network.export(text.held.sequence_id, start, stop)

    def _apply_changes(self) -> None:
        """Do to the network's KV what is to be done to it."""
        for change in self._following.changes:
            if change.source is None:
                self._network.remove(change.sequence_id, change.at)
            else:
                self._network.share(change.source, change.sequence_id, change.at)
        self._following.changes.clear()

    def forget(self, sequence: Sequence, *, finished: bool) -> None:
        """Keep what is known of a sequence that has ended for one that begins like it, as long as
        there is room."""
        self._following.end(sequence)

    def rest(self) -> None:
        """See ObservingDrafter."""
        self._is_resting = True
        self._taps.switch(on=False)
        self._following.clear()

    def wake(self) -> None:
        """See ObservingDrafter."""
        self._is_resting = False
        self._taps.switch(on=True)

    @property
    def is_awake(self) -> bool:
        """Whether it follows the steps now."""
        return not self._is_resting and not self._is_closed

    def close(self) -> None:
        """Close the network; safe to call twice."""
        if not self._is_closed:
            self._is_closed = True
            self._taps.switch(on=False)
            self._following.clear()
            self._network.close()
