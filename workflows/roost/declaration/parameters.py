"""The parameters of a tool: the pydantic model that checks them and the JSON schema of it."""

import inspect
import logging
import warnings
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Final, get_args, get_origin, get_type_hints

from pydantic import BaseModel, ConfigDict, ValidationError, create_model
from pydantic.errors import PydanticSchemaGenerationError, PydanticUserError
from pydantic_core import SchemaError

from roost.checks import require_sendable
from roost.context import Context
from roost.errors import DefinitionError, RoostError

log = logging.getLogger(__name__)

SHAPE_LEVELS_MAX: Final = 4  # of values within values in an example
FAULTS_LISTED_MAX: Final = 8  # of one call's wrong arguments
CONTEXT_NAMES: Final = ("ctx", "context")  # what people call the parameter of the Context
TYPES: Final = "Use types that JSON knows, such as str, int, list[str] or a pydantic model."


def arguments_of(
    where: str, name: str, function: Callable[..., Any]
) -> tuple[type[BaseModel], str | None]:
    """The model of the arguments, and the name of the parameter that takes the Context.

    where: what an error names. Raises DefinitionError.
    """
    try:
        hints = get_type_hints(function, include_extras=True)
    except Exception as error:  # a quoted annotation is code, which may raise anything
        raise DefinitionError(
            f"{where}: an annotation can't be resolved: {error}. Import the type it names where "
            f"the tool is declared."
        ) from error
    fields: dict[str, Any] = {}
    context_name: str | None = None
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind not in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
            raise DefinitionError(
                f"{where}: parameter {parameter.name!r} must be passable by name. Write it as an "
                f"ordinary parameter, without *, ** and /."
            )
        if parameter.name not in hints:
            raise DefinitionError(f"{where}: {_unannotated(parameter.name)}")
        hint = hints[parameter.name]
        if hint is Context or (get_origin(hint) is Annotated and get_args(hint)[0] is Context):
            if context_name is not None:
                raise DefinitionError(
                    f"{where}: {context_name!r} and {parameter.name!r} both take the Context. "
                    f"Keep one of them."
                )
            context_name = parameter.name
            continue
        default = ... if parameter.default is parameter.empty else parameter.default
        fields[parameter.name] = (hint, default)
    return model_of(where, f"{name}_arguments", fields), context_name


def model_of(where: str, name: str, fields: Mapping[str, Any]) -> type[BaseModel]:
    """The pydantic model of named values: their types and defaults. Raises DefinitionError."""
    for field in fields:
        is_pydantic_s = field.startswith("model_") and hasattr(BaseModel, field)
        if is_pydantic_s or field.startswith("_"):
            raise DefinitionError(
                f"{where}: parameter {field!r} can't have this name, which pydantic keeps for "
                f"itself. Rename it."
            )
    try:
        model = _checked_model(name, fields)
    except Exception as error:  # types bring code of their own, which may raise anything
        raise DefinitionError(f"{where}: {_unfit(fields, error)} {TYPES}") from error
    for field in fields:
        if field not in model.model_fields:
            raise DefinitionError(
                f"{where}: parameter {field!r} is marked ClassVar or Final, so nobody could give "
                f"it. Write its type alone."
            )
    return model


def _checked_model(name: str, fields: Mapping[str, Any]) -> type[BaseModel]:
    """The model of these fields, of which a JSON schema can be made."""
    with warnings.catch_warnings():  # of `schema`, `json` and others, which do no harm here
        warnings.filterwarnings("ignore", "Field name .* shadows an attribute", UserWarning)
        warnings.filterwarnings("ignore", "Annotation .* is marked as final", DeprecationWarning)
        model: type[BaseModel] = create_model(
            name, __config__=ConfigDict(extra="forbid"), **dict(fields)
        )
    model.model_json_schema()
    return model


def _unfit(fields: Mapping[str, Any], error: Exception) -> str:
    """Which parameter pydantic can't use, and why."""
    for name, field in fields.items():
        try:
            _checked_model("one", {name: field})
        except Exception as of_this:
            return f"parameter {name!r}: {why_unfit(of_this)}"
    return why_unfit(error)


def why_unfit(error: Exception) -> str:
    """Why pydantic can't use a type or its default, in one line."""
    if isinstance(error, PydanticSchemaGenerationError | PydanticUserError | NameError):
        return str(error).splitlines()[0]
    if isinstance(error, SchemaError):  # of errors within errors the innermost says it
        return f"{' '.join(str(error).rpartition('SchemaError: ')[2].split())}."
    return f"its type or its default can't be used ({type(error).__name__}: {error})."


def _unannotated(name: str) -> str:
    """What is wrong with a parameter without an annotation, and how to mend it."""
    if name in ("self", "cls"):
        return f"a tool is a function, not a method. Move it out of its class, without {name!r}."
    example = f"{name}: Context" if name in CONTEXT_NAMES else f"{name}: str"
    return f"parameter {name!r} needs an annotation, such as `{example}`."


def parameters_of(
    where: str, model: type[BaseModel], what: str = "the schema of its parameters"
) -> dict[str, Any]:
    """The JSON schema without pydantic's titles, which cost tokens and say nothing. Raises
    DefinitionError.
    """
    schema: dict[str, Any] = untitled(model.model_json_schema())
    require_sendable(where, what, schema)
    schema.setdefault("properties", {})
    return schema


def untitled(node: Any, *, names: bool = False) -> Any:
    """A JSON schema without pydantic's titles."""
    if isinstance(node, dict):
        return {
            key: untitled(value, names=key in ("properties", "$defs") and not names)
            for key, value in node.items()
            if names or key != "title"
        }
    if isinstance(node, list):
        return [untitled(item) for item in node]
    return node


def explain(name: str, error: Exception) -> str:
    """What is wrong with a call's arguments, for the model that wrote them."""
    return f"The arguments of {name} are not valid: {faults(error)}."


def faults(error: Exception) -> str:
    """What is wrong with a value, in one line: the first faults that pydantic found, or what the
    check of a developer's own type raised.
    """
    if isinstance(error, RoostError):
        return str(error).removesuffix(".")
    if not isinstance(error, ValidationError):
        log.error("the check of a value failed", exc_info=error)
        return f"its check failed ({type(error).__name__})"
    listed = []
    for fault in error.errors(include_url=False)[:FAULTS_LISTED_MAX]:
        place = ".".join(str(part) for part in fault["loc"])
        listed.append(f"{place}: {fault['msg']}" if place else fault["msg"])
    return "; ".join(listed)


def shape_of(schema: Mapping[str, Any]) -> Any:
    """A JSON schema as an example with words for values: `{"guest": {"age": "integer"}}`."""
    return _shape(schema, schema.get("$defs", {}), SHAPE_LEVELS_MAX)


def _shape(schema: Mapping[str, Any], named: Mapping[str, Any], levels: int) -> Any:
    if "$ref" in schema:
        schema = named.get(str(schema["$ref"]).rpartition("/")[2], {})
    if options := schema.get("enum"):
        return " or ".join(map(str, options))
    if parts := schema.get("anyOf"):
        shapes = [_shape(part, named, levels) for part in parts]
        is_plain = all(isinstance(shape, str) for shape in shapes)
        return " or ".join(map(str, shapes)) if is_plain else shapes[0]
    if levels == 0:
        return str(schema.get("type", "value"))
    if fields := schema.get("properties"):
        return {name: _shape(field, named, levels - 1) for name, field in fields.items()}
    if "items" in schema:
        return [_shape(schema["items"], named, levels - 1)]
    return str(schema.get("const", schema.get("format", schema.get("type", "value"))))
