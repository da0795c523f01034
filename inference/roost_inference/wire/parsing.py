"""From a body's JSON to checked values; the first fault becomes an InvalidRequest with its path."""

from collections.abc import Sequence
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from roost_inference.errors import InvalidRequest
from roost_inference.wire.chat_call import ChatCall, ResponseFormat
from roost_inference.wire.fields import refuse_unsupported
from roost_inference.wire.json_body import reject
from roost_inference.wire.legacy import modern
from roost_inference.wire.message import UnsupportedContent
from roost_inference.wire.session_hint import SessionHint

TOKEN_DIGITS_MAX = 10

# pydantic puts branches of unions and validators into a field's path; clients don't know them.
BRANCHES = ("NamedToolChoice", "AllowedToolsChoice", "TierPlace")
# The fields of a response_format that say something in each of its types.
FORM_FIELDS = {
    "text": frozenset[str](),
    "json_object": frozenset({"schema"}),
    "json_schema": frozenset({"json_schema"}),
    "structural_tag": frozenset({"structures", "triggers", "format"}),
}
TAGS = ("literal[", "function-", "list[", "dict[", "nullable[")


def parse_chat_call(value: Any, *, session_id: str | None = None) -> ChatCall:
    """A checked request from a body's JSON; `session_id` is the header's, for a body without.

    Raises InvalidRequest whose `param` is the path of the field at fault.
    """
    if not isinstance(value, dict):
        reject("The body must be a JSON object", code="invalid_json")
    refuse_unsupported(value, ChatCall)
    value = modern(value)
    if session_id and value.get("session_id") is None:
        value = {**value, "session_id": session_id}
    try:
        call = ChatCall.model_validate(value)
    except ValidationError as error:
        raise first_error(error) from error
    _check_together(call)
    _check_transfer(call)
    return call


def parse_session_hint(value: Any) -> SessionHint:
    """The checked body of a request about a session. Raises InvalidRequest."""
    if not isinstance(value, dict):
        reject("The body must be a JSON object", code="invalid_json")
    try:
        return SessionHint.model_validate(value)
    except ValidationError as error:
        raise first_error(error) from error


def _check_together(call: ChatCall) -> None:
    """The rules between fields that a type can't express."""
    if call.prompt_logprobs is not None and call.stream:
        reject("prompt_logprobs come with whole answers only", param="prompt_logprobs")
    if call.best_of is not None and call.best_of != (call.n or 1):
        reject("All choices that are made are given; best_of must be n", param="best_of")
    if call.structured_outputs is not None and len(call.structured_outputs.kinds) != 1:
        reject("structured_outputs takes exactly one form", param="structured_outputs")
    if call.top_logprobs is not None and not call.logprobs:
        reject("top_logprobs needs logprobs to be true", param="top_logprobs")
    if call.stream_options is not None and not call.stream:
        reject("stream_options is for streams only; set stream to true", param="stream_options")
    for index, message in enumerate(call.messages):
        if message.content is None:
            reject("content must be text", param=f"messages[{index}].content")
        if message.role == "tool" and not message.tool_call_id:
            reject("A tool message needs tool_call_id", param=f"messages[{index}].tool_call_id")
    names = [function.name for function in call.functions]
    if len(set(names)) < len(names):
        reject("Two tools have the same name", param="tools")
    if call.tool_choice not in (None, "auto", "none") and not names:
        reject("tool_choice asks for a tool but none is declared", param="tool_choice")
    for name in sorted(call.allowed_names or ()):
        if name not in names:
            reject(f"tool_choice names {name!r}, which is not declared", param="tool_choice")
    if call.response_format is not None:
        _check_form(call.response_format)
    if not all(_is_token_id(token) for token in call.logit_bias or ()):
        reject("The keys of logit_bias must be token ids, such as 42", param="logit_bias")


def _check_form(form: ResponseFormat) -> None:
    """Refuse a field that another type of form has: the caller expects that it is followed."""
    if form.type == "json_schema" and form.json_schema is None:
        reject("response_format json_schema needs a schema", param="response_format.json_schema")
    given = form.model_dump(by_alias=True, exclude_none=True).keys() - {"type"}
    for name in sorted(given - FORM_FIELDS[form.type]):
        param = f"response_format.{name}"
        reject(f"{param} says nothing in a response_format of type {form.type!r}", param=param)


def _check_transfer(call: ChatCall) -> None:
    """The rules of a prompt whose KV goes to another engine, or comes from one."""
    params = call.kv_transfer_params
    if params is None:
        return
    if params.missing:
        param = f"kv_transfer_params.{params.missing}"
        reject(f"{param}: do_remote_prefill needs it", param=param, code="missing_field")
    if not params.do_remote_decode:
        return
    param = "kv_transfer_params.do_remote_decode"
    if params.do_remote_prefill:
        reject(f"{param}: a prompt can't come from and go to another engine at once", param=param)
    if call.stream or (call.n or 1) > 1:
        reject(f"{param} takes one whole answer: no stream, and n 1", param=param)


def _is_token_id(text: str) -> bool:
    """Whether the text is a token id in its one form: `01` would be a second name of `1`."""
    is_number = text.isascii() and text.isdigit() and len(text) <= TOKEN_DIGITS_MAX
    return is_number and (text == "0" or text[0] != "0")


def first_error(error: ValidationError) -> InvalidRequest:
    """The first fault of a body, with the path of its field as clients know it."""
    first = _most_telling(error.errors())
    param = ""
    for step in first["loc"]:
        if isinstance(step, int):
            param += f"[{step}]"
        elif step not in BRANCHES and not step.startswith(TAGS):
            param += f".{step}" if param else step
    cause = first.get("ctx", {}).get("error")
    text = str(cause) if isinstance(cause, ValueError) else first["msg"]
    invalid = InvalidRequest(f"{param}: {text}" if param else text, param=param or None)
    if isinstance(cause, UnsupportedContent):
        invalid.code = "unsupported_content"
    elif first["type"] == "missing":
        invalid.code = "missing_field"
    return invalid


def _most_telling(errors: Sequence[ErrorDetails]) -> ErrorDetails:
    """The first error. Of an object that stands for a word, it is the first one of the form whose
    type the object names: the first of all says which words there are."""
    first = errors[0]
    if first["type"] != "literal_error" or not isinstance(first["input"], dict):
        return first
    forms = [e for e in errors if e["loc"][0] == first["loc"][0] and len(e["loc"]) > 2]
    others = {e["loc"][1] for e in forms if e["loc"][2] == "type"}
    return next((e for e in forms if e["loc"][1] not in others), first)
