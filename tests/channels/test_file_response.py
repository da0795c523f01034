"""Files are handed out to keep: no name and no type makes a browser show or run one."""

import base64
from urllib.parse import unquote

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from roost_channels.file_response import NAME_MAX, OCTETS, SAFE_TYPES, file_headers
from roost_channels.testing import FakeTelegram, FakeTwilio
from roost_channels.testing.cloud import FakeCloud

SCRIPT = b"<script src=x></script>"
RUN_BY_BROWSERS = (
    "text/html",
    "TEXT/HTML; charset=utf-8",
    " text/html",
    "text/html\n",
    "text/javascript",
    "application/javascript",
    "application/x-javascript",
    "text/ecmascript",
    "module",
    "image/svg+xml",
    "image/svg+xml; charset=utf-8",
    "application/xhtml+xml",
    "application/xml",
    "text/xml",
    "text/xsl",
    "application/rdf+xml",
    "text/css",
    "text/cache-manifest",
    "multipart/x-mixed-replace",
    "message/rfc822",
    "application/wasm",
    "application/x-shockwave-flash",
    "image/png, text/html",
    "image/png text/html",
    "",
    "nonsense",
)


@pytest.mark.parametrize("claimed", RUN_BY_BROWSERS)
def test_what_a_browser_could_run_is_octets(claimed: str) -> None:
    assert file_headers("x", claimed)["Content-Type"] == OCTETS


@pytest.mark.parametrize("claimed", ["image/png", "Image/PNG; name=x", "application/pdf"])
def test_what_whatsapp_takes_keeps_its_type(claimed: str) -> None:
    served = file_headers("x", claimed)["Content-Type"]
    assert served in SAFE_TYPES and claimed.lower().startswith(served)


def test_every_file_is_an_attachment_in_a_sandbox_of_its_own() -> None:
    headers = file_headers("a.html", "text/html")
    assert headers["Content-Security-Policy"] == "sandbox; default-src 'none'"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert headers["Content-Disposition"].startswith("attachment; ")


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("house.png", "house.png"),
        ('a"; filename="b.html', "a_; filename=_b.html"),
        ("a\r\nSet-Cookie: x=1.html", "aSet-Cookie: x=1.html"),
        ("../../etc/passwd", "_.._etc_passwd"),
        ("c:\\temp\\x.exe", "c:_temp_x.exe"),
        ("bêta 家.pdf", "bêta 家.pdf"),
        ("gnp.\u202elmth.x", "gnp.lmth.x"),
        ("\ud800.txt", "txt"),
        ("\x00\x01", "file"),
        ("", "file"),
        ("...", "file"),
        ("a;b,c%22d.txt", "a;b,c%22d.txt"),
    ],
)
def test_a_name_arrives_without_what_could_end_the_header(name: str, shown: str) -> None:
    assert parsed(file_headers(name, "text/plain")["Content-Disposition"]) == shown


@given(st.text(max_size=300))
def test_no_name_breaks_the_header(name: str) -> None:
    value = file_headers(name, "image/png")["Content-Disposition"]
    assert value.isascii() and value.isprintable()
    assert value.startswith('attachment; filename="') and value.count('"') == 2
    assert 0 < len(parsed(value)) <= NAME_MAX


def parsed(disposition: str) -> str:
    """The name as clients read it, which prefer the form that is in full."""
    return unquote(disposition.partition("filename*=UTF-8''")[2])


async def test_no_fake_shows_a_persons_page_in_its_own_origin() -> None:
    page = base64.b64encode(SCRIPT).decode()
    async with FakeTelegram() as telegram, FakeTwilio() as twilio, FakeCloud() as cloud:
        await telegram.user_sends(7, "document", SCRIPT, name="x.html", content_type="text/html")
        [telegram_file] = telegram.core.world.files
        urls = [f"{telegram.base_url}/sim/files/{telegram_file}"]
        async with httpx2.AsyncClient(trust_env=False) as http:
            for fake, person in ((twilio, "whatsapp:+15550009999"), (cloud, "15550007777")):
                said = {
                    "text": "",
                    "media": [{"content_type": "text/html", "data": page}],
                    "file_name": "x.html",
                }
                told = await http.post(f"{fake.base_url}/sim/users/{person}/messages", json=said)
                assert told.status_code == 200
                [media] = fake.core.media
                urls.append(f"{fake.base_url}/sim/media/{media}")
            urls.append(f"{twilio.base_url}/cdn/{next(iter(twilio.core.media))}")
            for url in urls:
                answer = await http.get(url)
                assert (answer.status_code, answer.content) == (200, SCRIPT)
                assert answer.headers["content-type"] == OCTETS
                assert answer.headers["content-disposition"].startswith("attachment")
                assert answer.headers["content-security-policy"].startswith("sandbox")
