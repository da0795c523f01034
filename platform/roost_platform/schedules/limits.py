"""What schedules may cost, where operators set nothing else."""

from typing import Final

# Read and written by the checks of one schedule in a day. An hourly check of a long chat fits.
CHECK_TOKENS_A_DAY: Final = 300_000
