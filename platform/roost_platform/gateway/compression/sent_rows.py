"""Which beginnings of conversations were sent lately, and in which form each row was sent."""

import hashlib
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from roost_platform.gateway.compression.rows import Row
from roost_platform.gateway.compression.stubs import ORIGINAL
from roost_platform.gateway.encoding import encode

WARM_S: Final = 300.0  # how long providers keep a prefix at the least
ROWS_MAX: Final = 100_000
DIGEST_BYTES: Final = 16


def chain(seed: str, rows: Sequence[Row]) -> list[bytes]:
    """A name for each beginning of a conversation: of its first row, of its first two, and so on.

    seed: separates keys and sessions.
    """
    names = []
    name = hashlib.blake2b(seed.encode(), digest_size=DIGEST_BYTES).digest()
    for row in rows:
        name = hashlib.blake2b(name + encode(row), digest_size=DIGEST_BYTES).digest()
        names.append(name)
    return names


@dataclass(slots=True)
class SentRows:
    """The form of each row by the name of the beginning that it ends; used from several threads.

    Of more than ROWS_MAX rows the ones that were sent longest ago are forgotten, the later rows of
    a conversation before the earlier ones.
    """

    _forms: dict[bytes, tuple[float, int]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def forms(self, names: Sequence[bytes], now: float) -> tuple[list[int], int]:
        """The form in which each row was sent, and how many rows at the beginning are warm."""
        forms, warm = [ORIGINAL] * len(names), 0
        with self._lock:
            for index, name in enumerate(names):
                known = self._forms.get(name)
                if known is None:
                    break
                sent_at, forms[index] = known
                if warm == index and now - sent_at <= WARM_S:
                    warm += 1
        return forms, warm

    def remember(self, names: Sequence[bytes], forms: Sequence[int], now: float) -> None:
        """These rows are sent now."""
        with self._lock:
            for name, form in zip(reversed(names), reversed(forms), strict=True):
                self._forms.pop(name, None)
                self._forms[name] = (now, form)
            while len(self._forms) > ROWS_MAX:
                del self._forms[next(iter(self._forms))]
