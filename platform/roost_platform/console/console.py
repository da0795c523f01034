"""What handlers work with: the console of this process, and one visit to it."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, is_dataclass, replace
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from starlette.datastructures import FormData
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response

from roost_platform.console.dependencies import ConsoleDeps
from roost_platform.console.live import Fragment, Live, LivePage
from roost_platform.console.navigation import NavLink, sections_for
from roost_platform.console.page_response import PageResponse
from roost_platform.console.phones import Phones
from roost_platform.console.rendering import name_channels, render
from roost_platform.db.base.text import clean
from roost_platform.errors import (
    NotSignedIn,
    Refused,
)
from roost_platform.identity.accounts import Accounts
from roost_platform.identity.logins import SESSION_ABSOLUTE_S, Logins
from roost_platform.identity.roles import Principal, Role
from roost_platform.identity.tokens import Tokens

FLASH_LENGTH_MAX = 200
FLASH_COOKIE = "roost_flash"
THEME_COOKIE = "roost_theme"
FORM_FIELDS_MAX = 40
TYPED_LENGTH_MAX = 30_000  # characters of a field that a refused form keeps
NOT_KEPT = frozenset({"password", "old", "new", "token", "file_data"})


@dataclass(slots=True)
class Console:
    """What all handlers share in this process. `navigation`: the links of the menu."""

    deps: ConsoleDeps
    navigation: Sequence[NavLink] = ()
    accounts: Accounts = field(init=False)
    logins: Logins = field(init=False)
    tokens: Tokens = field(init=False)
    live: Live = field(init=False)
    phones: Phones | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        database, clock = self.deps.stores.database, self.deps.clock
        self.accounts = Accounts(database, clock)
        self.logins = Logins(database, clock, self.accounts.passwords)
        self.tokens = Tokens(database, clock)
        self.live = Live(database, render)
        name_channels(self.deps.kinds)
        if self.deps.phones is not None:
            self.phones = Phones(self.deps.phones)

    async def badges(self, principal: Principal | None) -> Mapping[str, int]:
        """What waits behind the links that this person sees, by the id of the link's badge."""
        counted = [
            (link.badge_id, link.count)
            for link in self.navigation
            if link.count is not None and principal is not None and principal.role >= link.role
        ]
        if not counted:
            return {}
        async with self.deps.stores.database.read() as session:
            return {id: await count(session) for id, count in counted}

    async def close(self) -> None:
        """Release connections."""
        await self.live.close()
        if self.phones is not None:
            await self.phones.close()

    @property
    def session_cookie(self) -> str:
        """The cookie's name; over https it is bound to this host."""
        return "__Host-roost" if self.deps.is_https else "roost_session"

    def set_session(self, response: Response, token: str) -> None:
        """Give the browser its session token in a cookie that scripts can't read."""
        response.set_cookie(
            self.session_cookie,
            token,
            max_age=int(SESSION_ABSOLUTE_S),
            path="/",
            secure=self.deps.is_https,
            httponly=True,
            samesite="lax",
        )

    def clear_session(self, response: Response) -> None:
        """Take the session from the browser."""
        response.delete_cookie(
            self.session_cookie,
            path="/",
            secure=self.deps.is_https,
            httponly=True,
            samesite="lax",
        )


@dataclass(frozen=True, slots=True)
class Visit:
    """One request by someone whose role was checked; `principal` is None on public pages."""

    console: Console
    request: Request
    principal: Principal | None

    @property
    def deps(self) -> ConsoleDeps:
        """What the console was given."""
        return self.console.deps

    @property
    def me(self) -> Principal:
        """Who asks; raises NotSignedIn on a public page that nobody signed in for."""
        if self.principal is None:
            raise NotSignedIn
        return self.principal

    @property
    def now(self) -> float:
        """Seconds since the epoch."""
        return self.deps.clock()

    @property
    def ip(self) -> str:
        """The address that the request came from; empty if unknown."""
        return self.request.client.host if self.request.client else ""

    @property
    def is_htmx(self) -> bool:
        """Whether htmx made the request, which wants a toast instead of a page."""
        return self.request.headers.get("hx-request") == "true"

    @property
    def reads_texts(self) -> bool:
        """Whether this person may see the texts of messages."""
        return self.me.role >= Role.operator or self.deps.viewers_read_texts

    @property
    def token(self) -> str | None:
        """The session token of the browser, whether it is good or not."""
        return self.request.cookies.get(self.console.session_cookie)

    def param(self, name: str) -> str:
        """A parameter of the path."""
        return str(clean(self.request.path_params[name]))

    def query(self, name: str, default: str = "", length_max: int = 200) -> str:
        """A parameter of the query string, cut at `length_max` characters."""
        return str(clean(self.request.query_params.get(name, default)[:length_max]))

    async def form(self) -> FormData:
        """The form that was sent; files are refused."""
        return await self.request.form(max_fields=FORM_FIELDS_MAX, max_files=0)

    async def audit(
        self, action: str, object: str, detail: Mapping[str, Any] | None = None
    ) -> None:
        """Record what this person did."""
        await self.deps.stores.audit.write(
            actor=self.principal.name if self.principal else "",
            action=action,
            object=object,
            detail=dict(detail or {}),
            ip=self.ip,
        )

    async def typed(self) -> dict[str, str]:
        """What was typed into the form that was sent, without secrets and files."""
        fields = (await self.form()).items()
        return {
            name: str(clean(value))[:TYPED_LENGTH_MAX]
            for name, value in fields
            if isinstance(value, str) and name not in NOT_KEPT
        }

    def base_context(self) -> dict[str, Any]:
        """What every template may use besides its page's own data."""
        return {
            "me": self.principal,
            "theme": theme(self.request),
            "path": self.request.url.path,
            "flash": unquote(self.request.cookies.get(FLASH_COOKIE, ""))[:FLASH_LENGTH_MAX],
            "navigation": tuple(
                sections_for(
                    self.console.navigation,
                    self.principal,
                    has_sandbox=self.deps.phones is not None,
                )
            ),
            "environment": self.deps.environment,
            "version": self.deps.version,
            "reads_texts": self.principal is not None and self.reads_texts,
            "problem": "",
            "typed": {},
            "typed_for": "",
            "badges": {},
        }

    async def badges(self) -> Mapping[str, int]:
        """The numbers beside the links of the menu, by the id of their elements."""
        return await self.console.badges(self.principal)

    def page(
        self,
        template: str,
        data: Any,
        *,
        status: int = 200,
        problem: str = "",
        typed: Mapping[str, str] | None = None,
    ) -> Response:
        """A full page; `data` is the page's frozen dataclass.

        problem: why a form of this page was refused; typed: its fields, which the form keeps.
        """
        again = {
            "problem": problem,
            "typed": typed or {},
            "typed_for": next(iter(self.request.path_params.values()), "") if typed else "",
        }
        context = {**self.base_context(), **again, "page": data}
        response = PageResponse(template, context, status, self.badges)
        response.headers["accept-ch"] = "Sec-CH-Prefers-Color-Scheme"
        response.headers["vary"] = "Sec-CH-Prefers-Color-Scheme, Cookie"
        if FLASH_COOKIE in self.request.cookies:
            response.delete_cookie(FLASH_COOKIE, path="/")
        return response

    def json(self, data: Any) -> Response:
        """The page's data as JSON."""
        return JSONResponse(
            asdict(data) if is_dataclass(data) and not isinstance(data, type) else data
        )

    def stream(
        self,
        load: Callable[[], Awaitable[LivePage | None]],
        *,
        look_s: float | None = None,
    ) -> Response:
        """The page's event stream, with the badges of the menu; `load` returns None when the page's
        subject is gone.
        """
        token = self.token

        async def with_badges() -> LivePage | None:
            page = await load()
            if page is None:
                return None
            badges = [
                Fragment(id, "layout/badge.html", count)
                for id, count in (await self.badges()).items()
            ]
            return replace(page, fragments=(*page.fragments, *badges))

        async def still_signed_in() -> bool:
            found = await self.console.logins.find(token)
            # Another role ends the stream, too: what it shows was chosen by the role of before.
            return found is not None and found.role == self.me.role

        return self.console.live.response(
            with_badges, context=self.base_context(), still_signed_in=still_signed_in, look_s=look_s
        )

    def done(self, message: str, back: str = "") -> Response:
        """After an action: a toast for htmx, else back to the page with the message on it."""
        if self.is_htmx and not back:
            return Response(status_code=204, headers={"x-roost-toast": quote(message)})
        response = RedirectResponse(back or self.back(), status_code=303)
        response.set_cookie(
            FLASH_COOKIE,
            quote(message[:FLASH_LENGTH_MAX]),
            max_age=30,
            path="/",
            httponly=True,
            samesite="lax",
            secure=self.deps.is_https,
        )
        return response

    def back(self) -> str:
        """The page that a form was sent from; `/` if it is not one of ours."""
        referer = urlsplit(self.request.headers.get("referer", ""))
        ours = referer.netloc == self.request.headers.get("host", "")
        query = f"?{referer.query}" if referer.query else ""
        return local_path(referer.path + query) if ours else "/"


def theme(request: Request) -> str:
    """`dark` or `light`, as the person chose or else the browser says that it prefers.

    `auto` where it says nothing, as on the first page and in most browsers: theme.js finds out.
    """
    chosen = request.cookies.get(THEME_COOKIE, "")
    prefers = request.headers.get("sec-ch-prefers-color-scheme", "").strip('"')
    return next((word for word in (chosen, prefers) if word in ("dark", "light")), "auto")


def local_path(path: str) -> str:
    """The path if it is one of this site, else `/`: a crafted link leads nowhere else."""
    if path.startswith("/") and not path.startswith(("//", "/\\")) and "\n" not in path:
        return path
    return "/"


def text_field(
    form: FormData, name: str, *, required: bool = True, length_max: int = 20_000
) -> str:
    """A text field of a form; raises Refused if it is missing or too long."""
    value = form.get(name, "")
    if not isinstance(value, str):
        raise Refused(f"“{name}” must be text.")
    value = str(clean(value.replace("\r\n", "\n")))
    if required and not value.strip():
        raise Refused(f"“{name}” is empty.")
    if len(value) > length_max:
        raise Refused(f"“{name}” may have at most {length_max} characters.")
    return value
