"""What compression needs of storage: the texts it left out."""

from collections.abc import Mapping
from typing import Protocol


class Originals(Protocol):
    """Texts that were left out of prompts, by key and reference."""

    async def keep(self, key_id: str, texts: Mapping[str, str]) -> None:
        """Keep these texts, by reference, for a day from now on."""
        ...

    async def find(self, key_id: str, reference: str) -> str | None:
        """The text of this reference, None if this key has none."""
        ...
