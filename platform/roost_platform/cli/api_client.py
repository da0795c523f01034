"""The command line's client of the API: JSON requests and one event stream."""

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx2

from roost_platform.errors import ApiRefused, NotReachable, Refused

TIMEOUT_S = 30.0
DOWNLOAD_S = 300.0  # between two pieces of a download; the first takes the longest


@dataclass(frozen=True, slots=True)
class ServerEvent:
    """One server-sent event."""

    name: str
    data: dict[str, Any]


class ApiClient:
    """Talks to one stack; raises NotReachable if it does not answer, ApiRefused for an error."""

    def __init__(self, url: str, token: str) -> None:
        self.url = url
        self._http = httpx2.Client(
            base_url=url,
            headers={"Authorization": f"Bearer {token}"},
            timeout=httpx2.Timeout(TIMEOUT_S, connect=5.0),
            trust_env=False,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._http.close()

    def get(self, path: str, **params: Any) -> Any:
        """Send a GET; returns the JSON of the answer."""
        query = {key: value for key, value in params.items() if value is not None}
        return self._request("GET", path, params=query)

    def post(
        self, path: str, body: dict[str, Any] | None = None, *, wait_s: float = TIMEOUT_S
    ) -> Any:
        """Send a POST; returns the JSON of the answer, which may take `wait_s`."""
        timeout = httpx2.Timeout(wait_s, connect=5.0)
        return self._request("POST", path, json=body or {}, timeout=timeout)

    def delete(self, path: str) -> Any:
        """Send a DELETE; returns the JSON of the answer."""
        return self._request("DELETE", path)

    def download(self, path: str, file: Path) -> int:
        """Write the answer of a GET to a new file that its owner alone can read; its size."""
        timeout = httpx2.Timeout(DOWNLOAD_S, connect=5.0)
        part = file.with_name(f"{file.name}.part")
        try:
            with self._http.stream("GET", path, timeout=timeout) as response:
                if response.status_code != 200:
                    response.read()
                    raise _refusal(response)
                with part.open("wb") as out:
                    for chunk in response.iter_bytes():
                        out.write(chunk)
            part.rename(file)
        except httpx2.HTTPError as error:
            raise NotReachable(f"{self.url} does not answer ({error}).") from error
        finally:
            part.unlink(missing_ok=True)
        return file.stat().st_size

    def events(
        self, path: str, *, silence_s: float, deadline: float, **params: Any
    ) -> Iterator[ServerEvent]:
        """Events until the server ends the stream; NotReachable after `silence_s` of silence.

        deadline: of time.monotonic(); the stream ends then, or with the ping after it.
        """
        left_s = max(deadline - time.monotonic(), 0.1)
        timeout = httpx2.Timeout(TIMEOUT_S, read=min(silence_s, left_s))
        try:
            with self._http.stream("GET", path, params=params, timeout=timeout) as response:
                if response.status_code != 200:
                    response.read()
                    raise _refusal(response)
                yield from _parse(_until(deadline, _lines(response.iter_text())))
        except httpx2.HTTPError as error:
            raise NotReachable(
                f"{self.url} does not answer ({error or type(error).__name__}). Is Roost running?"
            ) from error

    def _request(self, method: str, path: str, **more: Any) -> Any:
        try:
            response = self._http.request(method, path, **more)
        except httpx2.HTTPError as error:
            raise NotReachable(
                f"{self.url} does not answer ({error or type(error).__name__}). Is Roost running?"
            ) from error
        except ValueError as error:  # NaN and half characters are in no JSON
            raise Refused(f"This can't be sent: {error}.") from error
        if response.status_code >= 400:
            raise _refusal(response)
        return response.json()


def _refusal(response: httpx2.Response) -> ApiRefused:
    try:
        detail = response.json()["detail"]
    except (ValueError, KeyError, TypeError):
        detail = response.text.strip()[:200]
    return ApiRefused(response.status_code, _in_words(detail))


def _in_words(detail: Any) -> str:
    """FastAPI's list of problems as text: `text: String should have at least 1 character`."""
    if isinstance(detail, str):
        return detail
    try:
        return "; ".join(f"{problem['loc'][-1]}: {problem['msg']}" for problem in detail)
    except (KeyError, TypeError, IndexError):
        return json.dumps(detail)


def _until(deadline: float, lines: Iterator[str]) -> Iterator[str]:
    for line in lines:
        yield line
        if time.monotonic() > deadline:
            return


def _lines(texts: Iterator[str]) -> Iterator[str]:
    """The lines of an event stream. `iter_lines` also ends one at U+0085 and U+2028 in a text."""
    rest = ""
    for text in texts:
        *whole, rest = (rest + text).split("\n")
        yield from (line.removesuffix("\r") for line in whole)


def _parse(lines: Iterator[str]) -> Iterator[ServerEvent]:
    name, data = "message", ""
    for line in lines:
        if line.startswith("event:"):
            name = line[6:].strip()
        elif line.startswith("data:"):
            data += line[5:].strip()
        elif not line and data:
            yield ServerEvent(name, json.loads(data))
            name, data = "message", ""
