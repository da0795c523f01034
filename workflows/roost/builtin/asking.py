"""The tool by which a model asks the person: one question, or a form of up to three."""

from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field

from roost.errors import DefinitionError, ModelRetry
from roost.tools import tool
from roost.waits import OPTIONS_MAX, QUESTION_CHARS_MAX, QUESTIONS_MAX, Ask, Question

BOTH: Final = "Give either `question` or `questions`, not both."
NEITHER: Final = "Give a `question`."


class FormQuestion(BaseModel):
    """One question of a form."""

    model_config = ConfigDict(extra="forbid")

    question: str = Field(min_length=1, max_length=QUESTION_CHARS_MAX)
    options: list[str] = Field(default_factory=list, max_length=OPTIONS_MAX)


@tool(effect="pure", timeout=15, label="Asking you")
async def ask_user(
    question: Annotated[
        str, Field(max_length=QUESTION_CHARS_MAX, description="What to ask, in one sentence")
    ] = "",
    options: Annotated[
        list[str] | None,
        Field(max_length=OPTIONS_MAX, description="Short answers to choose from, if there are any"),
    ] = None,
    free_text: Annotated[
        bool, Field(description="Whether other words are an answer as well")
    ] = True,
    questions: Annotated[
        list[FormQuestion] | None,
        Field(max_length=QUESTIONS_MAX, description="Instead of `question`: up to three in a row"),
    ] = None,
) -> Ask:
    """Ask the person and wait for the answer. Ask only what you need and can't find out.

    The result is the answer, for `questions` a JSON object of them; `no_answer` where none came.
    """
    if question and questions:
        raise ModelRetry(BOTH)
    try:
        if questions:
            return Ask(
                tuple(Question(one.question, tuple(one.options), free_text) for one in questions)
            )
        if not question.strip():
            raise ModelRetry(NEITHER)
        return Ask((Question(question, tuple(options or ()), free_text),))
    except DefinitionError as error:
        raise ModelRetry(str(error)) from None
