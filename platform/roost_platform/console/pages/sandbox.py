"""The sandbox: phones beside each other, which show exactly what an end user would see."""

from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Annotated

from starlette.datastructures import FormData
from starlette.responses import RedirectResponse, Response

from roost.documents.pictures import picture_type
from roost_channels.file_response import SANDBOXED
from roost_channels.sandbox.phone import (
    PhoneError,
    PhoneFile,
    PhoneRefused,
    SandboxPhone,
    TypedMessage,
)
from roost_platform.console.bubbles import Phone
from roost_platform.console.console import Visit, text_field
from roost_platform.console.live import Fragment, LivePage
from roost_platform.console.navigation import NavLink
from roost_platform.console.page import ConsoleRoute, Page
from roost_platform.console.phones import Phones
from roost_platform.errors import Busy, NotFound, Refused
from roost_platform.identity.roles import Role

LOOK_INTERVAL_S = 0.25  # how often the phones are looked at while someone watches
MESSAGE_ID_MAX = 128  # the longest id of a message on any network
TEXT_LENGTH_MAX = 4096
FILE_BASE64_MAX = 820_000  # 600 KB, so that the whole form keeps within a request's limit

# A page that shows the picture again asks for it once.
PICTURE_HEADERS = {**SANDBOXED, "Cache-Control": "private, max-age=3600"}


@dataclass(frozen=True, slots=True)
class SandboxContext:
    """The Sandbox page."""

    phones: Annotated[tuple[Phone, ...], "One for each fake network"]


def phones(visit: Visit) -> Phones:
    """The phones; raises NotFound outside the sandbox."""
    phones = visit.console.phones
    if phones is None:
        raise NotFound("The sandbox is not running. Start it with `roost up --sandbox`.")
    return phones


async def load(visit: Visit) -> SandboxContext:
    """Every phone's screen, read at the same time."""
    return SandboxContext(await phones(visit).screens())


def live(data: SandboxContext) -> LivePage:
    """One fragment for each phone, so that each is updated by itself."""
    return LivePage(
        tuple(Fragment(f"phone-{one.look.name}", "sandbox/phone.html", one) for one in data.phones)
    )


def picked_file(form: FormData) -> PhoneFile | None:
    """The file in a form, None without one."""
    data = text_field(form, "file_data", required=False, length_max=FILE_BASE64_MAX)
    if not data:
        return None
    name = text_field(form, "file_name", required=False, length_max=200)
    kind = text_field(form, "file_type", required=False, length_max=100)
    return PhoneFile(name, kind or "application/octet-stream", data)


async def says(visit: Visit) -> Response:
    """Send a message, perhaps as a reply or with a file; with `message_id`, edit an old one."""
    form = await visit.form()
    file = picked_file(form)
    text = text_field(form, "text", required=file is None, length_max=TEXT_LENGTH_MAX)
    if form.get("message_id"):
        return await _act(visit, _phone(visit).edits(_message_id(form), text))
    position = text_field(form, "quote_position", required=False, length_max=8)
    if position and not position.isdecimal():
        raise Refused("That message can't be replied to.")
    message = TypedMessage(
        text,
        text_field(form, "reply_to", required=False, length_max=MESSAGE_ID_MAX),
        text_field(form, "quote", required=False, length_max=1024),
        int(position) if position else None,
        file,
    )
    return await _act(visit, _phone(visit).says(message))


async def presses(visit: Visit) -> Response:
    """Press a button of a message."""
    form = await visit.form()
    data = text_field(form, "data", length_max=200)
    return await _act(visit, _phone(visit).presses(_message_id(form), data))


async def reacts(visit: Visit) -> Response:
    """Set a reaction on a message."""
    form = await visit.form()
    emoji = text_field(form, "emoji", length_max=8)
    return await _act(visit, _phone(visit).reacts(_message_id(form), emoji))


async def stops(visit: Visit) -> Response:
    """Press Stop below the draft."""
    return await _act(visit, _phone(visit).stops())


async def picture(visit: Visit) -> Response:
    """A picture of a chat, by what its bytes are and not by what its sender said."""
    try:
        found = await _phone(visit).picture(visit.param("id"))
    except PhoneError as error:
        raise Busy(str(error)) from error
    kind = "" if found is None else picture_type(found.data)
    if found is None or not kind:
        raise NotFound("There is no such picture.")
    return Response(found.data, media_type=kind, headers=PICTURE_HEADERS)


def _phone(visit: Visit) -> SandboxPhone:
    return phones(visit).named(visit.param("phone"))


def _message_id(form: FormData) -> str:
    return text_field(form, "message_id", length_max=MESSAGE_ID_MAX)


async def _act(visit: Visit, act: Awaitable[None]) -> Response:
    try:
        await act
    except PhoneRefused as error:
        raise Refused(str(error)) from error
    except PhoneError as error:
        raise Busy(str(error)) from error
    return visit.done("") if visit.is_htmx else RedirectResponse("/sandbox", status_code=303)


PAGE = Page(
    path="/sandbox",
    template="sandbox/page.html",
    load=load,
    role=Role.operator,
    live=live,
    look_s=LOOK_INTERVAL_S,
    nav=NavLink("/sandbox", "Sandbox", "smartphone", "Try it", Role.operator, needs_sandbox=True),
)
ACTIONS = (
    ConsoleRoute("POST", "/sandbox/{phone}", Role.operator, says, PAGE, has_file=True),
    ConsoleRoute("POST", "/sandbox/{phone}/press", Role.operator, presses, PAGE),
    ConsoleRoute("POST", "/sandbox/{phone}/stop", Role.operator, stops, PAGE),
    ConsoleRoute("GET", "/sandbox/{phone}/pictures/{id}", Role.operator, picture),
    ConsoleRoute("POST", "/sandbox/{phone}/react", Role.operator, reacts, PAGE),
)
