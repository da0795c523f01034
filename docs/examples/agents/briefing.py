"""Tells the news and the weather every morning, at the time that the person chose."""

from roost import Agent, tool
from roost.builtin import delete_schedule, list_schedules, schedule

# These stand for a news agency and a weather service.
HEADLINES = ["Trams run again", "A heron nests on the town hall"]
FORECASTS = {"Lisbon": "sunny, 24 °C"}


@tool(effect="pure", timeout=20, label="Reading the news")
async def headlines() -> list[str]:
    """List this morning's headlines."""
    return HEADLINES


@tool(effect="pure", timeout=20, label="Looking at the sky")
async def forecast(city: str) -> str:
    """Tell today's weather in a city."""
    return FORECASTS.get(city, "unknown")


briefing = Agent(
    "briefing",
    instructions=(
        "You brief people in the morning: two sentences on the weather of their city, then the "
        "headlines. When they tell you a time, schedule a job that says what to do and in which "
        "city, such as: Brief on Lisbon."
    ),
    tools=[headlines, forecast, schedule, list_schedules, delete_schedule],
)
