"""`roost keys`: keys of the gateway; create, list, revoke, rotate."""

import json
import re
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import quote

import typer

from roost_platform.cli.look import AsJson
from roost_platform.cli.options import Data, connect
from roost_platform.cli.tables import ago, show
from roost_platform.errors import PlatformError

if TYPE_CHECKING:
    from roost_platform.cli.api_client import ApiClient

keys = typer.Typer(no_args_is_help=True, help="Keys of the gateway: who may use which model.")
KeyName = Annotated[str, typer.Argument(metavar="KEY", help="The key's id or name; see list.")]
SPAN = re.compile(r"(\d{1,6})\s*([smhdw])")
SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}


@keys.command()
def create(
    name: Annotated[str, typer.Option(help="What the key is for.")],
    models: Annotated[
        str | None,
        typer.Option(help="Models it may use, with commas, or provider/*; all by default."),
    ] = None,
    budget: Annotated[
        str | None, typer.Option(metavar="MONEY", help="US dollars, such as 5 or 0.25.")
    ] = None,
    budget_tokens: Annotated[int | None, typer.Option(help="Tokens, prompt and answer.")] = None,
    per: Annotated[
        str, typer.Option(help="The budget's period: day or month (UTC); else the key's life.")
    ] = "",
    rpm: Annotated[int | None, typer.Option(help="Requests a minute.")] = None,
    tpm: Annotated[int | None, typer.Option(help="Tokens a minute.")] = None,
    parallel: Annotated[int | None, typer.Option(help="Calls at once.")] = None,
    expires: Annotated[
        str | None, typer.Option(help="Such as 12h, 30d, or a day such as 2027-01-31.")
    ] = None,
    compress: Annotated[
        bool, typer.Option("--compress", help="Compress long prompts of this key.")
    ] = False,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Make a key. Its secret is shown this once."""
    named = [one.strip() for one in (models or "").split(",") if one.strip()]
    if models is not None and not named:  # an empty variable of a shell would allow all
        raise PlatformError("--models names no model; without it the key may use all.")
    body: dict[str, Any] = {
        "name": name,
        "models": named,
        "budget": None if budget is None else budget.strip().removeprefix("$"),
        "budget_tokens": budget_tokens,
        "per": per,
        "rpm": rpm,
        "tpm": tpm,
        "parallel": parallel,
        "expires_at": None if expires is None else expiry(expires, time.time()),
        "compress": compress,
    }
    with connect(data) as api:
        made = api.post("/api/keys", body)
    _tell(made, as_json)


@keys.command("list")
def list_keys(data: Data = None, as_json: AsJson = False) -> None:
    """List the keys, the newest first."""
    with connect(data) as api:
        rows = _all_keys(api)
    if as_json:
        print(json.dumps(rows, indent=2))
        return
    columns = ("id", "name", "ends in", "state", "models", "spent", "budget", "per", "used")
    show("no keys", columns, [_row(row) for row in rows])


@keys.command()
def revoke(key: KeyName, data: Data = None, as_json: AsJson = False) -> None:
    """Refuse a key from now on."""
    with connect(data) as api:
        row = api.post(f"/api/keys/{quote(key, safe='')}/revoke")
    print(json.dumps(row, indent=2) if as_json else f"{row['name']} is {row['state']}")


@keys.command()
def rotate(
    key: KeyName,
    grace: Annotated[
        str, typer.Option(help="How long the old secret is still good, such as 10m or 1d.")
    ] = "0s",
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Give a key another secret; the old one is refused from now on, or after the grace."""
    body = {"grace_s": seconds(grace)}
    with connect(data) as api:
        made = api.post(f"/api/keys/{quote(key, safe='')}/rotate", body)
    _tell(made, as_json)


def seconds(text: str) -> int:
    """Seconds of a span such as `10m`. Raises PlatformError."""
    if span := SPAN.fullmatch(text.strip().lower()):
        return int(span[1]) * SECONDS[span[2]]
    raise PlatformError(f"{text!r} is no time; write such as 10m, 12h or 30d.")


def expiry(text: str, now: float) -> float:
    """Seconds since the epoch of `30d`, or of a day in UTC. Raises PlatformError."""
    if SPAN.fullmatch(text.strip().lower()):
        return now + seconds(text)
    try:
        at = datetime.fromisoformat(text.strip())
    except ValueError:
        raise PlatformError(f"{text!r} is no time; write such as 12h, 30d or 2027-01-31.") from None
    at = at if at.tzinfo else at.replace(tzinfo=UTC)
    if at.timestamp() <= now:
        raise PlatformError(f"{text} is over already.")
    return at.timestamp()


def _all_keys(api: "ApiClient") -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    while page := api.get("/api/keys", skip=len(rows))["keys"]:
        rows += page
    return rows


def _tell(made: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print(json.dumps(made, indent=2))
        return
    print(f"{made['name']} ({made['id']})\n{made['key']}\nKeep the key: it is not shown again.")


def _row(row: dict[str, Any]) -> tuple[str, ...]:
    has_money = row["budget"] is not None
    spent = f"${row['spent']}" if has_money else f"{row['spent_tokens']} tokens"
    budget = f"${row['budget']}" if has_money else f"{row['budget_tokens'] or 'no bound'}"
    return (
        row["id"],
        row["name"],
        row["hint"],
        row["state"],
        ", ".join(row["models"]) or "all",
        spent,
        budget,
        row["per"],
        ago(row["used_at"]),
    )
