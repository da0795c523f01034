"""The engine of one offer as a source of blocks, by the best way that leads to it."""

from collections.abc import Callable, Generator, Sequence

from roost_inference.kv.handover.local import KEYS_MAX
from roost_inference.kv.handover.source import SourceError
from roost_inference.kv.handover.transports import Frames, PeerAccess, Signal
from roost_inference.kv.tiers.lanes import Lane
from roost_inference.request import KvOffer

# A peer that sends nothing for so long is given up.
SILENCE_S = 3.0
SIGNAL_S = 1.0


class PeerSource:
    """Implements KvSource over one offer. signals: a lane for what nobody waits for."""

    def __init__(
        self,
        offer: KvOffer,
        access: PeerAccess,
        signals: Lane,
        *,
        clock: Callable[[], float],
        block_bytes_max: int,
    ) -> None:
        self.name = "tcp"
        self._offer = offer
        self._access = access
        self._signals = signals
        self._clock = clock
        self._block_bytes_max = block_bytes_max

    def read(self, keys: Sequence[bytes], deadline: float) -> Generator[memoryview, None, None]:
        """See KvSource."""
        for start in range(0, len(keys), KEYS_MAX):
            wanted = keys[start : start + KEYS_MAX]
            count = 0
            for block in self._blocks(wanted, deadline):
                count += 1
                yield block
            if count < len(wanted):
                return

    def _blocks(self, keys: Sequence[bytes], deadline: float) -> Frames:
        """By the first way that can be reached. What has come is not asked for again."""
        problem, done = SourceError("peer_not_allowed"), 0
        for transport in self._access.transports(self._offer):
            self.name = transport.name
            rest = keys[done:]
            try:
                for block in transport.blocks(
                    rest, lambda: self._patience(deadline), self._block_bytes_max
                ):
                    done += 1
                    yield block
                return
            except SourceError as error:
                self._patience(deadline)
                if error.reason != "unreachable":
                    raise
                problem = error
        raise problem

    def _patience(self, deadline: float) -> float:
        left = deadline - self._clock()
        if left <= 0:
            raise SourceError("too_slow")
        return min(left, SILENCE_S)

    def renew(self) -> None:
        """See KvSource."""
        self._signal("renew")

    def release(self) -> None:
        """See KvSource."""
        self._signal("release")

    def _signal(self, signal: Signal) -> None:
        self._signals.submit(lambda: _tell(self._access, self._offer, signal))


def _tell(access: PeerAccess, offer: KvOffer, signal: Signal) -> None:
    """Signal by the first way that works. A lease whose release is lost ends by itself."""
    for transport in access.transports(offer):
        try:
            transport.signal(signal, SIGNAL_S)
            return
        except SourceError:
            continue
