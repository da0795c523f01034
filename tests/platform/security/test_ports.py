"""The bounds of every port are those that docs/operations.md tells."""

import re
from pathlib import Path

import uvicorn

from roost_channels.http import bodies
from roost_channels.telegram.inbound import webhook as telegram
from roost_channels.testing import bounded, loopback
from roost_channels.whatsapp.inbound import webhook as twilio
from roost_channels.whatsapp_cloud import inbound as cloud
from roost_inference.http.connections import ConnectionLimits
from roost_inference.http.listener import LIMITS
from roost_inference.http.protocol.bounded import HEAD_LINES_MAX
from roost_inference.kv.handover import local
from roost_inference.wire import json_body
from roost_platform.console.page import FORM_BYTES_MAX, PUBLIC_FORM_BYTES_MAX
from roost_platform.gateway import exchange
from roost_platform.gateway.guards import admission
from roost_platform.gateway.guards.bodies import JSON_VALUES_MAX
from roost_platform.identity.passwords import HASHES_WAITING_MAX
from roost_platform.processes.web import connection_limits
from roost_platform.settings.config import load_settings

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "operations.md").read_text()
SECTION = PAGE.split("## Bounds of the ports\n")[1].split("\n## ")[0]
PORTS = ("web", "engine", "fakes")
# Every file that opens a port, or serves one that its caller opened.
LISTENERS = {
    "platform/roost_platform/processes/web.py": "web",
    "inference/roost_inference/http/listener.py": "engine",
    "channels/roost_channels/testing/loopback.py": "fakes",
    "inference/roost_inference/kv/handover/local.py": "words",
}
OPENS = re.compile(
    r"uvicorn\.Config\(|TCPSite\(|start_server\(|create_server\(|(?<!event)(?<!facts)\.listen\(|HTTPServer\("
    r"|start_http_server\(|\.run_app\("
)


def table() -> dict[str, dict[str, str]]:
    """The cells by row, the first words of each, and port."""
    lines = [line for line in SECTION.splitlines() if line.startswith("| ")]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert tuple(rows[0][1:]) == PORTS
    return {row[0]: dict(zip(PORTS, row[1:], strict=True)) for row in rows[2:]}


def cells(beginning: str) -> dict[str, str]:
    (row,) = [cells for name, cells in table().items() if name.startswith(beginning)]
    return row


def shown(limits: ConnectionLimits) -> dict[str, str]:
    """The bounds of a port as the table writes them."""
    return {
        "open connections": str(limits.connections),
        "of one address": "none" if limits.shares_address("10.9.9.9") else str(limits.per_address),
        "from the connection": f"{limits.head_s:g}",
        "from the head": f"{limits.body_s:g}",
        "an answer of which": f"{limits.unread_s:g}",
    }


def test_the_table_has_the_bounds_of_the_web_port_and_the_engines(tmp_path: Path) -> None:
    settings = load_settings({"data_dir": tmp_path}, environ={})
    idle = f"{uvicorn.Config('nothing').timeout_keep_alive}"
    for port, limits in (("web", connection_limits(settings)), ("engine", LIMITS)):
        for row, value in shown(limits).items():
            assert cells(row)[port] == value, (port, row)
        assert cells("an idle connection")[port] == idle
        assert cells("body")[port] == f"`ROOST_{port.upper()}__MAX_BODY_BYTES`"
        assert getattr(settings, port).max_body_bytes > 0


def test_the_table_has_the_bounds_of_the_fakes() -> None:
    assert {row: cells["fakes"] for row, cells in table().items()} == dict(
        zip(
            table(),
            (
                str(bounded.CONNECTIONS_MAX),
                "none",
                f"{bounded.HEAD_S:g}",
                f"{bounded.BODY_S:g}",
                f"{bounded.IDLE_S:g}",
                "none",
                str(loopback.BODY_BYTES_MAX),
            ),
            strict=True,
        )
    )


def test_webhooks_take_the_bodies_that_the_page_says() -> None:
    said = dict(re.findall(r"(Telegram|Twilio|Meta) (\d+)", SECTION))
    assert said == {
        "Telegram": str(telegram.BODY_BYTES_MAX),
        "Twilio": str(twilio.BODY_BYTES_MAX),
        "Meta": str(cloud.BODY_BYTES_MAX),
    }
    (depth,) = re.findall(r"deeper than (\d+) levels", SECTION)
    assert int(depth) == bodies.JSON_DEPTH_MAX == json_body.JSON_DEPTH_MAX


def test_heads_have_the_lines_that_the_page_says() -> None:
    assert re.findall(r"has at most (\d+) lines", SECTION) == [str(HEAD_LINES_MAX)]


def test_the_gateway_has_the_bounds_that_the_page_says(tmp_path: Path) -> None:
    settings = load_settings({"data_dir": tmp_path}, environ={})
    for name in re.findall(r"ROOST_GATEWAY__(\w+)", SECTION):
        assert getattr(settings.gateway, name.lower()) > 0
    said = re.findall(
        r"(\d+) values and (\d+) levels|leaves one in (\d+) to|at most (\d+) of the largest"
        r"|up to (\d+) bytes and (\d+) s; with a key that is not known, (\d+) bytes",
        SECTION,
    )
    assert [int(one) for group in said for one in group if one] == [
        JSON_VALUES_MAX,
        json_body.JSON_DEPTH_MAX,
        admission.LEFT_TO_OTHERS,
        admission.BODIES,
        exchange.LINGER_BYTES_MAX,
        exchange.LINGER_S,
        exchange.STRANGERS_BYTES_MAX,
    ]


def test_forms_and_passwords_have_the_bounds_that_the_page_says() -> None:
    assert re.findall(r"(\d+) where no login is needed, (\d+) elsewhere", SECTION) == [
        (str(PUBLIC_FORM_BYTES_MAX), str(FORM_BYTES_MAX))
    ]
    assert re.findall(r"(\d+) at most wait for it", SECTION) == [str(HASHES_WAITING_MAX)]


def test_no_other_port_is_opened() -> None:
    """A new listener needs bounds, and a column of the table or words below it."""
    found = set()
    for package in ("platform", "channels", "workflows", "inference"):
        for path in (ROOT / package).rglob("*.py"):
            name = str(path.relative_to(ROOT))
            is_test_only = "/testing/" in name and name not in LISTENERS
            if not is_test_only and OPENS.search(path.read_text()):
                found.add(name)
    assert found == set(LISTENERS)
    for words in ("gRPC", "metrics", "HTTP API"):
        assert words in SECTION, "the ports of Temporal"


def test_the_socket_of_the_hand_over_has_the_bounds_that_the_page_says() -> None:
    bounds = r"at most (\d+) connections; a request has (\d+) KiB and (\d+) s, and .* has (\d+) s"
    said = re.findall(bounds, SECTION)
    assert said == [
        tuple(
            f"{bound:g}"
            for bound in (
                local.CONNECTIONS_MAX,
                local.REQUEST_BYTES_MAX / 2**10,
                local.REQUEST_S,
                local.UNREAD_S,
            )
        )
    ]
