"""aiogram's Bot, methods and types, imported at a fifth of their usual cost.

`import aiogram` builds a validator for each of its types, and a bot uses a few dozen of them. Here
a type is built when it is first used, as pydantic does with every model whose fields were not known
when its class was made. Nothing else in this package imports aiogram.
"""

from typing import Any

from pydantic import BaseModel


def _import_without_building() -> None:
    """Import aiogram with `defer_build`, and with a `model_rebuild` that leaves its types alone.

    Both are public in pydantic and are put back: a model of somebody else that is made meanwhile,
    in another thread, is at most built later.
    """
    original = vars(BaseModel)["model_rebuild"]

    def model_rebuild(cls: type[BaseModel], /, **options: Any) -> bool | None:
        if cls.__module__.startswith("aiogram.types."):
            return None
        built: bool | None = original.__func__(cls, **options)
        return built

    BaseModel.model_rebuild = classmethod(model_rebuild)  # type: ignore[method-assign,assignment]
    BaseModel.model_config["defer_build"] = True
    try:
        import aiogram  # noqa: F401
    finally:
        del BaseModel.model_config["defer_build"]
        BaseModel.model_rebuild = original  # type: ignore[method-assign]


def _build_on_first_use(base: type[BaseModel], names: dict[str, Any]) -> None:
    """Have pydantic know these names when it builds a model of this family.

    The types mention each other without importing each other, so that they can't be built without.
    """
    rebuild = vars(BaseModel)["model_rebuild"].__func__

    def model_rebuild(cls: type[BaseModel], /, **options: Any) -> bool | None:
        built: bool | None = rebuild(cls, **{"_types_namespace": names, **options})
        return built

    base.model_rebuild = classmethod(model_rebuild)  # type: ignore[method-assign,assignment]


_import_without_building()

from aiogram import Bot, methods, types  # noqa: E402
from aiogram.client.default import Default  # noqa: E402
from aiogram.client.session.base import BaseSession  # noqa: E402
from aiogram.client.telegram import TelegramAPIServer  # noqa: E402

for _base in (types.TelegramObject, methods.TelegramMethod, methods.Response):
    _build_on_first_use(_base, {**vars(types), "List": list, "Default": Default})

__all__ = ["BaseSession", "Bot", "TelegramAPIServer", "methods", "types"]
