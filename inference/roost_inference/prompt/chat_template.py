"""Messages and tools → the prompt's tokens, through the model's own chat template."""

import hashlib
import json
import re
import secrets
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any

import jinja2
from jinja2 import meta
from jinja2.sandbox import ImmutableSandboxedEnvironment

from roost_inference.client.reasoning import open_block
from roost_inference.errors import EngineFailed, InvalidRequest, PromptTooLong
from roost_inference.prompt.exact_tokens import GeneratedAnswer
from roost_inference.prompt.families.table import family_of
from roost_inference.prompt.hermes import fold_system, merge_same_role, without_tools
from roost_inference.prompt.pieces import (
    broken_up,
    declared_tool,
    mark,
    marked,
    masked_message,
    native_message,
    pieces_of,
    spelled_tokens,
    with_system_text,
)
from roost_inference.prompt.template_functions import UNRENDERED, listed, raise_exception
from roost_inference.prompt.template_options import (
    TemplateTraits,
    length_limit,
    template_variables,
    truncated,
    unheeded_options,
)
from roost_inference.prompt.template_trials import omissions_of, shown, split_calls
from roost_inference.wire.chat_call import ChatCall
from roost_inference.wire.fields import RequestWarning
from roost_inference.wire.json_body import reject
from roost_inference.wire.message import Message

PROMPT_CHARACTERS_MAX = 16 * 2**20
# Digests of texts for which it is known whether they spell control tokens, 16 bytes each.
TEXTS_REMEMBERED_MAX = 16384
NAME_TRIED = "Zoltan-7"
BEGINS_ANSWER: Mapping[str, Any] = {"add_generation_prompt": True}

Tokenize = Callable[[str, bool], Sequence[int]]

# `{% generation %}` marks training targets in some templates and means nothing here.
_GENERATION_TAG = re.compile(r"\{%-?\s*(?:end)?generation\s*-?%\}")


@dataclass(frozen=True, slots=True)
class Prompt:
    """The rendered text, and its tokens with control tokens only where the template put them."""

    text: str
    tokens: list[int]


class ChatTemplate:
    """A GGUF's Jinja template in a sandbox, and what such templates can't do themselves.

    Templates that take no tools, or whose calls nobody parses (families/table.py), get them as text
    in the system message (hermes.py). Contents that spell control tokens are tokenised as plain
    text. opening: the tag of the reasoning block that prompts open, else empty. exists: False for a
    model without a template, which can't be asked in chats.
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
        self._source, self.exists = source, bool(source.strip())
        source = _GENERATION_TAG.sub("", source)
        environment = ImmutableSandboxedEnvironment(
            trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
        )
        environment.filters["tojson"] = self._tojson
        environment.globals["raise_exception"] = raise_exception
        environment.globals["strftime_now"] = lambda form: datetime.now().strftime(form)
        self._tokenize = tokenize
        self._tokens_at_least = tokens_at_least
        self._context_length = context_length
        self._spelling: dict[bytes, bool] = {}
        self._lock = threading.Lock()
        self._bos = bos
        self._special = {"bos_token": bos, "eos_token": eos}
        try:
            self._template = environment.from_string(source)
            used = meta.find_undeclared_variables(environment.parse(source))
        except jinja2.TemplateError as error:
            raise EngineFailed(f"The model's chat template is broken: {error}") from error
        self.family = family_of(source, takes_tools="tools" in used)
        self._declares = "tools" in used
        self._tags = spelled_tokens(source, tokenize)
        declares = self._declares or self.family.declares is not None
        self.supports_tools = declares and self.family.takes_tools
        user = {"role": "user", "content": "a"}
        self._no_tools: Any = None  # some templates can't do without a list
        self._no_tools = None if self._accepts([user]) else []
        omissions = omissions_of(self._shows, self.family.adapted)
        self._omissions = omissions
        self._splits_calls = omissions.text_beside_calls and omissions.splits
        self._traits = TemplateTraits(
            source=self._source,
            variables=frozenset(used),
            shows_names=self._shows([{**user, "name": NAME_TRIED}], [NAME_TRIED]),
            shows_text_beside_calls=not self.supports_tools
            or omissions.splits
            or not omissions.text_beside_calls,
        )
        self._folds_system = not self._accepts([{"role": "system", "content": "a"}, user])
        self._merges = not self._accepts([user, user])
        self.opening = open_block(self._run([user])) if self._accepts([user]) else ""

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

        Raises InvalidRequest if the template refuses the messages, or can't do what the request
        wants of it, and PromptTooLong if they can't fit the context."""
        if not self.exists:
            reject(
                "The model has no chat template, so it can't be asked in chats. "
                "ROOST_ENGINE__CHAT_TEMPLATE names a file with one; /v1/completions takes its "
                "prompt as text",
                code="no_chat_template",
            )
        variables = template_variables(call, self._traits, self._spells_control)
        limit = length_limit(call, self._context_length)
        functions = call.functions
        nonce = secrets.token_hex(8)
        hidden: dict[str, str | GeneratedAnswer] = {}
        history = [
            marked(message, recall(place, message), hidden, nonce)
            for place, message in enumerate(call.messages)
        ]
        open_end = ""
        if call.continue_final_message:
            open_end = mark(hidden, nonce, call.messages[-1].content or "")
            history[-1] = Message(role="assistant", content=open_end)

        def mask(text: str) -> str:
            """A text that spells control tokens as a placeholder."""
            check()
            return mark(hidden, nonce, text) if self._spells_control(text) else text

        def guard(text: str) -> str:
            """The same for what others say, which becomes no tag of the template either."""
            tags = self._tags
            if tags is None or self._tokens_at_least(text) >= self._context_length:
                return mask(text)
            if not tags.search(text):
                return mask(text)
            return broken_up(text, tags, partial(mark, hidden, nonce))

        tools: list[dict[str, Any]] | None = None
        if self.supports_tools and functions:
            levels = self.family.raw_arguments
            native = [masked_message(native_message(each), guard, levels, mask) for each in history]
            native = split_calls(native) if self._splits_calls else native
            messages = self.family.adapted(native)
            tools = [declared_tool(each, guard, self.family.raw_tools) for each in functions]
        else:
            messages = without_tools(history, functions)
        if self._folds_system:
            messages = fold_system(messages)
        messages = shown(messages, self._omissions)
        if self._merges:
            messages = merge_same_role(messages)
        for message in messages:
            message["content"] = mask(message["content"])
        if tools and self.family.declares and not self._declares:
            messages = with_system_text(messages, self.family.declares(functions, guard))
        check()
        text = self._run(messages, tools, variables)
        if open_end:
            before, found, _ = text.rpartition(open_end)
            if not found:
                reject("The model's template can't go on with a message", param="messages")
            text = before + open_end
        elif call.add_special_tokens and not text.startswith(self._bos):
            text = self._bos + text
        if len(text) > PROMPT_CHARACTERS_MAX:
            raise InvalidRequest("The chat template made a prompt beyond any limit")
        pieces = pieces_of(text, hidden, nonce)
        least = sum(
            len(p.tokens) if isinstance(p, GeneratedAnswer) else self._tokens_at_least(p.text)
            for p in pieces
        )
        self._refuse_too_long(least, limit)
        tokens: list[int] = []
        for piece in pieces:
            check()
            if isinstance(piece, GeneratedAnswer):
                tokens += piece.tokens
            else:
                tokens += self._tokenize(piece.text, piece.special)
            if len(pieces) > 1:
                self._refuse_too_long(len(tokens), limit)
        tokens = truncated(tokens, call, self._context_length)
        return Prompt("".join(piece.text for piece in pieces), tokens)

    def unheeded(self, call: ChatCall) -> list[RequestWarning]:
        """What a request wants of the template that this one does not do."""
        return unheeded_options(call, self._traits)

    def _refuse_too_long(self, count: int, limit: int) -> None:
        if count >= limit:
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

    def _run(
        self,
        messages: Sequence[Mapping[str, Any]],
        tools: Any = None,
        variables: Mapping[str, Any] = BEGINS_ANSWER,
    ) -> str:
        try:
            return self._template.render(
                messages=messages,
                tools=self._no_tools if tools is None else tools,
                **self._special,
                **variables,
            )
        except jinja2.TemplateError as error:
            raise InvalidRequest(
                f"The model's chat template refuses these messages: {error}", param="messages"
            ) from error
        except UNRENDERED as error:
            raise InvalidRequest(
                f"The model's chat template can't render these messages: {error}", param="messages"
            ) from error

    def _accepts(self, messages: Sequence[Mapping[str, Any]]) -> bool:
        try:
            self._run(messages)
        except InvalidRequest:
            return False
        return True

    def _shows(self, messages: Sequence[Mapping[str, Any]], texts: Sequence[str]) -> bool:
        """Whether the prompt of these messages is made and has all these texts."""
        if not self._accepts(messages):
            return False
        prompt = self._run(messages)
        return all(text in prompt for text in texts)

    def _tojson(self, value: Any, **options: Any) -> str:
        """JSON as Hugging Face's `tojson` writes it: no HTML escapes."""
        allowed = {k: v for k, v in options.items() if k in ("indent", "separators", "sort_keys")}
        text = json.dumps(value, ensure_ascii=False, default=listed, **allowed)
        return text.replace("<", "\\u003c") if self._spells_control(text) else text
