"""Items of a response while they grow: each tells its parts, its deltas and its end."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from roost_platform.gateway.families.responses.signatures import redacted, signed
from roost_platform.gateway.families.responses.tools import INPUT


class Tell(Protocol):
    """Hears of a step: the type of an event, and its fields."""

    def __call__(self, kind: str, /, **fields: Any) -> None:
        """Take the step."""
        ...


class OpenItem:
    """What all items have in common."""

    def __init__(self, tell: Tell, index: int, item: dict[str, Any]) -> None:
        self.item = item
        self.is_done = False
        self._tell = tell
        self._index = index
        self._pieces: list[str] = []  # of the text that grows
        self._place: dict[str, Any] = {"item_id": item["id"], "output_index": index}
        tell("response.output_item.added", output_index=index, item=item)

    def close(self, status: str) -> None:
        """Tell the end of it."""
        self._finish_part()
        self.is_done = True
        self.item["status"] = status
        self._tell("response.output_item.done", output_index=self._index, item=self.item)

    def stop(self) -> None:
        """Leave it as it stands, and tell nothing."""
        self._keep_text("".join(self._pieces))
        self.item["status"] = "incomplete"

    def _finish_part(self) -> None:
        raise NotImplementedError

    def _keep_text(self, text: str) -> None:
        raise NotImplementedError


class OpenMessage(OpenItem):
    """A message, whose parts are texts and refusals."""

    def __init__(self, tell: Tell, index: int, id: str) -> None:
        message: dict[str, Any] = {
            "id": id,
            "type": "message",
            "status": "in_progress",
            "role": "assistant",
            "content": [],
        }
        self._part: dict[str, Any] | None = None
        super().__init__(tell, index, message)

    def add_text(self, text: str, logprobs: Sequence[Mapping[str, Any]]) -> None:
        """Add text to the answer."""
        entries = [_logprob(entry) for entry in logprobs]
        part = {"type": "output_text", "text": "", "annotations": [], "logprobs": []}
        self._begin_part(part)["logprobs"] += entries
        self._pieces.append(text)
        if text or entries:
            self._tell("response.output_text.delta", **self._where(), delta=text, logprobs=entries)

    def add_refusal(self, text: str) -> None:
        """Add text to the refusal."""
        self._begin_part({"type": "refusal", "refusal": ""})
        self._pieces.append(text)
        self._tell("response.refusal.delta", **self._where(), delta=text)

    def _begin_part(self, part: dict[str, Any]) -> dict[str, Any]:
        if self._part is None or self._part["type"] != part["type"]:
            self._finish_part()
            self._part = part
            self.item["content"].append(part)
            self._tell("response.content_part.added", **self._where(), part=part)
        return self._part

    def _finish_part(self) -> None:
        part = self._part
        if part is None:
            return
        text = "".join(self._pieces)
        self._keep_text(text)
        if part["type"] == "refusal":
            self._tell("response.refusal.done", **self._where(), refusal=text)
        else:
            logprobs = part["logprobs"]
            self._tell("response.output_text.done", **self._where(), text=text, logprobs=logprobs)
        self._tell("response.content_part.done", **self._where(), part=part)
        self._part = None
        self._pieces.clear()

    def _keep_text(self, text: str) -> None:
        if self._part is not None:
            self._part["refusal" if self._part["type"] == "refusal" else "text"] = text

    def _where(self) -> dict[str, Any]:
        return {**self._place, "content_index": len(self.item["content"]) - 1}


class OpenReasoning(OpenItem):
    """Reasoning: its text, or the same as a summary where the client asks for one."""

    def __init__(self, tell: Tell, index: int, id: str, *, is_summary: bool) -> None:
        reasoning: dict[str, Any] = {
            "id": id,
            "type": "reasoning",
            "status": "in_progress",
            "summary": [],
            "content": [],
        }
        self._is_summary = is_summary
        self._part: dict[str, Any] | None = None
        super().__init__(tell, index, reasoning)
        place = "summary_index" if is_summary else "content_index"
        self._place[place] = 0

    def add_text(self, text: str) -> None:
        """Add text to the reasoning."""
        if not text:
            return
        kind = "reasoning_summary_text" if self._is_summary else "reasoning_text"
        if self._part is None:
            self._part = {"type": kind.removeprefix("reasoning_"), "text": ""}
            if self._is_summary:
                self.item["summary"].append(self._part)
                self._tell("response.reasoning_summary_part.added", **self._place, part=self._part)
            else:
                self._part["type"] = kind
                self.item["content"].append(self._part)
                self._tell("response.content_part.added", **self._place, part=self._part)
        self._pieces.append(text)
        self._tell(f"response.{kind}.delta", **self._place, delta=text)

    def sign(self, signature: str) -> None:
        """Add the provider's signature of the text, which is whole now."""
        self.item["encrypted_content"] = signed("".join(self._pieces), signature)

    def redact(self, data: str) -> None:
        """The reasoning is ciphertext of the provider."""
        self.item["encrypted_content"] = redacted(data)

    def _finish_part(self) -> None:
        if self._part is None:
            return
        text = "".join(self._pieces)
        self._keep_text(text)
        if self._is_summary:
            self._tell("response.reasoning_summary_text.done", **self._place, text=text)
            self._tell("response.reasoning_summary_part.done", **self._place, part=self._part)
        else:
            self._tell("response.reasoning_text.done", **self._place, text=text)
            self._tell("response.content_part.done", **self._place, part=self._part)

    def _keep_text(self, text: str) -> None:
        if self._part is not None:
            self._part["text"] = text


class OpenCall(OpenItem):
    """A call of a function, or of a custom tool, whose input is the text in its one argument."""

    def __init__(self, tell: Tell, index: int, id: str, kind: str, call_id: str, name: str) -> None:
        self._is_custom = kind == "custom_tool_call"
        call: dict[str, Any] = {
            "id": id,
            "type": kind,
            "status": "in_progress",
            "call_id": call_id,
            "name": name,
            "input" if self._is_custom else "arguments": "",
        }
        super().__init__(tell, index, call)

    def add_arguments(self, text: str) -> None:
        """Add a piece of the arguments."""
        if not text:
            return
        self._pieces.append(text)
        if not self._is_custom:  # an input is known once its JSON is whole
            self._tell("response.function_call_arguments.delta", **self._place, delta=text)

    def _finish_part(self) -> None:
        if not self._pieces and not self._is_custom:
            self.add_arguments("{}")
        self._keep_text("".join(self._pieces))
        if self._is_custom:
            text = self.item["input"]
            kind = "response.custom_tool_call_input"
            if text:
                self._tell(f"{kind}.delta", **self._place, delta=text)
            self._tell(f"{kind}.done", **self._place, input=text)
            return
        self._tell(
            "response.function_call_arguments.done",
            **self._place,
            name=self.item["name"],
            arguments=self.item["arguments"],
        )

    def _keep_text(self, text: str) -> None:
        if not self._is_custom:
            self.item["arguments"] = text
            return
        try:
            value = json.loads(text)
        except (ValueError, RecursionError):
            value = text
        given = value.get(INPUT) if isinstance(value, dict) else None
        self.item["input"] = given if isinstance(given, str) else text


def _logprob(entry: Mapping[str, Any]) -> dict[str, Any]:
    """An entry with what the form of responses demands of it."""
    top = [_token(one) for one in entry.get("top_logprobs") or () if isinstance(one, dict)]
    return {**_token(entry), "top_logprobs": top}


def _token(entry: Mapping[str, Any]) -> dict[str, Any]:
    token = str(entry.get("token") or "")
    return {
        "token": token,
        "bytes": entry.get("bytes") or list(token.encode(errors="replace")),
        "logprob": entry.get("logprob") or 0.0,
    }
