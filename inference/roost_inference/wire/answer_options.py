"""The fields of a request that say how its answers end and what is told of them, as vLLM's."""

from typing import Annotated, Any

from pydantic import Field

from roost_inference.wire.message import WireModel

CHOICES_MAX = 16
STOP_TOKENS_MAX = 128
BAD_WORDS_MAX = 128
PROMPT_TOP_LOGPROBS_MAX = 20
CHOICE_TEXTS_MAX = 1024
# Of a regular expression, a grammar, or a text to choose.
FORM_CHARACTERS_MAX = 2**16

TokenId = Annotated[int, Field(ge=0, lt=2**31)]
BadWord = Annotated[str, Field(min_length=1, max_length=128)]
FormText = Annotated[str, Field(min_length=1, max_length=FORM_CHARACTERS_MAX)]


class StructuredOutputs(WireModel):
    """The form of the answer's text; exactly one of the fields says which."""

    choice: list[FormText] | None = Field(default=None, min_length=1, max_length=CHOICE_TEXTS_MAX)
    regex: FormText | None = None
    json_: dict[str, Any] | FormText | None = Field(default=None, alias="json")
    json_object: bool | None = None
    grammar: FormText | None = None
    structural_tag: FormText | None = None

    @property
    def kinds(self) -> list[str]:
        """The names of the fields that say something."""
        fields = {
            "choice": self.choice,
            "regex": self.regex,
            "json": self.json_,
            "json_object": self.json_object or None,
            "grammar": self.grammar,
            "structural_tag": self.structural_tag,
        }
        return [name for name, value in fields.items() if value is not None]


class AnswerOptions(WireModel):
    """n: how many answers, the choices of one response. min_tokens: before so many tokens nothing
    ends an answer but its form. return_token_ids: tell the tokens of the prompt and of the answers.
    return_tokens_as_token_ids: logprobs name tokens by their numbers.
    """

    n: int | None = Field(default=None, ge=1, le=CHOICES_MAX)
    best_of: int | None = None
    stop_token_ids: list[TokenId] | None = Field(default=None, max_length=STOP_TOKENS_MAX)
    include_stop_str_in_output: bool | None = None
    min_tokens: int | None = Field(default=None, ge=0, lt=2**31)
    prompt_logprobs: int | None = Field(default=None, ge=0, le=PROMPT_TOP_LOGPROBS_MAX)
    bad_words: list[BadWord] | None = Field(default=None, max_length=BAD_WORDS_MAX)
    structured_outputs: StructuredOutputs | None = None
    return_token_ids: bool | None = None
    return_tokens_as_token_ids: bool | None = None
