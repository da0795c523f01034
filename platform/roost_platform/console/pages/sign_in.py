"""Setup link, sign-in and sign-out, one's own account, and the choice of colours."""

from dataclasses import dataclass
from typing import Annotated

from starlette.responses import RedirectResponse, Response

from roost_platform.console.console import Visit, local_path, text_field
from roost_platform.console.page import ConsoleRoute, Page
from roost_platform.console.page_response import THEME_COOKIE
from roost_platform.errors import Busy, Forbidden, NotSignedIn, Refused, TooManyTries
from roost_platform.identity.logins import LoginRow
from roost_platform.identity.passwords import PASSWORD_LENGTH_MIN
from roost_platform.identity.roles import Role

THEME_KEPT_S = 365 * 86400


@dataclass(frozen=True, slots=True)
class EntryContext:
    """The sign-in and setup pages."""

    next: Annotated[str, "Where to go afterwards"] = "/"
    name: Annotated[str, "Name as typed before, so that a typing error costs little"] = ""
    problem: Annotated[str, "What was wrong with the last try"] = ""
    needs_setup: Annotated[bool, "Whether no admin exists yet"] = False
    password_length_min: Annotated[int, "Least length"] = PASSWORD_LENGTH_MIN


@dataclass(frozen=True, slots=True)
class AccountContext:
    """One's own account."""

    logins: Annotated[tuple[LoginRow, ...], "Where one is signed in"]
    password_length_min: Annotated[int, "Least length"] = PASSWORD_LENGTH_MIN


def user_agent(visit: Visit) -> str:
    """What the browser calls itself."""
    return visit.request.headers.get("user-agent", "")


async def sign_in_page(visit: Visit) -> Response:
    """The sign-in page; who is signed in is sent on."""
    target = local_path(visit.query("next", "/"))
    if visit.principal is not None:
        return RedirectResponse(target, status_code=303)
    needs_setup = not await visit.console.accounts.has_admin()
    return visit.page("access/login.html", EntryContext(next=target, needs_setup=needs_setup))


async def sign_in(visit: Visit) -> Response:
    """Check name and password, and open a session."""
    form = await visit.form()
    name = (await visit.typed()).get("name", "")
    target = local_path(text_field(form, "next", required=False))
    try:
        name = text_field(form, "name", required=False, length_max=64)
        password = text_field(form, "password", required=False)
        principal, token = await visit.console.logins.sign_in(
            name,
            password,
            ip=visit.ip,
            user_agent=user_agent(visit),
            old_token=visit.token,
        )
    except (NotSignedIn, TooManyTries, Busy, Refused) as error:
        if isinstance(error, NotSignedIn):  # throttled tries would fill the trail without bound
            await visit.audit("login.refused", name)
        context = EntryContext(next=target, name=name, problem=str(error))
        response = visit.page("access/login.html", context, status=error.status)
        if isinstance(error, TooManyTries):
            response.headers["retry-after"] = str(int(error.retry_after_s) + 1)
        return response
    await Visit(visit.console, visit.request, principal).audit("login", name)
    response = RedirectResponse(target, status_code=303)
    visit.console.set_session(response, token)
    return response


async def sign_out(visit: Visit) -> Response:
    """End the session of this browser."""
    await visit.console.logins.close(visit.token)
    await visit.audit("logout", visit.me.name)
    response = RedirectResponse("/login", status_code=303)
    visit.console.clear_session(response)
    return response


async def setup_page(visit: Visit) -> Response:
    """The setup page. The token is in the URL's fragment; the page's script sends it."""
    if await visit.console.accounts.has_admin():
        return RedirectResponse("/login", status_code=303)
    return visit.page("access/setup.html", EntryContext(needs_setup=True))


async def set_up(visit: Visit) -> Response:
    """Make the first admin with the token of the setup link."""
    form = await visit.form()
    name = (await visit.typed()).get("name", "")
    try:
        name = text_field(form, "name", required=False, length_max=64)
        principal = await visit.console.accounts.set_up(
            text_field(form, "token", required=False), name, text_field(form, "password")
        )
    except (Refused, Busy, Forbidden) as error:
        context = EntryContext(name=name, problem=str(error), needs_setup=True)
        return visit.page("access/setup.html", context, status=error.status)
    token = await visit.console.logins.open(principal, ip=visit.ip, user_agent=user_agent(visit))
    await Visit(visit.console, visit.request, principal).audit("setup", principal.name)
    response = RedirectResponse("/", status_code=303)
    visit.console.set_session(response, token)
    return response


async def load_account(visit: Visit) -> AccountContext:
    """The visitor's own open logins."""
    logins = await visit.console.logins.list(visit.me.id, visit.token)
    return AccountContext(tuple(logins))


async def change_password(visit: Visit) -> Response:
    """Change one's own password; all other logins end."""
    form = await visit.form()
    old, new = text_field(form, "old"), text_field(form, "new")
    await visit.console.accounts.change_password(visit.me.id, old, new)
    token = await visit.console.logins.open(
        visit.me, ip=visit.ip, user_agent=user_agent(visit), old_token=visit.token
    )
    await visit.audit("operator.password", visit.me.name)
    response = visit.done("Your password is changed; other logins have ended.", "/account")
    visit.console.set_session(response, token)
    return response


async def end_login(visit: Visit) -> Response:
    """End one of one's own logins."""
    if not await visit.console.logins.revoke(visit.me.id, visit.param("key")):
        raise Refused("That login has already ended.")
    await visit.audit("login.revoke", visit.me.name)
    return visit.done("That login has ended.", "/account")


async def set_theme(visit: Visit) -> Response:
    """Keep the choice of light or dark in a cookie."""
    chosen = text_field(await visit.form(), "theme", length_max=5)
    if chosen not in ("dark", "light"):
        raise Refused("Colours are either light or dark.")
    if visit.is_htmx or visit.request.headers.get("accept") == "*/*":
        response = Response(status_code=204)
    else:
        response = RedirectResponse(visit.back(), status_code=303)
    response.set_cookie(
        THEME_COOKIE,
        chosen,
        max_age=THEME_KEPT_S,
        path="/",
        samesite="lax",
        httponly=True,
        secure=visit.deps.is_https,
    )
    return response


ACCOUNT_PAGE = Page(path="/account", template="access/account.html", load=load_account)
ACTIONS = (
    ConsoleRoute("GET", "/login", Role.public, sign_in_page),
    ConsoleRoute("POST", "/login", Role.public, sign_in),
    ConsoleRoute("GET", "/setup", Role.public, setup_page),
    ConsoleRoute("POST", "/setup", Role.public, set_up),
    ConsoleRoute("POST", "/theme", Role.public, set_theme),
    ConsoleRoute("POST", "/logout", Role.viewer, sign_out),
    ConsoleRoute("POST", "/account/password", Role.viewer, change_password, ACCOUNT_PAGE),
    ConsoleRoute("POST", "/account/logins/{key}/end", Role.viewer, end_login, ACCOUNT_PAGE),
)
