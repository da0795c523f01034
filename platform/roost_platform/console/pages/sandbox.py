"""Two phones beside each other, so that a person sees exactly what an end user would."""

import asyncio
from dataclasses import dataclass
from typing import Annotated

from starlette.datastructures import FormData
from starlette.responses import RedirectResponse, Response

from roost_platform.console.console import Visit, text_field
from roost_platform.console.errors import NotFound, Refused
from roost_platform.console.live import Fragment, LivePage
from roost_platform.console.phones import TEXT_LENGTH_MAX, Phone, PhoneFile, Phones

LOOK_INTERVAL_S = 0.25  # how often the phones are looked at while someone watches
FILE_BASE64_MAX = 820_000  # 600 KB, so that the whole form keeps within a request's limit


@dataclass(frozen=True, slots=True)
class SandboxContext:
    """The Sandbox page."""

    telegram: Annotated[Phone, "The phone with Telegram"]
    whatsapp: Annotated[Phone, "The phone with WhatsApp"]


def phones(visit: Visit) -> Phones:
    found = visit.console.phones
    if found is None:
        raise NotFound("The sandbox is not running. Start it with `roost up --sandbox`.")
    return found


async def load(visit: Visit) -> SandboxContext:
    both = phones(visit)
    return SandboxContext(*await asyncio.gather(both.telegram(), both.whatsapp()))


async def page(visit: Visit) -> Response:
    return visit.page("sandbox.html", await load(visit))


async def events(visit: Visit) -> Response:
    phones(visit)

    async def live() -> LivePage:
        data = await load(visit)
        return LivePage(
            (
                Fragment("phone-telegram", "fragments/phone.html", data.telegram),
                Fragment("phone-whatsapp", "fragments/phone.html", data.whatsapp),
            )
        )

    return visit.stream(live, look_s=LOOK_INTERVAL_S)


def done(visit: Visit) -> Response:
    return visit.done("") if visit.is_htmx else RedirectResponse("/sandbox", status_code=303)


def message_id(form: FormData) -> int:
    id = text_field(form, "message_id", length_max=20)
    if not id.isdecimal():
        raise Refused("There is no such message.")
    return int(id)


def picked_file(form: FormData) -> PhoneFile | None:
    data = text_field(form, "file_data", required=False, length_max=FILE_BASE64_MAX)
    if not data:
        return None
    name = text_field(form, "file_name", required=False, length_max=200)
    kind = text_field(form, "file_type", required=False, length_max=100)
    return PhoneFile(name, kind or "application/octet-stream", data)


async def telegram_says(visit: Visit) -> Response:
    """A new message, perhaps a reply or with a file; or with `message_id` an edit of an old one."""
    form = await visit.form()
    file = picked_file(form)
    text = text_field(form, "text", required=file is None, length_max=TEXT_LENGTH_MAX)
    if form.get("message_id"):
        await phones(visit).telegram_edits(message_id(form), text)
        return done(visit)
    reply_to = text_field(form, "reply_to", required=False, length_max=20)
    position = text_field(form, "quote_position", required=False, length_max=8)
    if (reply_to and not reply_to.isdecimal()) or (position and not position.isdecimal()):
        raise Refused("That message can't be replied to.")
    await phones(visit).telegram_says(
        text,
        reply_to,
        text_field(form, "quote", required=False, length_max=1024),
        int(position) if position else None,
        file,
    )
    return done(visit)


async def telegram_presses(visit: Visit) -> Response:
    form = await visit.form()
    await phones(visit).telegram_presses(message_id(form), text_field(form, "data", length_max=64))
    return done(visit)


async def telegram_reacts(visit: Visit) -> Response:
    form = await visit.form()
    await phones(visit).telegram_reacts(message_id(form), text_field(form, "emoji", length_max=8))
    return done(visit)


async def whatsapp_says(visit: Visit) -> Response:
    form = await visit.form()
    file = picked_file(form)
    await phones(visit).whatsapp_says(
        text_field(form, "text", required=file is None, length_max=TEXT_LENGTH_MAX),
        text_field(form, "reply_to", required=False, length_max=64),
        file,
    )
    return done(visit)


async def whatsapp_chooses(visit: Visit) -> Response:
    form = await visit.form()
    await phones(visit).whatsapp_chooses(
        text_field(form, "message_id", length_max=64), text_field(form, "data", length_max=200)
    )
    return done(visit)
