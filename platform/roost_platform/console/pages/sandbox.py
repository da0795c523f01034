"""The sandbox: phones beside each other, which show exactly what an end user would see."""

import asyncio
from dataclasses import dataclass
from typing import Annotated

from starlette.datastructures import FormData
from starlette.responses import RedirectResponse, Response

from roost_platform.console.bubbles import Phone
from roost_platform.console.console import Visit, text_field
from roost_platform.console.live import Fragment, LivePage
from roost_platform.console.navigation import NavLink
from roost_platform.console.page import ConsoleRoute, Page
from roost_platform.console.phones import TEXT_LENGTH_MAX, PhoneFile, Phones, WhatsAppPhone
from roost_platform.errors import NotFound, Refused
from roost_platform.identity.roles import Role

LOOK_INTERVAL_S = 0.25  # how often the phones are looked at while someone watches
WAMID_MAX = 128  # the longest id of a message
FILE_BASE64_MAX = 820_000  # 600 KB, so that the whole form keeps within a request's limit


@dataclass(frozen=True, slots=True)
class SandboxContext:
    """The Sandbox page."""

    phones: Annotated[tuple[Phone, ...], "Telegram, WhatsApp by Twilio, WhatsApp by Meta"]


def phones(visit: Visit) -> Phones:
    """The phones; raises NotFound when no sandbox runs."""
    running = visit.console.phones
    if running is None:
        raise NotFound("The sandbox is not running. Start it with `roost up --sandbox`.")
    return running


async def load(visit: Visit) -> SandboxContext:
    """Every phone's screen, read at the same time."""
    running = phones(visit)
    lit = (phone.screen() for phone in (running.telegram, running.twilio, running.cloud))
    return SandboxContext(tuple(await asyncio.gather(*lit)))


def live(data: SandboxContext) -> LivePage:
    """Each phone by itself."""
    return LivePage(
        tuple(Fragment(f"phone-{one.name}", "sandbox/phone.html", one) for one in data.phones)
    )


def done(visit: Visit) -> Response:
    """After an action: back to the phones."""
    return visit.done("") if visit.is_htmx else RedirectResponse("/sandbox", status_code=303)


def message_id(form: FormData) -> int:
    """The Telegram message that a form names; raises Refused."""
    id = text_field(form, "message_id", length_max=20)
    if not id.isdecimal():
        raise Refused("There is no such message.")
    return int(id)


def picked_file(form: FormData) -> PhoneFile | None:
    """The file in a form, None without one."""
    data = text_field(form, "file_data", required=False, length_max=FILE_BASE64_MAX)
    if not data:
        return None
    name = text_field(form, "file_name", required=False, length_max=200)
    kind = text_field(form, "file_type", required=False, length_max=100)
    return PhoneFile(name, kind or "application/octet-stream", data)


async def telegram_says(visit: Visit) -> Response:
    """Send a message, perhaps as a reply or with a file; with `message_id`, edit an old one."""
    form = await visit.form()
    file = picked_file(form)
    text = text_field(form, "text", required=file is None, length_max=TEXT_LENGTH_MAX)
    if form.get("message_id"):
        await phones(visit).telegram.edits(message_id(form), text)
        return done(visit)
    reply_to = text_field(form, "reply_to", required=False, length_max=20)
    position = text_field(form, "quote_position", required=False, length_max=8)
    if (reply_to and not reply_to.isdecimal()) or (position and not position.isdecimal()):
        raise Refused("That message can't be replied to.")
    await phones(visit).telegram.says(
        text,
        reply_to,
        text_field(form, "quote", required=False, length_max=1024),
        int(position) if position else None,
        file,
    )
    return done(visit)


async def telegram_presses(visit: Visit) -> Response:
    """Press a button of a message."""
    form = await visit.form()
    await phones(visit).telegram.presses(message_id(form), text_field(form, "data", length_max=64))
    return done(visit)


async def telegram_reacts(visit: Visit) -> Response:
    """Set a reaction on a message."""
    form = await visit.form()
    await phones(visit).telegram.reacts(message_id(form), text_field(form, "emoji", length_max=8))
    return done(visit)


async def twilio_says(visit: Visit) -> Response:
    """Write on the phone behind Twilio."""
    return await _says(visit, phones(visit).twilio)


async def twilio_presses(visit: Visit) -> Response:
    """Press a quick reply on the phone behind Twilio."""
    return await _presses(visit, phones(visit).twilio)


async def cloud_says(visit: Visit) -> Response:
    """Write on the phone behind Meta."""
    return await _says(visit, phones(visit).cloud)


async def cloud_presses(visit: Visit) -> Response:
    """Press a button on the phone behind Meta."""
    return await _presses(visit, phones(visit).cloud)


async def _says(visit: Visit, phone: WhatsAppPhone) -> Response:
    form = await visit.form()
    file = picked_file(form)
    await phone.says(
        text_field(form, "text", required=file is None, length_max=TEXT_LENGTH_MAX),
        text_field(form, "reply_to", required=False, length_max=WAMID_MAX),
        file,
    )
    return done(visit)


async def _presses(visit: Visit, phone: WhatsAppPhone) -> Response:
    form = await visit.form()
    sid = text_field(form, "message_id", length_max=WAMID_MAX)
    await phone.presses(sid, text_field(form, "data", length_max=200))
    return done(visit)


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
    ConsoleRoute("POST", "/sandbox/telegram", Role.operator, telegram_says),
    ConsoleRoute("POST", "/sandbox/telegram/press", Role.operator, telegram_presses),
    ConsoleRoute("POST", "/sandbox/telegram/react", Role.operator, telegram_reacts),
    ConsoleRoute("POST", "/sandbox/whatsapp", Role.operator, twilio_says),
    ConsoleRoute("POST", "/sandbox/whatsapp/press", Role.operator, twilio_presses),
    ConsoleRoute("POST", "/sandbox/cloud", Role.operator, cloud_says),
    ConsoleRoute("POST", "/sandbox/cloud/press", Role.operator, cloud_presses),
)
