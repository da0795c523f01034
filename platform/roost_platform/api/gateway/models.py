"""The API route of the gateway's models: their targets and health, and the providers."""

from typing import Annotated

from fastapi import APIRouter, Depends
from pydantic import BaseModel

from roost_platform.api.auth import viewer
from roost_platform.api.routes import UsesApi
from roost_platform.identity.roles import Principal
from roost_platform.views.gateway.models import ModelView, without_errors
from roost_platform.views.gateway.watch import ProviderView, without_words

router = APIRouter(prefix="/models", tags=["models"])


class ModelList(BaseModel):
    """The models in the order of the settings; both empty where the gateway is off."""

    models: list[ModelView]
    providers: list[ProviderView]


@router.get("")
async def models(api: UsesApi, me: Annotated[Principal, Depends(viewer)]) -> ModelList:
    """Every model with its targets, as this process sees them. Operators read errors as well."""
    if api.gateway is None:
        return ModelList(models=[], providers=[])
    shown, providers = api.gateway.models(), await api.gateway.providers()
    if not me.may("operator"):
        shown = tuple(without_errors(one) for one in shown)
        providers = tuple(without_words(one) for one in providers)
    return ModelList(models=list(shown), providers=list(providers))
