"""The roles: a viewer reads, an operator acts on conversations, an admin manages access."""

from dataclasses import dataclass
from enum import IntEnum

from roost_platform.errors import Forbidden, Refused


class Role(IntEnum):
    """Ordered: each role may do what the ones below it may. `public` needs no login."""

    public = 0
    viewer = 1
    operator = 2
    admin = 3


ROLE_HELP = {
    Role.viewer: "Sees figures, sessions and deliveries; message texts are hidden.",
    Role.operator: "Also reads texts, stops and answers sessions, lets people in, sends again.",
    Role.admin: "Also manages operators and API tokens.",
}


@dataclass(frozen=True, slots=True)
class Principal:
    """Who asks: a person with a login, or a program with a token."""

    id: str
    name: str
    role: Role

    def require(self, role: Role) -> None:
        """Raise Forbidden unless the principal's role suffices."""
        if self.role < role:
            raise Forbidden(f"This needs the role {role.name}; yours is {self.role.name}.")

    def may(self, role: str) -> bool:
        """For templates: whether to show a control."""
        return self.role >= Role[role]


def parse_role(name: str) -> Role:
    """A grantable role by its stored name."""
    try:
        role = Role[name]
    except KeyError:
        raise Refused(f"There is no role “{name}”.") from None
    if role is Role.public:
        raise Refused("A person needs a role.")
    return role
