"""An agent that asks before it books, for tests of waits; bookings are lines of a file."""

import os
import time
from pathlib import Path

from roost import Agent, Context, tool
from roost.builtin import ask_user
from roost.waits import Sleep

BOOKINGS = "BOOKINGS"  # the variable that names the file


@tool(effect="unsafe", approval="ask")
def book(ctx: Context, day: str) -> str:
    """Book a table."""
    with Path(os.environ[BOOKINGS]).open("a") as file:
        file.write(f"{day} {ctx.key}\n")
    return f"booked {day}"


@tool(effect="pure")
async def nap(seconds: float) -> Sleep:
    """Sleep for some seconds."""
    return Sleep(time.time() + seconds)


booker = Agent("booker", "Book tables.", tools=[book, ask_user, nap])
