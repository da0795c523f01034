"""What every request meets: hosts, origins, headers, static files, redirects, colours."""

import httpx2
import pytest

from roost_platform.console.assets import static_url
from roost_platform.console.console import local_path
from roost_platform.testing.console import PASSWORD, ConsoleServer


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"sec-fetch-site": "same-origin"}, 204),
        ({"sec-fetch-site": "none"}, 204),
        ({"sec-fetch-site": "cross-site"}, 403),
        ({"sec-fetch-site": "same-site"}, 403),
        ({"origin": "https://evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({}, 403),
        ({"origin": "SELF"}, 204),
        ({"origin": "SELF", "sec-fetch-site": "cross-site"}, 403),
    ],
)
def test_only_our_own_pages_may_write(
    console: ConsoleServer, headers: dict[str, str], status: int
) -> None:
    said = {name: console.url if value == "SELF" else value for name, value in headers.items()}
    with httpx2.Client(base_url=console.url) as client:
        answer = client.post("/theme", data={"theme": "dark"}, headers=said)
    assert answer.status_code == status


def test_unknown_hosts_and_large_bodies_are_refused(http: httpx2.Client) -> None:
    assert http.get("/login", headers={"host": "evil.example"}).status_code == 400
    assert http.get("/login", headers={"host": "[::1]:80"}).status_code == 200
    large = http.post("/login", content=b"x" * (1024 * 1024 + 1))
    assert large.status_code == 413


def test_headers_forbid_what_pages_do_not_need(http: httpx2.Client) -> None:
    headers = http.get("/login").headers
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["cache-control"] == "no-store"
    assert headers["cross-origin-opener-policy"] == "same-origin"


def test_static_files_are_kept_for_ever_and_nothing_else_is_served(http: httpx2.Client) -> None:
    found = http.get(static_url("css/base.css"))
    assert found.status_code == 200
    assert "immutable" in found.headers["cache-control"]
    assert http.get("/static/old/css/base.css").headers["cache-control"] == "no-store"
    for path in ("vendor/vendor.lock.toml", "..%2fconsole.py", "vendor/NOTICE"):
        assert http.get(f"/static/x/{path}").status_code == 404


def test_nobody_is_sent_elsewhere_after_signing_in(
    console: ConsoleServer, http: httpx2.Client
) -> None:
    console.sign_in_cookie("Grace", "admin")
    for crafted in ("https://evil.example", "//evil.example", "/\\evil.example", "javascript:x"):
        form = {"name": "Grace", "password": PASSWORD, "next": crafted}
        assert http.post("/login", data=form).headers["location"] == "/"
    assert local_path("/sessions") == "/sessions"


def test_colours_follow_the_browser_until_someone_chooses(http: httpx2.Client) -> None:
    dark = {"sec-ch-prefers-color-scheme": '"dark"'}
    assert '<html lang="en" class="dark">' in http.get("/login", headers=dark).text
    http.post("/theme", data={"theme": "light"})
    assert '<html lang="en" class="light">' in http.get("/login", headers=dark).text
