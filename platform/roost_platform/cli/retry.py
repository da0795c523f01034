"""`roost retry`: have a failed turn tried again."""

import json
from typing import Annotated
from urllib.parse import quote

import typer

from roost_platform.cli.options import Data, connect


def retry(
    id: Annotated[
        str,
        typer.Argument(
            help="A turn's or a flow's id, or a session's key or name for its last turn."
        ),
    ],
    data: Data = None,
    as_json: Annotated[bool, typer.Option("--json", help="Machine-readable output.")] = False,
) -> None:
    """Have a failed turn tried again: it goes on behind its last step, and does nothing twice."""
    with connect(data) as api:
        retried = api.post(f"/api/turns/{quote(id, safe='')}/retry")
    print(json.dumps(retried, indent=2) if as_json else f"tried again: turn {retried['turn_id']}")
