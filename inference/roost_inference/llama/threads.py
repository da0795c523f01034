"""Chooses the number of threads for a step by measuring: one more helps only on a free core.

The threads of a step wait for each other some five hundred times. Where another program takes a
core from one of them, all the others wait for it, and two threads are many times slower than one.
So for each size of step the number of threads that was fastest recently is used. While that is
fewer than all, another number is tried now and then; with all, only at first and when steps get
slower: another number of threads sums in another order and may change an answer where logits nearly
tie.
"""

import os
from collections import deque
from statistics import median

# How long a thread spins for the others before it sleeps, in turns of libgomp's loop. Its own
# default, 3 ms, burns cores that other programs wait for; sleeping at once costs a third of a
# free machine's speed. While there are more threads than cores, as beside a piece of a prompt in
# the background, it spins for 1,000 turns with the policy "active" and for 100 with none: too short
# for a step's threads to find each other awake.
SPIN_TURNS = 5000
# Steps of one trial, and between trials: a lost trial doubles the pause.
TRIAL_STEPS = 3
PAUSE_STEPS_MIN, PAUSE_STEPS_MAX = 16, 256
# Another number of threads must be this much faster to be taken.
GAIN_MIN = 0.93
# So much slower than when it was chosen, a number of threads is in doubt at once.
DOUBT = 1.6
# A trial that is so much slower ends at once.
HOPELESS = 1.15
# A lost trial of a longer step is felt: the next one is as far away as can be.
CHEAP_STEP_MS = 50.0
# After this many lost trials, one of them of a longer step, all threads are kept until in doubt.
TRIALS_MAX = 3
STEPS_KEPT = 7


def limit_spinning() -> None:
    """Call it before libgomp is loaded, which reads the variable once. A value that is set already
    stays."""
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", str(SPIN_TURNS))
        os.environ["OMP_WAIT_POLICY"] = "active"


class ThreadTuner:
    """The number of threads for the next step, by its rows. Not thread-safe."""

    def __init__(self, most: int) -> None:
        """`most` threads and halves of it down to one are the choices."""
        choices = [max(most, 1)]
        while choices[-1] > 1:
            choices.append(choices[-1] // 2)
        self._choices = tuple(choices)
        self._sizes: dict[int, _Size] = {}

    def choose(self, rows: int) -> int:
        """Threads for a step of this many rows; `observe` is to follow unless it failed."""
        return self._choices[self._size(rows).candidate]

    def observe(self, rows: int, ms: float) -> None:
        """What that step took."""
        if len(self._choices) > 1:
            self._size(rows).observe(ms / rows, len(self._choices), is_cheap=ms <= CHEAP_STEP_MS)

    def _size(self, rows: int) -> "_Size":
        """Steps whose numbers of rows have the same length in binary count as one size."""
        return self._sizes.setdefault(rows.bit_length(), _Size())


class _Size:
    """Steps of about the same number of rows. Indexes of choices; costs in ms a row."""

    def __init__(self) -> None:
        self.candidate = 0
        self._chosen = 0
        self._cost_when_chosen: float | None = None
        self._recent: deque[float] = deque(maxlen=STEPS_KEPT)
        self._trial: list[float] = []
        self._pause = PAUSE_STEPS_MIN
        self._until_trial = PAUSE_STEPS_MIN
        self._trials_left = TRIALS_MAX
        self._upwards = False

    def observe(self, cost: float, choices: int, *, is_cheap: bool) -> None:
        if self.candidate != self._chosen:
            self._trial.append(cost)
            self._judge(is_cheap)
            return
        self._recent.append(cost)
        self._until_trial -= 1
        if len(self._recent) < STEPS_KEPT:
            return
        now = median(self._recent)
        if self._cost_when_chosen is None:
            self._cost_when_chosen = now
        if now > DOUBT * self._cost_when_chosen:
            self._cost_when_chosen = now
            self._pause = PAUSE_STEPS_MIN
            self._until_trial, self._trials_left = 0, TRIALS_MAX
        if self._until_trial <= 0 and self._trials_left > 0:
            self._try(choices)

    def _try(self, choices: int) -> None:
        """Begin a trial with the neighbour whose turn it is."""
        step = -1 if self._upwards else 1
        self._upwards = not self._upwards
        if not 0 <= self._chosen + step < choices:
            step = -step
        self.candidate = self._chosen + step
        self._trial = []

    def _judge(self, is_cheap: bool) -> None:
        now, tried = median(self._recent), median(self._trial)
        if len(self._trial) < TRIAL_STEPS and tried < HOPELESS * now:
            return
        if tried < GAIN_MIN * now:
            self._chosen = self.candidate
            self._recent = deque(self._trial, maxlen=STEPS_KEPT)
            self._cost_when_chosen = tried
            self._pause, self._trials_left = PAUSE_STEPS_MIN, TRIALS_MAX
        else:
            self._pause = min(2 * self._pause, PAUSE_STEPS_MAX) if is_cheap else PAUSE_STEPS_MAX
            if self._chosen == 0:
                self._trials_left -= 1 if is_cheap else TRIALS_MAX
        self.candidate = self._chosen
        self._until_trial = self._pause
