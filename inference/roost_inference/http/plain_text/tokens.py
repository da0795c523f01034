"""The bodies of /tokenize and /detokenize, in vLLM's form."""

from collections.abc import Sequence
from typing import Any, Protocol, TypeVar

from pydantic import Field, ValidationError

from roost_inference.errors import UnknownModel
from roost_inference.http.preparation import Preparation
from roost_inference.wire.chat_call import ChatCall
from roost_inference.wire.fields import (
    RequestWarning,
    refuse_unsupported,
    warnings_of,
    with_warnings,
)
from roost_inference.wire.json_body import parse_json, reject
from roost_inference.wire.legacy import modern
from roost_inference.wire.message import WireModel
from roost_inference.wire.parsing import first_error, parse_chat_call

TOKENS_MAX = 2**20

Model = TypeVar("Model", bound=WireModel)


class Tokenizing(Protocol):
    """What of a ChatService is asked here."""

    def models(self) -> list[dict[str, Any]]:
        """See ChatService."""
        ...

    def tokenize(
        self, call: ChatCall | str, preparation: Preparation, *, adds_special: bool = False
    ) -> list[int]:
        """See ChatService."""
        ...

    def spelling(self, token: int) -> bytes:
        """See ChatService."""
        ...

    def warnings(self, call: ChatCall) -> Sequence[RequestWarning]:
        """See ChatService."""
        ...


class TokenizeOptions(WireModel):
    """What is asked beside the tokens."""

    model: str | None = None
    return_token_strs: bool = False


class TokenizeText(TokenizeOptions):
    """A text whose tokens are wanted; BOS comes first unless add_special_tokens says no."""

    prompt: str
    add_special_tokens: bool = True


class DetokenizeTokens(WireModel):
    """Tokens whose text is wanted."""

    tokens: list[int] = Field(max_length=TOKENS_MAX)
    model: str | None = None


def tokenized(service: Tokenizing, body: bytes, preparation: Preparation) -> dict[str, Any]:
    """The tokens of a `prompt`, or of `messages` with their tools. Raises EngineError."""
    value = _object(body)
    _check_model(service, value.get("model"))
    warnings: Sequence[RequestWarning]
    if value.get("messages") is None and value.get("prompt") is not None:
        text = _checked(TokenizeText, value)
        warnings, wants_texts = warnings_of(value, TokenizeText), text.return_token_strs
        tokens = service.tokenize(text.prompt, preparation, adds_special=text.add_special_tokens)
    else:
        chat = {name: child for name, child in value.items() if name != "return_token_strs"}
        wants_texts = _checked(TokenizeOptions, value).return_token_strs
        call = parse_chat_call(chat)
        warnings = [*warnings_of(modern(value), ChatCall, TokenizeOptions), *service.warnings(call)]
        tokens = service.tokenize(call, preparation)
    texts = None
    if wants_texts:
        texts = [service.spelling(token).decode("utf-8", "replace") for token in tokens]
    limit = service.models()[0].get("max_model_len")
    answer = {
        "count": len(tokens),
        "max_model_len": limit,
        "tokens": tokens,
        "token_strs": texts,
    }
    return with_warnings(answer, warnings)


def detokenized(service: Tokenizing, body: bytes, preparation: Preparation) -> dict[str, Any]:
    """The text of `tokens`. Raises EngineError."""
    value = _object(body)
    tokens = _checked(DetokenizeTokens, value).tokens
    _check_model(service, value.get("model"))
    preparation.check()
    answer = {"prompt": b"".join(map(service.spelling, tokens)).decode("utf-8", "replace")}
    return with_warnings(answer, warnings_of(value, DetokenizeTokens))


def _check_model(service: Tokenizing, model: Any) -> None:
    """Raise UnknownModel for the name of another model, whose tokens would be others."""
    names = [known["id"] for known in service.models()]
    if model and isinstance(model, str) and model not in names:
        raise UnknownModel(
            f"The model {model!r} does not exist; this engine runs {names[0]!r}", param="model"
        )


def _object(body: bytes) -> dict[str, Any]:
    value = parse_json(body)
    if not isinstance(value, dict):
        reject("The body must be a JSON object", code="invalid_json")
    return value


def _checked(model: type[Model], value: dict[str, Any]) -> Model:
    refuse_unsupported(value, model)
    try:
        return model.model_validate(value)
    except ValidationError as error:
        raise first_error(error) from error
