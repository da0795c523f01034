"""The API route of the gateway's usage, as JSON or as a table for a spreadsheet."""

import csv
import io
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Annotated, Any, Literal

from fastapi import APIRouter, HTTPException, Query
from fastapi.responses import Response
from pydantic import BaseModel

from roost_platform.api.routes import UsesApi, Viewer
from roost_platform.views.gateway.money import MICRO
from roost_platform.views.gateway.spreadsheets import cell
from roost_platform.views.gateway.usage import By, UsageFilter, UsageRow, usage

router = APIRouter(prefix="/usage", tags=["usage"])
Name = Annotated[str | None, Query(max_length=256)]
DAYS = 30  # where no first day is named


class UsageItem(BaseModel):
    """One group, or all. cost: US dollars; tokens of the prompt have the cached ones in them.

    ttft: milliseconds to the first byte. calls: of which ok, cancelled, failed, refused or lost.
    """

    group: str
    name: str
    calls: int
    ok: int
    cancelled: int
    failed: int
    refused: int
    lost: int
    input_tokens: int
    cached_tokens: int
    cache_write_tokens: int
    output_tokens: int
    reasoning_tokens: int
    cost: Decimal
    ttft_p50_ms: float | None
    ttft_p95_ms: float | None


class UsageReport(BaseModel):
    """Groups, and all of them together. since, until: the first and the last day, UTC."""

    by: str
    since: date
    until: date
    rows: list[UsageItem]
    total: UsageItem


@router.get("", response_model=UsageReport, responses={200: {"content": {"text/csv": {}}}})
async def read_usage(
    api: UsesApi,
    me: Viewer,
    by: By = "day",
    since: date | None = None,
    until: date | None = None,
    key: Name = None,
    model: Name = None,
    target: Name = None,
    agent: Name = None,
    person: Name = None,
    format: Literal["json", "csv"] = "json",
) -> Any:
    """What was used, grouped; by default the days of the last 30. People are told to operators."""
    if (by == "person" or person is not None) and not me.may("operator"):
        raise HTTPException(403, "Usage of people needs the role operator.")
    last = until or datetime.fromtimestamp(api.stores.database.now(), UTC).date()
    if since is None:
        since = max(date.min + timedelta(days=DAYS), last) - timedelta(days=DAYS - 1)
    which = UsageFilter(key=key, model=model, target=target, agent=agent, person=person)
    found = await usage(api.stores.database, by, since, last, which)
    rows = [usage_item(row) for row in found.rows]
    if format == "csv":
        name = f"usage-by-{by}-{since}-{last}.csv"
        headers = {"content-disposition": f'attachment; filename="{name}"'}
        return Response(as_csv(rows), media_type="text/csv", headers=headers)
    return UsageReport(by=by, since=since, until=last, rows=rows, total=usage_item(found.total))


def usage_item(row: UsageRow) -> UsageItem:
    """The row as the API tells it."""
    names = [name for name in UsageItem.model_fields if name != "cost"]
    values = {name: getattr(row, name) for name in names}
    return UsageItem(**values, cost=Decimal(row.cost_microusd) / MICRO)


def as_csv(rows: list[UsageItem]) -> str:
    """The rows as a table with a head. A client names models and people: a name that a spreadsheet
    would compute begins with an apostrophe there.
    """
    out = io.StringIO()
    table = csv.writer(out, lineterminator="\r\n")
    table.writerow(UsageItem.model_fields)
    for row in rows:
        values = (getattr(row, name) for name in UsageItem.model_fields)
        table.writerow([_cell(value) for value in values])
    return out.getvalue()


def _cell(value: Any) -> Any:
    if isinstance(value, str):
        return cell(value)
    return "" if value is None else value
