"""The API's bearer tokens: who asks, and whether their role suffices."""

from dataclasses import dataclass

from fastapi import HTTPException, Request

from roost_platform.identity.roles import Principal, Role
from roost_platform.identity.tokens import Tokens

BEARER = "bearer "


@dataclass(frozen=True, slots=True)
class Require:
    """A dependency that allows principals of at least this role; answers 401 or 403 to others."""

    role: Role

    async def __call__(self, request: Request) -> Principal:
        """The principal of the request's bearer token; raises HTTPException 401 or 403."""
        tokens: Tokens = request.app.state.tokens
        header = request.headers.get("authorization", "")
        if not header.lower().startswith(BEARER):
            raise HTTPException(
                401, "Send a token: Authorization: Bearer …", {"WWW-Authenticate": "Bearer"}
            )
        principal = await tokens.find(header[len(BEARER) :].strip())
        if principal is None:
            raise HTTPException(
                401, "This token is unknown or revoked.", {"WWW-Authenticate": "Bearer"}
            )
        if principal.role < self.role:
            raise HTTPException(
                403, f"This needs the role {self.role.name}; yours is {principal.role.name}."
            )
        return principal


viewer = Require(Role.viewer)
operator = Require(Role.operator)
admin = Require(Role.admin)
