"""What docs/flows.md says is true: its example runs, and it names every step."""

import re
from pathlib import Path
from typing import Any

from roost.flow import FLOW_QUEUES
from roost.flows.context import PROMPT_CHARS_MAX, FlowContext
from roost.flows.journal import BRANCHES_MAX, RESULT_BYTES_MAX, STEPS_MAX
from roost.testing import run_flow
from roost_workflows.turn.flow.guard import CPU_S_MAX

DOCS = Path(__file__).parents[3] / "docs" / "flows.md"
TEXT = DOCS.read_text()


def example() -> dict[str, Any]:
    """The names that the code of the page defines, all blocks together."""
    names: dict[str, Any] = {"__name__": "docs_flows"}
    for block in re.findall(r"```python\n(.*?)```", TEXT, re.S):
        exec(compile(block, str(DOCS), "exec"), names)
    return names


async def test_the_example_of_the_page_runs_and_its_test_passes() -> None:
    names = example()
    await names["test_the_trip_is_booked_whatever_dies"]()
    run = await run_flow(
        names["trip"], "x", answers=["Paris", "Sunday"], approvals=[True], stop_after=4
    )
    assert (run.state, run.undone) == ("stopped", (("cancel", "ok"),))
    denied = await run_flow(names["trip"], "x", answers=["Paris", "Sunday"], approvals=[False])
    assert denied.text == "Nothing is booked: Not run: the person said no."


def test_the_page_names_every_step_and_the_bounds() -> None:
    steps = [name for name in vars(FlowContext) if not name.startswith("_")]
    assert all(f"ctx.{name}(" in TEXT for name in steps)
    assert all(f"`{mode}`" in TEXT for mode in FLOW_QUEUES)
    assert f"| steps of one flow | {STEPS_MAX:,}," in TEXT
    assert f"| branches of one gather | {BRANCHES_MAX} |" in TEXT
    assert f"| {RESULT_BYTES_MAX // 1024} KB;" in TEXT
    assert f"| {PROMPT_CHARS_MAX:,} characters |" in TEXT
    assert f"| {CPU_S_MAX:.0f} s, then" in TEXT
