"""JSON schemas as Anthropic's structured outputs take them: closed objects, few keywords."""

import json
from collections.abc import Mapping
from typing import Any, Final

DEPTH_MAX: Final = 64
KEPT: Final = frozenset(
    {"title", "description", "enum", "const", "default", "$ref", "type", "required"}
)
VARIANTS: Final = {"anyOf": "anyOf", "oneOf": "anyOf", "allOf": "allOf"}
NAMED: Final = ("properties", "$defs", "definitions")
FORMATS: Final = frozenset(
    {"date-time", "time", "date", "duration", "email", "hostname", "uri", "ipv4", "ipv6", "uuid"}
)


def closed_schema(schema: Any, depth: int = 0) -> Any:
    """The schema with closed objects. Keywords that Anthropic refuses become words of the
    description, which the model reads.
    """
    if not isinstance(schema, Mapping) or depth > DEPTH_MAX:
        return schema
    closed: dict[str, Any] = {}
    spoken: dict[str, Any] = {}
    for name, value in schema.items():
        if name in VARIANTS and isinstance(value, list):
            closed[VARIANTS[name]] = [closed_schema(one, depth + 1) for one in value]
        elif name in NAMED and isinstance(value, Mapping):
            closed[name] = {key: closed_schema(one, depth + 1) for key, one in value.items()}
        elif name == "items":
            closed[name] = closed_schema(value, depth + 1)
        elif _is_kept(name, value):
            closed[name] = value
        elif name != "additionalProperties" and not name.startswith("$"):
            spoken[name] = value
    if closed.get("type") == "object" or "properties" in closed:
        closed["additionalProperties"] = False
    if spoken:
        said = json.dumps(spoken, ensure_ascii=False)
        closed["description"] = f"{closed.get('description', '')}\n\n{said}".strip()
    return closed


def _is_kept(name: str, value: Any) -> bool:
    if name == "format":
        return isinstance(value, str) and value in FORMATS
    if name == "minItems":
        return value in (0, 1)
    return name in KEPT
