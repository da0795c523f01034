"""Welcomes new colleagues: a form of three questions, then their accounts."""

from typing import Literal

from roost import Agent, Context, tool
from roost.builtin import ask_user

ACCOUNTS: dict[str, str] = {}  # stands for the directory of the company


@tool(effect="idempotent", label="Opening the account")
async def open_account(
    ctx: Context, name: str, team: Literal["Kitchen", "Garden"], laptop: Literal["Mac", "PC"]
) -> str:
    """Open the account of a new colleague and order the laptop."""
    address = f"{name.lower().replace(' ', '.')}@example.org"
    return ACCOUNTS.setdefault(ctx.key, f"{address} is open; a {laptop} comes to the {team}.")


onboarding = Agent(
    "onboarding",
    instructions=(
        "You welcome new colleagues. Ask in one form for their name, their team (Kitchen or "
        "Garden) and their laptop (Mac or PC). Then open the account, and tell them its address."
    ),
    tools=[ask_user, open_account],
)
