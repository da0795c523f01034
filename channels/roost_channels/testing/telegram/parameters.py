"""The parameters of a call, read from any of the four encodings."""

import json
import re
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from roost_channels.http.bodies import parse_json
from roost_channels.testing.telegram.errors import bad_request

_INTEGER = re.compile(r"\s*(-?\d+)")


@dataclass(frozen=True, slots=True)
class UploadedFile:
    """A file in a multipart body."""

    name: str
    content_type: str
    data: bytes


class Parameters:
    """Parameters as text, as on the wire; nested objects are JSON text."""

    def __init__(
        self, values: dict[str, str] | None = None, files: dict[str, UploadedFile] | None = None
    ) -> None:
        self.values = values or {}
        self.files = files or {}

    def __contains__(self, name: str) -> bool:
        return name in self.values

    def text(self, name: str) -> str:
        """The value of a parameter, empty when it is missing."""
        return self.values.get(name, "")

    def integer(
        self, name: str, default: int = 0, low: int | None = None, high: int | None = None
    ) -> int:
        """The number at the start of the value, else `default`; kept between `low` and `high`."""
        match = _INTEGER.match(self.values.get(name, ""))
        value = int(match.group(1)) if match else default
        if low is not None:
            value = max(low, value)
        if high is not None:
            value = min(high, value)
        return value

    def boolean(self, name: str) -> bool:
        """Whether the value is `true`, `yes` or `1`."""
        return self.values.get(name, "").strip().lower() in ("true", "yes", "1")

    def json(self, name: str, complaint: str) -> Any:
        """A nested object, None when it is missing; BotApiError 400 `complaint` for bad JSON."""
        raw = self.values.get(name, "")
        if not raw:
            return None
        try:
            return parse_json(raw)
        except ValueError:
            raise bad_request(complaint) from None

    def upload(self, name: str) -> UploadedFile | None:
        """The file sent as `name`, or the one that its `attach://other` names."""
        if name in self.files:
            return self.files[name]
        reference = self.values.get(name, "")
        if reference.startswith("attach://"):
            return self.files.get(reference.removeprefix("attach://"))
        return None

    def recorded(self) -> dict[str, Any]:
        """The record of the call: nested JSON decoded, files by name and size."""
        record: dict[str, Any] = {}
        for name, value in self.values.items():
            record[name] = value
            if value[:1] in ("{", "["):
                try:
                    record[name] = parse_json(value)
                except ValueError:
                    record[name] = value
        for name, upload in self.files.items():
            record[name] = {"file_name": upload.name, "size": len(upload.data)}
        return record


def _as_text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def from_mapping(values: dict[str, Any]) -> Parameters:
    """Parameters from decoded JSON; null counts as missing."""
    return Parameters({k: _as_text(v) for k, v in values.items() if v is not None})


async def from_request(request: web.Request) -> Parameters:
    """Parameters of the query string and the body; the body wins."""
    parameters = Parameters({key: str(value) for key, value in request.query.items()})
    if request.method not in ("POST", "PUT") or not request.can_read_body:
        return parameters
    if request.content_type == "application/json":
        try:
            body = parse_json(await request.read())
        except ValueError:
            raise bad_request("can't parse JSON object") from None
        if not isinstance(body, dict):
            raise bad_request("can't parse JSON object")
        parameters.values.update(from_mapping(body).values)
        return parameters
    for name, value in (await request.post()).items():
        if isinstance(value, web.FileField):
            data = value.file.read()
            value.file.close()
            parameters.files[name] = UploadedFile(value.filename, value.content_type, data)
        else:
            parameters.values[name] = (
                value if isinstance(value, str) else bytes(value).decode("utf-8", "replace")
            )
    return parameters
