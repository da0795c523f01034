"""Messages and tools → the prompt's tokens, through the model's own chat template."""

import hashlib
import json
import re
import secrets
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NoReturn

import jinja2
from jinja2 import meta
from jinja2.sandbox import ImmutableSandboxedEnvironment

from roost_inference.client.reasoning import open_block
from roost_inference.errors import EngineFailed, InvalidRequest, PromptTooLong
from roost_inference.prompt.exact_tokens import GeneratedAnswer
from roost_inference.prompt.families.table import family_of
from roost_inference.prompt.hermes import fold_system, merge_same_role, without_tools
from roost_inference.wire.chat_call import ChatCall
from roost_inference.wire.json_body import is_too_deep
from roost_inference.wire.message import FunctionTool, Message

PROMPT_CHARACTERS_MAX = 16 * 2**20
# Digests of texts for which it is known whether they spell control tokens, 16 bytes each.
TEXTS_REMEMBERED_MAX = 16384

Tokenize = Callable[[str, bool], Sequence[int]]

# `{% generation %}` marks training targets in some templates and means nothing here.
_GENERATION_TAG = re.compile(r"\{%-?\s*(?:end)?generation\s*-?%\}")
_DEFAULT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}"
    "<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


@dataclass(frozen=True, slots=True)
class Prompt:
    """The rendered text, and its tokens with control tokens only where the template put them."""

    text: str
    tokens: list[int]


class ChatTemplate:
    """A GGUF's Jinja template in a sandbox, and what such templates can't do themselves.

    Templates that take no tools, or whose calls nobody parses (families/table.py), get them as text
    in the system message (hermes.py). Contents that spell control tokens are tokenised as plain
    text. opening: the tag of the reasoning block that prompts open, else empty.
    """

    def __init__(
        self,
        source: str,
        *,
        bos: str = "",
        eos: str = "",
        tokenize: Tokenize,
        tokens_at_least: Callable[[str], int] = lambda text: 0,
        context_length: int = sys.maxsize,
    ) -> None:
        """A prompt of `context_length` tokens or more is refused, before it is tokenised where
        `tokens_at_least` proves its length."""
        source = _GENERATION_TAG.sub("", source or _DEFAULT_TEMPLATE)
        environment = ImmutableSandboxedEnvironment(
            trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
        )
        environment.filters["tojson"] = self._tojson
        environment.globals["raise_exception"] = _raise_exception
        environment.globals["strftime_now"] = lambda form: datetime.now().strftime(form)
        self._tokenize = tokenize
        self._tokens_at_least = tokens_at_least
        self._context_length = context_length
        self._spelling: dict[bytes, bool] = {}
        self._lock = threading.Lock()
        self._special = {"bos_token": bos, "eos_token": eos}
        try:
            self._template = environment.from_string(source)
            used = meta.find_undeclared_variables(environment.parse(source))
        except jinja2.TemplateError as error:
            raise EngineFailed(f"The model's chat template is broken: {error}") from error
        self.family = family_of(source, takes_tools="tools" in used)
        self.supports_tools = "tools" in used and self.family.takes_tools
        user = {"role": "user", "content": "a"}
        self._no_tools: Any = None  # some templates can't do without a list
        self._no_tools = None if self._accepts([user]) else []
        self._folds_system = not self._accepts([{"role": "system", "content": "a"}, user])
        self._merges = not self._accepts([user, user])
        self.opening = open_block(self._run([user], None)) if self._accepts([user]) else ""

    def render(
        self,
        call: ChatCall,
        recall: Callable[[int, Message], GeneratedAnswer | None] = lambda place, message: None,
        check: Callable[[], None] = lambda: None,
    ) -> Prompt:
        """The prompt of a request.

        recall: gives the answer that the engine generated as this message, by the number of
            messages before it, if it did; the answer keeps its own tokens.
        check: called before each long piece of work; may raise to end it.

        Raises InvalidRequest if the template refuses the messages, PromptTooLong if they can't
        fit the context."""
        functions = call.functions
        nonce = secrets.token_hex(8)
        hidden: dict[str, str | GeneratedAnswer] = {}
        marked = [
            _marked(message, recall(place, message), hidden, nonce)
            for place, message in enumerate(call.messages)
        ]
        if self.supports_tools and functions:
            messages = self.family.adapted([_native(message) for message in marked])
            tools = [_declared(function) for function in functions]
        else:
            messages = without_tools(marked, functions)
            tools = None
        if self._folds_system:
            messages = fold_system(messages)
        if self._merges:
            messages = merge_same_role(messages)
        for message in messages:
            check()
            content = message["content"]
            if self._spells_control(content):
                message["content"] = _mark(hidden, nonce, content)
        check()
        text = self._run(messages, tools)
        if len(text) > PROMPT_CHARACTERS_MAX:
            raise InvalidRequest("The chat template made a prompt beyond any limit")
        pieces = _pieces(text, hidden, nonce)
        self._refuse_too_long(
            sum(
                len(p.tokens) if isinstance(p, GeneratedAnswer) else self._tokens_at_least(p.text)
                for p in pieces
            )
        )
        tokens: list[int] = []
        for piece in pieces:
            check()
            if isinstance(piece, GeneratedAnswer):
                tokens += piece.tokens
            else:
                tokens += self._tokenize(piece.text, piece.special)
            if len(pieces) > 1:
                self._refuse_too_long(len(tokens))
        return Prompt("".join(piece.text for piece in pieces), tokens)

    def _refuse_too_long(self, count: int) -> None:
        if count >= self._context_length:
            raise PromptTooLong(
                f"The prompt has at least {count} tokens; the model's context of "
                f"{self._context_length} tokens must also hold the answer",
                param="messages",
            )

    def _spells_control(self, text: str) -> bool:
        """Whether the text spells a control token. Remembered by the text's digest: a session's
        messages come back with every turn, and this is most of a prompt's time. A text that can't
        fit the context counts as one that does: plain text is always safe."""
        if self._tokens_at_least(text) >= self._context_length:
            return True
        key = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()
        with self._lock:
            known = self._spelling.get(key)
        if known is None:
            known = list(self._tokenize(text, True)) != list(self._tokenize(text, False))
            with self._lock:
                self._spelling[key] = known
                if len(self._spelling) > TEXTS_REMEMBERED_MAX:
                    del self._spelling[next(iter(self._spelling))]
        return known

    def _run(self, messages: Sequence[Mapping[str, Any]], tools: Any) -> str:
        try:
            return self._template.render(
                messages=messages,
                tools=self._no_tools if tools is None else tools,
                add_generation_prompt=True,
                **self._special,
            )
        except jinja2.TemplateError as error:
            raise InvalidRequest(
                f"The model's chat template refuses these messages: {error}", param="messages"
            ) from error
        except (TypeError, ValueError, KeyError, AttributeError) as error:
            raise InvalidRequest(
                f"The model's chat template can't render these messages: {error}", param="messages"
            ) from error

    def _accepts(self, messages: Sequence[Mapping[str, Any]]) -> bool:
        try:
            self._run(messages, None)
        except InvalidRequest:
            return False
        return True

    def _tojson(self, value: Any, **options: Any) -> str:
        """JSON as Hugging Face's `tojson` writes it: no HTML escapes."""
        allowed = {k: v for k, v in options.items() if k in ("indent", "separators", "sort_keys")}
        text = json.dumps(value, ensure_ascii=False, default=_listed, **allowed)
        return text.replace("<", "\\u003c") if self._spells_control(text) else text


def _listed(value: Any) -> list[Any]:
    """What a filter such as `map` gives; other values are no JSON."""
    if not isinstance(value, Iterator):
        raise TypeError(f"{type(value).__name__} is no JSON")
    return list(value)


@dataclass(frozen=True, slots=True)
class _Piece:
    """A part of the rendered text; `special` where it is the template's own."""

    text: str
    special: bool


def _pieces(
    text: str, hidden: Mapping[str, str | GeneratedAnswer], nonce: str
) -> list[_Piece | GeneratedAnswer]:
    """The rendered text in order, with placeholders replaced by what they stand for."""
    if not hidden:
        return [_Piece(text, special=True)]
    pieces: list[_Piece | GeneratedAnswer] = []
    for part in re.split(f"(\ue000{nonce}:[0-9]+\ue001)", text):
        plain = hidden.get(part)
        if isinstance(plain, GeneratedAnswer):
            pieces.append(plain)
        elif part:
            pieces.append(_Piece(part if plain is None else plain, special=plain is None))
    return pieces


def _mark(hidden: dict[str, str | GeneratedAnswer], nonce: str, what: str | GeneratedAnswer) -> str:
    """A placeholder that no text contains: its nonce is made for one request."""
    mark = f"\ue000{nonce}:{len(hidden)}\ue001"
    hidden[mark] = what
    return mark


def _marked(
    message: Message,
    answer: GeneratedAnswer | None,
    hidden: dict[str, str | GeneratedAnswer],
    nonce: str,
) -> Message:
    if answer is None:
        return message
    return Message(role="assistant", content=_mark(hidden, nonce, answer))


def _raise_exception(message: str) -> NoReturn:
    raise jinja2.TemplateError(message)


def _declared(function: FunctionTool) -> dict[str, Any]:
    declared = {
        "name": function.name,
        "description": function.description,
        "parameters": function.parameters,
    }
    return {"type": "function", "function": declared}


def _native(message: Message) -> dict[str, Any]:
    """A message as templates with tool support expect it: arguments as objects."""
    role = "system" if message.role == "developer" else message.role
    native: dict[str, Any] = {"role": role, "content": message.content or ""}
    if message.role == "tool":
        native["tool_call_id"] = message.tool_call_id
    if message.tool_calls:
        native["tool_calls"] = [
            {
                "id": call.id,
                "type": "function",
                "function": {
                    "name": call.function.name,
                    "arguments": _object(call.function.arguments),
                },
            }
            for call in message.tool_calls
        ]
    return native


def _object(arguments: str) -> Any:
    """Arguments as an object; text that is not JSON stays text, as the model wrote it. So does JSON
    that is nested too deeply: templates write it again, level by level."""
    try:
        value = json.loads(arguments or "{}")
    except (ValueError, RecursionError):
        return arguments
    return arguments if is_too_deep(value) else value
