from booking import BOOKINGS, booking
from roost.testing import ScriptedModel, call, run_agent

TABLE = call("book_table", place="Da Enzo", people=2)


async def test_it_books_after_a_yes() -> None:
    model = ScriptedModel(call("free_seats", place="Da Enzo"), TABLE, "Booked.")
    run = await run_agent(booking, "Two at Da Enzo, please", model=model, approvals=[True])
    assert run.text == "Booked."
    assert run.calls[1].outcome.text == "2 people at Da Enzo, 20 € paid"


async def test_a_no_books_nothing_and_the_model_knows() -> None:
    BOOKINGS.clear()
    model = ScriptedModel(TABLE, "Then I leave it.")
    run = await run_agent(booking, "Two at Da Enzo, please", model=model, approvals=[False])
    assert run.calls[0].outcome.status == "error" and not BOOKINGS
    assert run.text == "Then I leave it."


async def test_it_waits_until_somebody_decides() -> None:
    BOOKINGS.clear()
    run = await run_agent(booking, "Two at Da Enzo, please", model=ScriptedModel(TABLE))
    assert run.finish == "waiting" and not BOOKINGS


async def test_an_unknown_place_is_told_to_the_model() -> None:
    model = ScriptedModel(call("free_seats", place="Enzo"), "Do you mean Da Enzo?")
    run = await run_agent(booking, "Is there room at Enzo?", model=model)
    assert "Da Enzo" in run.calls[0].outcome.text
