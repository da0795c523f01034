"""Books tables. Before money is spent, the person is asked."""

from typing import Annotated

from pydantic import Field

from roost import Agent, Context, ModelRetry, tool

# These stand for the restaurants' own system.
FREE_SEATS = {"Da Enzo": 6, "Roma Sparita": 40}
BOOKINGS: dict[str, str] = {}


@tool(effect="pure", label="Looking for free seats")
async def free_seats(place: str) -> int:
    """Tell how many seats a restaurant has left tonight."""
    if place not in FREE_SEATS:
        raise ModelRetry(f"{place!r} is not known. There are: {', '.join(FREE_SEATS)}.")
    return FREE_SEATS[place]


@tool(effect="idempotent", approval="ask", label="Booking")
async def book_table(ctx: Context, place: str, people: Annotated[int, Field(ge=1, le=12)]) -> str:
    """Book a table for tonight and pay the deposit, 10 € a person."""
    # ctx.key is the same whenever this call runs again, so nobody pays twice.
    return BOOKINGS.setdefault(ctx.key, f"{people} people at {place}, {people * 10} € paid")


booking = Agent(
    "booking",
    instructions="You book tables. Look for free seats first, then book.",
    tools=[free_seats, book_table],
)
