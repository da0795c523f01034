"""Parameters that an engine's models refuse by name, and what is sent in their place."""

from collections.abc import Collection, Mapping
from typing import Any, Final

# The same bound under the name that newer models of OpenAI's want.
NEWER: Final = {"max_tokens": "max_completion_tokens"}
# Without these the model does as it usually does; some models take no other value.
REFUSABLE: Final = (*NEWER, "temperature", "top_p", "seed", "stop")
_CODES: Final = frozenset({"unsupported_parameter", "unsupported_value", "unknown_parameter"})
MODELS_MAX: Final = 1000  # whose habits are remembered; those learned first are forgotten


def refused_parameter(status: int, answer: Any, body: Mapping[str, Any]) -> str:
    """The parameter of the body that the model does not take; empty where the refusal names none.

    answer: the refusal's JSON, of which only fields count: its words may quote what people write.
    """
    error = answer.get("error") if isinstance(answer, Mapping) and status in (400, 422) else None
    if not isinstance(error, Mapping) or error.get("code") not in _CODES:
        return ""
    name = error.get("param")
    return name if isinstance(name, str) and name in REFUSABLE and name in body else ""


def without(body: Mapping[str, Any], names: Collection[str]) -> dict[str, Any]:
    """The body without these parameters; one that has a newer name is sent under that."""
    kept = {name: value for name, value in body.items() if name not in names}
    renamed = {NEWER[name]: body[name] for name in names if name in NEWER and name in body}
    return {**renamed, **kept}
