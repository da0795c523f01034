"""Texts of an exact length in tokens, and prompts as token ids, by the model's own vocabulary."""

import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from roost_inference.llama import bindings
from roost_inference.llama.vocabulary import LlamaVocabulary
from roost_inference.prompt.chat_template import ChatTemplate
from roost_inference.wire.parsing import parse_chat_call

_WORDS = """
time year people way day man thing woman life child world school state family student group
country problem hand part place case week company system program question work government number
night point home water room mother area money story fact month lot right study book eye job word
business issue side kind head house service friend father power hour game line end member law
car city community name president team minute idea body information back parent face others
level office door health person art war history party result change morning reason research girl
guy moment air teacher force education
"""
WORDS = tuple(_WORDS.split())
TRIES_MAX = 200


class Ruler:
    """Measures texts. Loads the vocabulary alone, and keeps it while the process lives."""

    def __init__(self, model: Path) -> None:
        handle = bindings.load_model(model, vocabulary_only=True)
        vocabulary = LlamaVocabulary(handle)
        _, eos = vocabulary.bos_eos
        self._vocabulary = vocabulary
        self._template = ChatTemplate(
            bindings.chat_template(handle),
            eos=vocabulary.special_text(eos),
            tokenize=lambda text, special: vocabulary.tokenize(text, special=special),
        )

    def count(self, text: str) -> int:
        """Tokens of a text."""
        return len(self._vocabulary.tokenize(text, special=False))

    def text(self, tokens: int, seed: int) -> str:
        """Random words of exactly this many tokens; the same for the same seed."""
        source = random.Random(seed)
        words = source.choices(WORDS, k=tokens)
        for _ in range(TRIES_MAX):
            excess = self.count(" ".join(words)) - tokens
            if excess == 0:
                return " ".join(words)
            if excess > 0:
                words = words[: max(1, len(words) - excess)]
            else:
                words += source.choices(WORDS, k=-excess)
        raise ValueError(f"no text of {tokens} tokens was found in {TRIES_MAX} tries")

    def prompt(self, messages: Sequence[Mapping[str, Any]]) -> list[int]:
        """The prompt that the bundled engine makes of the messages, as token ids."""
        return self._template.render(parse_chat_call({"messages": list(messages)})).tokens
