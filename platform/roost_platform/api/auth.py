"""The API's bearer tokens: who asks, and whether their role suffices."""

from dataclasses import dataclass

from fastapi import HTTPException, Request

from roost_platform.db.audit import acting_through
from roost_platform.identity.roles import Principal, Role
from roost_platform.identity.tokens import Tokens

BEARER = "bearer "


@dataclass(frozen=True, slots=True)
class Require:
    """A dependency that allows principals of at least this role; answers 401 or 403 to others."""

    role: Role

    async def __call__(self, request: Request) -> Principal:
        """The principal of the request's bearer token; raises HTTPException 401 or 403."""
        if not request.headers.get("authorization", "").lower().startswith(BEARER):
            raise HTTPException(
                401, "Send a token: Authorization: Bearer …", {"WWW-Authenticate": "Bearer"}
            )
        principal = await principal_of(request)
        if principal is None:
            raise HTTPException(
                401, "This token is unknown or revoked.", {"WWW-Authenticate": "Bearer"}
            )
        if principal.role < self.role:
            raise HTTPException(
                403, f"This needs the role {self.role.name}; yours is {principal.role.name}."
            )
        acting_through.set(f"api {principal.id}")
        return principal


async def principal_of(request: Request) -> Principal | None:
    """Whose bearer token the request has, by what is stored now; None for one that is no good."""
    tokens: Tokens = request.app.state.tokens
    return await tokens.find(request.headers.get("authorization", "")[len(BEARER) :].strip())


viewer = Require(Role.viewer)
operator = Require(Role.operator)
admin = Require(Role.admin)
