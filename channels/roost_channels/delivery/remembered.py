"""The ids that a process keeps in mind, a bounded number of them."""

from collections import OrderedDict


class Remembered:
    """A set of at most `most` ids; the one added longest ago is forgotten first."""

    def __init__(self, most: int) -> None:
        self._ids: OrderedDict[str, None] = OrderedDict()
        self._most = most

    def add(self, id_: str) -> None:
        """Remember an id."""
        self._ids[id_] = None
        while len(self._ids) > self._most:
            self._ids.popitem(last=False)

    def discard(self, id_: str) -> None:
        """Forget an id, if it is known."""
        self._ids.pop(id_, None)

    def __contains__(self, id_: object) -> bool:
        return id_ in self._ids
