"""A flow's input as it is kept for all of its run: as it was given, with its defaults of then."""

import json
from typing import Any

from pydantic import BaseModel


def kept_input(model: BaseModel, text: str) -> dict[str, Any]:
    """The JSON that was given, and the defaults of what it left out.

    Not what pydantic writes of the model: that hides secrets, renames aliases and leaves fields
    out. A default that is not the same when it is read back is left to the function. Raises
    ValueError for numbers that JSON doesn't know.
    """
    kept: dict[str, Any] = json.loads(text)
    json.dumps(kept, allow_nan=False)
    for name in type(model).model_fields:
        if name in model.model_fields_set:
            continue
        try:
            default = model.model_dump(mode="json", by_alias=True, include={name})
            filled = kept | default
            again = type(model).model_validate_json(json.dumps(filled, allow_nan=False))
            is_same = bool(again.__dict__ == model.__dict__)
        except Exception:  # types bring code of their own, which may raise anything
            continue
        if is_same:
            kept = filled
    return kept
