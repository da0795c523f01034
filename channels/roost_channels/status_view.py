"""The text of a status message: a pure function of a turn's snapshot and the time."""

from dataclasses import dataclass

from roost_channels.outbox import ProgressSnapshot

TOOL_LINES_MAX = 6
TOOL_LINE_MAX = 120
_RUNNING = {
    "queued": "Waiting for my turn…",
    "thinking": "Thinking…",
    "tool": "Working…",
    "answering": "Writing the answer…",
    "unreachable": "The model is not reachable, retrying…",
}


@dataclass(frozen=True, slots=True)
class StatusView:
    """What the status message should read now."""

    text: str
    can_stop: bool = True


def view(snapshot: ProgressSnapshot, now: float) -> StatusView | None:
    """The status message of a running turn; None for a turn that is over.

    A pure function, coarse in time, so that a message is only edited when something changed.
    """
    headline = _RUNNING.get(snapshot.phase)
    if headline is None:
        return None
    elapsed = elapsed_words(now - snapshot.started_at)
    lines = [f"{headline} {elapsed}".rstrip()]
    hidden = len(snapshot.tools) - TOOL_LINES_MAX
    if hidden > 0:
        lines.append(f"… {hidden} earlier")
    lines += [_shortened(line) for line in snapshot.tools[-TOOL_LINES_MAX:]]
    return StatusView("\n".join(lines))


def elapsed_words(seconds: float) -> str:
    """Time as people say it while waiting: nothing, tens of seconds, minutes."""
    if seconds < 10:
        return ""
    if seconds < 60:
        return f"({int(seconds // 10) * 10} s)"
    minutes, rest = divmod(int(seconds), 60)
    return f"({minutes} min)" if minutes >= 5 or rest < 30 else f"({minutes} min 30 s)"


def _shortened(line: str) -> str:
    """A line in one row: long ones lose their middle, where paths say least."""
    line = " ".join(line.split())
    if len(line) <= TOOL_LINE_MAX:
        return line
    half = (TOOL_LINE_MAX - 1) // 2
    return f"{line[:half]}…{line[-half:]}"
