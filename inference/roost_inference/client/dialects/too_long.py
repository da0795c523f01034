"""What engines say of a prompt that does not fit: codes, words, and the numbers in them."""

import re
from collections.abc import Mapping
from typing import Any, Final

TOO_LONG_CODES: Final = frozenset(
    {
        "context_length_exceeded",  # OpenAI, Azure, DeepSeek, Groq, the bundled core
        "exceed_context_size_error",  # llama-server
        "context_window_exceeded",
        "contextwindowexceedederror",  # LiteLLM
        "model_max_prompt_tokens_exceeded",
        "tokens_limit_reached",  # GitHub Models
        "string_above_max_length",
        "request_too_large",  # Anthropic
        "input_too_long",
    }
)
# Each line in the words of at least one engine. Blanks are bounded: an error may quote people.
TOO_LONG: Final = re.compile(
    "|".join(
        (
            r"context[ _-]?(length|window|size)",  # OpenAI, vLLM, SGLang, llama-server, LM Studio
            r"\bcontext\b.{0,20}(overflow|exceeded|too (small|long|large))",
            r"(prompt|input|messages?|conversation|request)\b.{0,30}\b(is|are|was) too long",
            r"(prompt|input) too (long|large)",  # Anthropic, Bedrock, Fireworks
            r"too many (input |prompt |total )?tokens",  # Cohere, Bedrock
            r"exceeds? (the )?max\w* (number of |input |prompt |model )?(tokens?|length)",  # Gemini
            # OpenAI, Vertex, Zhipu; not `max_tokens`, which is no word of its own here.
            r"\btokens?\b.{0,80}(\bexceeds?\b|only supports|less than|fewer than|> ?\w)",
            r"(less|fewer) than \d{2,9} (input |prompt )?tokens",  # TGI
            r"(prompt|input)\b.{0,40}\blonger than",  # vLLM
            r"(model )?token limit",  # Moonshot
            r"tokens?`?.{0,40}(must|should|cannot|can't) (be <=|not exceed|exceed)",  # TGI
            r"too large for model with",  # Mistral
            r"reduce (the |your )?(length|size) of",  # Groq, Cerebras
            r"(prompt|input|sequence) length.{0,60}(exceed|greater|longer|larger|should be)",
            r"maximum (prompt|input|sequence) length",  # xAI
            r"(prompt|input) exceeds max length",  # Zhipu
            r"input is too large to process",  # llama-server
            r"max_seq_len\b.{0,60}prompt_len|exceed max_num_tokens",  # TensorRT-LLM
            r"(input |prompt )tokens\b.{0,20}\blimit (is|of)",  # guards before Vertex
            r"(prompt|input) exceeds the (available )?(cache|context)",  # ExLlama
            r"(prompt|input) is \d{2,9} tokens, over",
            r"(长度|上下文|输入|prompt).{0,20}(超过|超出|超长|过长)|(超过|超出).{0,20}(长度|上下文)",
        )
    ),
    re.IGNORECASE,
)
REQUEST_TOO_LARGE: Final = re.compile(
    r"request (body )?too large|tokens must be reduced", re.IGNORECASE
)
TOKENS_MAX: Final = 10**9
# Of an error of Qwen's: the input may be this long.
_RANGE: Final = re.compile(r"range of input length\D{0,20}\[\d{1,9},\s?(\d{2,9})\]", re.IGNORECASE)
# Numbers that count no tokens of the whole: a status, the answer's bound, by how much a limit is
# passed, a code.
_OTHER: Final = re.compile(
    r"^<\d{3}>|max_tokens \(-?\d{1,9}\)|\bby \d[\d,_]*( more)? tokens?|\blimit \(\d{4}\)\s*$",
    re.IGNORECASE,
)
_NUMBER: Final = re.compile(r"(?<![\w.-])\d{1,3}(?:[,_]\d{3})+\b|(?<![\w.-])\d{2,9}\b")
# Anthropic, of the prompt and the answer's bound together.
_SUM: Final = re.compile(r"(\d{1,9}) \+ (\d{1,9}) > (\d{1,9})")
_LIMIT: Final = re.compile(
    r"(?:max\w*|limit|size|available|allowed|length|exceed\w*|<=|only|supports?)[^\d.]{0,40}?"
    r"(?P<limit>\d{1,3}(?:[,_]\d{3})+|\d{2,9})\b",
    re.IGNORECASE,
)


def token_counts(message: str, fields: Mapping[str, Any]) -> tuple[int | None, int | None]:
    """The prompt's tokens and the limit, as far as the error tells them.

    fields: of the error's JSON; llama-server gives both there. Elsewhere the numbers stand in the
    sentence: the largest is the prompt's, and the limit is the one behind a word such as `maximum`,
    else the second largest.
    """
    counted = _plain(fields.get("n_prompt_tokens")), _plain(fields.get("n_ctx"))
    if all(counted):
        return counted
    if allowed := _RANGE.search(message):
        return None, int(allowed[1])
    message = _OTHER.sub("", message)
    if together := _SUM.search(message):
        return int(together[1]) + int(together[2]), int(together[3])
    numbers = sorted({_number(found[0]) for found in _NUMBER.finditer(message)}, reverse=True)
    if not numbers:
        return None, None
    prompt = numbers[0]
    said = [_number(found["limit"]) for found in _LIMIT.finditer(message)]
    limit = next((one for one in said if one < prompt), None)
    if limit is None and len(numbers) > 1:
        limit = numbers[1]
    if limit is None:
        return None, prompt if said else None
    return prompt, limit


def _plain(value: Any) -> int | None:
    is_count = isinstance(value, int) and not isinstance(value, bool)
    return value if is_count and 0 < value < TOKENS_MAX else None


def _number(digits: str) -> int:
    return int(digits.replace(",", "").replace("_", ""))
