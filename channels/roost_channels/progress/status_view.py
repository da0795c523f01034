"""The text of a status message: pure functions of a turn's snapshot and the time."""

from dataclasses import dataclass

from roost_channels.outbox import ProgressSnapshot, StatusMessage

TOOL_LINES_MAX = 6
PLAN_LINES_MAX = 10
LINE_MAX = 120
STREAM_CHARS_MAX = 3000  # of a partial answer: its end, which is what is being written
RUNNING = {
    "queued": "Waiting for my turn…",
    "thinking": "Thinking…",
    "tool": "Working…",
    "agents": "Other agents are working on this…",
    "answering": "Writing the answer…",
    "unreachable": "The model is not reachable, retrying…",
}
_CLOSING = {"done": "Done", "stopped": "Stopped", "failed": "Failed"}


@dataclass(frozen=True, slots=True)
class StatusView:
    """The text that the status message should show now, and whether it has a Stop button."""

    text: str
    can_stop: bool = True


def view(snapshot: ProgressSnapshot, now: float) -> StatusView | None:
    """The status message of a running turn; None for a turn that is over.

    A pure function, coarse in time, so that a message is only edited when something changed.
    """
    headline = RUNNING.get(snapshot.phase)
    if headline is None:
        return None
    elapsed = elapsed_words(now - snapshot.started_at)
    lines = [f"{headline} {elapsed}".rstrip()]
    lines += _newest(snapshot.plan, PLAN_LINES_MAX)
    lines += _newest(snapshot.tools, TOOL_LINES_MAX)
    return StatusView("\n".join(lines))


def stream_text(snapshot: ProgressSnapshot) -> str:
    """The partial answer as Markdown; a long one is cut to its end, from the start of a line."""
    text = snapshot.text
    if len(text) <= STREAM_CHARS_MAX:
        return text
    end = text[-STREAM_CHARS_MAX:]
    cut = end.find("\n")
    return f"…{end[cut:] if 0 <= cut < STREAM_CHARS_MAX // 2 else end}"


def with_text(shown: StatusView, snapshot: ProgressSnapshot) -> StatusView:
    """The status with the partial answer below it, where there are no drafts."""
    text = stream_text(snapshot).strip()
    return StatusView(f"{shown.text}\n\n{text}", shown.can_stop) if text else shown


def closing_line(status: StatusMessage) -> str:
    """The line that replaces a status message which can't be removed: `Stopped after 42 s.`"""
    word = _CLOSING.get(status.outcome, "Done")
    if status.elapsed_s < 1:
        return f"{word}."
    return f"{word} {'in' if word == 'Done' else 'after'} {status.elapsed_s:.0f} s."


def elapsed_words(seconds: float) -> str:
    """Time as people say it while waiting: nothing, tens of seconds, minutes."""
    if seconds < 10:
        return ""
    if seconds < 60:
        return f"({int(seconds // 10) * 10} s)"
    minutes, rest = divmod(int(seconds), 60)
    return f"({minutes} min)" if minutes >= 5 or rest < 30 else f"({minutes} min 30 s)"


def _newest(lines_all: tuple[str, ...], most: int) -> list[str]:
    hidden = len(lines_all) - most
    lines = [f"… {hidden} earlier"] if hidden > 0 else []
    return [*lines, *(_shortened(line) for line in lines_all[-most:])]


def _shortened(line: str) -> str:
    """A line in one row; a long one loses its middle, which says least in a path."""
    line = " ".join(line.split())
    if len(line) <= LINE_MAX:
        return line
    half = (LINE_MAX - 1) // 2
    return f"{line[:half]}…{line[-half:]}"
