"""Administration: operators, API tokens and the audit log; for admins."""

from dataclasses import dataclass
from typing import Annotated

from starlette.responses import Response

from roost_platform.console.console import Visit, text_field
from roost_platform.console.navigation import NavLink
from roost_platform.console.page import ConsoleRoute, Page
from roost_platform.errors import Refused
from roost_platform.identity.accounts import OperatorRow
from roost_platform.identity.roles import ROLE_HELP, Role, parse_role
from roost_platform.identity.tokens import TokenRow
from roost_platform.views.audit import AuditRow, audit
from roost_platform.views.pagination import Pages, page_number

ROLES = tuple((role.name, text) for role, text in ROLE_HELP.items())


@dataclass(frozen=True, slots=True)
class OperatorsContext:
    """The Operators page."""

    rows: Annotated[tuple[OperatorRow, ...], "Everyone who may use the console"]
    roles: Annotated[tuple[tuple[str, str], ...], "Roles with what they allow"]


@dataclass(frozen=True, slots=True)
class TokensContext:
    """The API tokens page; `made` is shown once, right after it was made."""

    rows: Annotated[tuple[TokenRow, ...], "Tokens, newest first"]
    roles: Annotated[tuple[tuple[str, str], ...], "Roles with what they allow"]
    made: Annotated[str, "A token just made, else empty"] = ""


@dataclass(frozen=True, slots=True)
class AuditContext:
    """The Audit page. problem says where the chain breaks, empty while it holds."""

    text: Annotated[str, "Search text"]
    rows: Annotated[tuple[AuditRow, ...], "Entries, newest first"]
    pages: Annotated[Pages, "Where we are in the log"]
    problem: Annotated[str, "Where the hash chain breaks, else empty"]


async def load_operators(visit: Visit) -> OperatorsContext:
    """Every operator, by name."""
    rows = await visit.console.accounts.operators()
    return OperatorsContext(tuple(rows), ROLES)


async def add_operator(visit: Visit) -> Response:
    """Make an operator."""
    form = await visit.form()
    name = text_field(form, "name", length_max=64)
    role = parse_role(text_field(form, "role"))
    made = await visit.console.accounts.create(name, text_field(form, "password"), role)
    await visit.audit("operator.create", made.name, {"role": role.name})
    return visit.done(f"{made.name} may sign in now.", "/operators")


async def change_operator(visit: Visit) -> Response:
    """Change an operator's role, or disable the operator; all their logins end."""
    form = await visit.form()
    role = parse_role(text_field(form, "role"))
    disabled = form.get("disabled") == "yes"
    id = visit.param("id")
    name = await visit.console.accounts.change(id, role=role, disabled=disabled)
    await visit.audit("operator.change", name, {"role": role.name, "disabled": disabled})
    return visit.done(f"{name} is changed and signed out.", "/operators")


async def load_tokens(visit: Visit) -> TokensContext:
    """Every token, newest first."""
    rows = await visit.console.tokens.list()
    return TokensContext(tuple(rows), ROLES)


async def add_token(visit: Visit) -> Response:
    """Shows the token on the answer itself: it is stored nowhere, so a redirect would lose it."""
    form = await visit.form()
    name, role = text_field(form, "name", length_max=64), parse_role(text_field(form, "role"))
    if role > visit.me.role:
        raise Refused("A token can't have more rights than you.")
    made = await visit.console.tokens.create(name, role)
    await visit.audit("token.create", name, {"role": role.name})
    rows = await visit.console.tokens.list()
    return visit.page("administration/tokens.html", TokensContext(tuple(rows), ROLES, made))


async def revoke_token(visit: Visit) -> Response:
    """End an API token."""
    name = await visit.console.tokens.revoke(visit.param("key"))
    await visit.audit("token.revoke", name)
    return visit.done(f"“{name}” is revoked.", "/tokens")


async def load_audit(visit: Visit) -> AuditContext:
    """One page of the log, and whether its chain of hashes holds."""
    text, number = visit.query("q").strip(), page_number(visit.query("page"))
    async with visit.deps.stores.database.read() as session:
        count, rows = await audit(session, text, number)
    problem = await visit.deps.stores.audit.verify() or ""
    pages = Pages(number, count, "/audit", (("q", text),))
    return AuditContext(text, rows, pages, problem)


OPERATORS_PAGE = Page(
    path="/operators",
    template="administration/operators.html",
    load=load_operators,
    role=Role.admin,
    nav=NavLink("/operators", "Operators", "shield-check", "Administration", Role.admin),
)
TOKENS_PAGE = Page(
    path="/tokens",
    template="administration/tokens.html",
    load=load_tokens,
    role=Role.admin,
    nav=NavLink("/tokens", "API tokens", "key-round", "Administration", Role.admin),
)
AUDIT_PAGE = Page(
    path="/audit",
    template="administration/audit.html",
    load=load_audit,
    role=Role.admin,
    nav=NavLink("/audit", "Audit", "scroll-text", "Administration", Role.admin),
)
ACTIONS = (
    ConsoleRoute("POST", "/operators", Role.admin, add_operator, OPERATORS_PAGE),
    ConsoleRoute("POST", "/operators/{id}", Role.admin, change_operator, OPERATORS_PAGE),
    ConsoleRoute("POST", "/tokens", Role.admin, add_token, TOKENS_PAGE),
    ConsoleRoute("POST", "/tokens/{key}/revoke", Role.admin, revoke_token, TOKENS_PAGE),
)
