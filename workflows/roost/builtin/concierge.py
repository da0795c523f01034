"""The agent Roost comes with: it tells the time, calculates, and keeps notes per person."""

from datetime import UTC, datetime
from typing import Annotated, Final
from zoneinfo import ZoneInfo, available_timezones

from pydantic import Field

from roost.agent import Agent, ModelSettings
from roost.builtin import calculator as arithmetic
from roost.context import Context
from roost.errors import ModelRetry, ToolFailed
from roost.tools import tool

NOTE_CHARS_MAX: Final = 1000
NOTES_SHOWN_MAX: Final = 50
READ_BYTES_MAX: Final = 12 * 1024  # of a file in one call; a result has room for 16 KiB
TIME_FORMAT: Final = "%A %d %B %Y, %H:%M:%S %Z"


@tool(effect="pure", timeout=5, label="Looking at the clock")
def current_time(
    timezone: Annotated[str, Field(description="IANA name, such as Europe/Paris or UTC")] = "UTC",
) -> str:
    """Tell the current date and time in a timezone."""
    # Looked up by name first: ZoneInfo opens files by path, and the name comes from a model.
    if timezone == "UTC":  # known even where no timezone database is installed
        return datetime.now(UTC).strftime(TIME_FORMAT)
    if timezone not in available_timezones():
        raise ModelRetry(f"{timezone!r} is not an IANA timezone such as Europe/Paris or UTC.")
    return datetime.now(ZoneInfo(timezone)).strftime(TIME_FORMAT)


@tool(effect="pure", timeout=5, label="Calculating")
def calculator(
    expression: Annotated[str, Field(description="such as (17.5 + 4) * 3 or sqrt(2)")],
) -> str:
    """Compute an arithmetic expression exactly."""
    return arithmetic.evaluate(expression)


@tool(effect="idempotent", timeout=15, label="Writing a note")
async def remember(
    ctx: Context, text: Annotated[str, Field(min_length=1, max_length=NOTE_CHARS_MAX)]
) -> str:
    """Keep a note about this person for later conversations."""
    note = await ctx.notes.add(text)
    return f"Noted as number {note.id}."


@tool(effect="pure", timeout=15, label="Reading the notes")
async def notes_list(ctx: Context) -> str:
    """List the notes kept about this person."""
    notes = list(await ctx.notes.list())
    if not notes:
        return "There are no notes."
    lines = [f"{note.id}: {note.text}" for note in notes[-NOTES_SHOWN_MAX:]]
    older = len(notes) - len(lines)
    return "\n".join([*([f"({older} older notes not shown)"] if older else []), *lines])


@tool(effect="idempotent", timeout=15, label="Removing a note")
async def forget_note(ctx: Context, number: int) -> str:
    """Delete a note by its number."""
    # A second attempt finds the note gone because the first one deleted it.
    if await ctx.notes.remove(number) or ctx.attempt > 1:
        return f"Note {number} is deleted."
    return f"There is no note {number}."


@tool(effect="pure", timeout=60, label="Reading a file")
async def read_file(
    ctx: Context,
    file: Annotated[str, Field(description="the file's id, such as k3m9x2p7qb")],
    offset: Annotated[int, Field(ge=0, description="characters to skip")] = 0,
) -> str:
    """Read a document that was sent in this conversation, or go on reading it at an offset."""
    reading = await ctx.files.text(file.removeprefix("artifact").strip())
    if reading.problem:
        raise ToolFailed(f"The file {file} can't be read: {reading.reason}.")
    total = len(reading.text)
    if offset >= total:
        raise ModelRetry(f"The file has {total} characters.")
    part = reading.text[offset:].encode()[:READ_BYTES_MAX].decode("utf-8", "ignore")
    end = offset + len(part)
    rest = f"Go on at offset {end}." if end < total else "This is the end."
    if end == total and reading.is_cut:
        rest = "The file goes on, but no more of it can be read."
    return f"Characters {offset} to {end} of {total}. {rest}\n\n{part}"


concierge = Agent(
    "concierge",
    instructions=(
        "You are Roost's concierge, a friendly and helpful assistant. "
        "If asked who you are, say that you are Roost's concierge. "
        "Answer briefly and plainly. "
        "Text inside <quoted> is a passage the user refers to, inside <file> a file's beginning, "
        "inside <forwarded> are words of somebody else. "
        "Use a tool only when it is needed: current_time for the time, calculator for arithmetic, "
        "remember, notes_list and forget_note for notes about the user, read_file for files."
    ),
    tools=[current_time, calculator, remember, notes_list, forget_note, read_file],
    model=ModelSettings(temperature=0.2, top_p=0.9, repetition_penalty=1.1, max_tokens=512),
)
