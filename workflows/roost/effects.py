"""Effect classes of tools: what a second run of a call would do after a crash."""

from typing import Final, Literal, get_args

Effect = Literal["pure", "idempotent", "verifiable", "unsafe"]

EFFECTS: Final[tuple[str, ...]] = get_args(Effect)
