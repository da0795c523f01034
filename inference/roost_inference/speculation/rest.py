"""When a drafter rests that follows every step: what it costs must not be paid for nothing.

    awake      it is used, or has been a while ago. Unused for AWAKE_STEPS, it rests.
    resting    it costs nothing. After a pause it wakes for as many steps, and guesses now and then
               without being used, so that its rates are those of what is written now. It wakes
               when an answer ends, so that it sees the next prompt from its beginning; if none
               ends, it wakes nevertheless after twice the pause.

The pause doubles each time that nothing came of it, so that the share of steps with a drafter that
does not pay goes to nothing.
"""

from roost_inference.speculation.drafter import ObservingDrafter

AWAKE_STEPS = 128
# While it is awake and unused it guesses once in so many steps.
PROBE_STEPS = 8
PAUSE_STEPS_MIN = 2048
PAUSE_STEPS_MAX = 65536


class Rest:
    """Lets one drafter rest. Used by the engine thread; its calls may raise what the drafter
    raises."""

    def __init__(self, drafter: ObservingDrafter) -> None:
        self._drafter = drafter
        self.is_resting = False
        self._pause = PAUSE_STEPS_MIN
        self._steps = 0

    def note(self, *, used: bool) -> None:
        """Answers were computed in a step, with guesses of the drafter or without."""
        self._steps += 1
        if used:
            self._steps, self._pause = 0, PAUSE_STEPS_MIN
        elif self.is_resting and self._steps >= 2 * self._pause:
            self._wake()
        elif not self.is_resting and self._steps >= AWAKE_STEPS:
            self._drafter.rest()
            self._steps, self.is_resting = 0, True

    def note_end(self) -> None:
        """An answer has ended."""
        if self.is_resting and self._steps >= self._pause:
            self._wake()

    def _wake(self) -> None:
        self._drafter.wake()
        self._steps, self.is_resting = 0, False
        self._pause = min(2 * self._pause, PAUSE_STEPS_MAX)
