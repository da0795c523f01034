"""E-mails that were saved as files, as people pass them on."""

from email.message import EmailMessage
from typing import Any

import pytest

from roost.documents.reader import read_document

HEAD = "From: Ana <ana@x.example>\nTo: bob@x.example\nDate: Mon, 30 Nov 2026 09:00:00 +0100\n"


def mail(**parts: Any) -> EmailMessage:
    made = EmailMessage()
    made["From"], made["To"] = "Ana Müller <ana@x.example>", "bob@x.example"
    made["Date"], made["Subject"] = "Mon, 30 Nov 2026 09:00:00 +0100", "Angebot für März"
    made["Received"] = "from a by b"
    made["MIME-Version"] = "1.0"
    made.set_content(parts.get("plain", ""), cte="base64")
    if "html" in parts:
        made.add_alternative(parts["html"], subtype="html", cte="quoted-printable")
    return made


async def test_an_email_is_read_by_its_head_its_plain_words_and_the_names_of_its_files() -> None:
    made = mail(plain="Größe: 3 m\nGruß, Ana", html="<p>other</p>")
    made.add_attachment(b"%PDF-1.4", maintype="application", subtype="pdf", filename="plan a.pdf")
    reading = await read_document(bytes(made))
    assert reading.text.splitlines() == [
        "From: Ana Müller <ana@x.example>",
        "To: bob@x.example",
        "Date: Mon, 30 Nov 2026 09:00:00 +0100",
        "Subject: Angebot für März",
        "",
        "Größe: 3 m",
        "Gruß, Ana",
        "",
        "[attached: plan a.pdf]",
    ]


async def test_an_email_without_plain_words_is_its_page() -> None:
    made = mail()
    made.clear_content()
    made.set_content("<p>Größe</p>", subtype="html", cte="quoted-printable")
    assert "<p>Größe</p>" in (await read_document(bytes(made))).text


@pytest.mark.parametrize("charset", ["utf-8", "x-nobody-knows", "ascii"])
async def test_an_email_in_a_wrong_encoding_keeps_its_words(charset: str) -> None:
    kind = f"MIME-Version: 1.0\nContent-Type: text/plain; charset={charset}\n\n"
    reading = await read_document(f"{HEAD}{kind}Guten Tag".encode())
    assert reading.text.endswith("Guten Tag") and "MIME" not in reading.text


@pytest.mark.parametrize(
    "text",
    [
        "From: me\nDate: today\nThis is a note.\n",
        "name: Ada\nage: 36\n\nmore",
        "Date: 1\n\nFrom: 2",
        f"{HEAD}\nno sign of a program",
    ],
)
async def test_a_text_that_only_looks_like_one_stays_as_it_is(text: str) -> None:
    assert (await read_document(text.encode())).text == text
