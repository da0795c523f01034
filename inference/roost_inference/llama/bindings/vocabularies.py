"""Vocabularies: tokens, their bytes, and the tokeniser."""

import ctypes
from typing import Any

from llguidance import LLTokenizer

from roost_inference.llama.bindings.library import llama

VOCABULARY_SPM, VOCABULARY_BPE = 1, 2
TOKEN_CONTROL, TOKEN_USER_DEFINED = 1 << 3, 1 << 4
TOKEN_STRIPS = 1 << 7 | 1 << 8  # whitespace before a token, and behind it


def vocabulary(model: Any) -> Any:
    """The handle of a model's vocabulary; it lives as long as the model."""
    return llama.llama_model_get_vocab(model)


def vocabulary_size(vocab: Any) -> int:
    """How many tokens there are."""
    return int(llama.llama_vocab_n_tokens(vocab))


def end_tokens(vocab: Any) -> frozenset[int]:
    """Tokens that end a generation."""
    return frozenset(
        token for token in range(vocabulary_size(vocab))
        if llama.llama_vocab_is_eog(vocab, token)
    )  # fmt: skip


def bos_eos(vocab: Any) -> tuple[int, int]:
    """The tokens that begin and end a text, -1 where the model has none."""
    return int(llama.llama_vocab_bos(vocab)), int(llama.llama_vocab_eos(vocab))


def adds_bos(vocab: Any) -> bool:
    """Whether the model's texts begin with its BOS."""
    return bool(llama.llama_vocab_get_add_bos(vocab))


def covers_bytes(vocab: Any) -> bool:
    """Whether tokens cover a text's bytes one after the other; other kinds normalise it first."""
    return llama.llama_vocab_type(vocab) in (VOCABULARY_SPM, VOCABULARY_BPE)


def strips_space(vocab: Any) -> bool:
    """Whether any token swallows the whitespace beside it."""
    return any(
        llama.llama_vocab_get_attr(vocab, token) & TOKEN_STRIPS
        for token in range(vocabulary_size(vocab))
    )


def token_bytes(vocab: Any, token: int, *, special: bool) -> bytes:
    """The bytes of a token; those of a control token only with `special`."""
    size = 64
    while True:
        buffer = ctypes.create_string_buffer(size)
        count = llama.llama_token_to_piece(vocab, token, buffer, size, 0, special)
        if count >= 0:
            return buffer.raw[:count]
        size = -count


def tokenize(vocab: Any, text: str, *, special: bool, framed: bool = False) -> list[int]:
    """Token ids; `special` recognises control tokens in the text, `framed` puts the tokens around
    it that the model wants at both ends."""
    raw = text.encode("utf-8", "surrogatepass")
    size = max(len(raw) + 2, 8)
    while True:
        tokens = (ctypes.c_int32 * size)()
        count = llama.llama_tokenize(vocab, raw, len(raw), tokens, size, framed, special)
        if count >= 0:
            return tokens[:count]
        size = -count


def grammar_tokenizer(vocab: Any, end: list[int]) -> LLTokenizer:
    """The vocabulary in llguidance's form, which marks tokens that are no text with a byte 0xFF;
    `end` are the tokens that end a text. As llguidance.llamacpp does it, which needs the package
    llama_cpp."""
    tokens = []
    for token in range(vocabulary_size(vocab)):
        piece = token_bytes(vocab, token, special=True)
        attributes = llama.llama_vocab_get_attr(vocab, token)
        is_bracketed = piece.startswith(b"<") and piece.endswith(b">")
        if attributes & TOKEN_CONTROL or (attributes & TOKEN_USER_DEFINED and is_bracketed):
            piece = b"\xff" + piece
        tokens.append(piece)
    address = ctypes.cast(llama.llama_tokenize, ctypes.c_void_p).value
    tokenizer: LLTokenizer = LLTokenizer.from_llamacpp(  # type: ignore[attr-defined]
        tokens=tokens, vocab_ptr=vocab, tokenize_fptr=address, eos_token=end
    )
    return tokenizer
