"""What a person does in the console, in a real browser, and what changes under their eyes."""

import time
from typing import Any

import pytest
from playwright.sync_api import Browser, expect
from sqlalchemy import update

from roost_platform.db import models
from roost_platform.testing.console import ADMIN, PASSWORD, ConsoleServer
from roost_platform.testing.console.engine import HEALTH

XSS = (
    "<script>window.hit=1</script>",
    "<img src=x onerror='window.hit=1'>",
    "<svg onload='window.hit=1'>",
    "[click](javascript:window.hit=1)",
    "[click](data:text/html;base64,PHNjcmlwdD53aW5kb3cuaGl0PTE8L3NjcmlwdD4=)",
    "![x](https://evil.example/pixel.png)",
    "<a href='//evil.example' hx-get='/logout' hx-trigger='load'>x</a>",
    "</hx-partial><script>window.hit=1</script>",
    "<hx-partial hx-target='#main'>gone</hx-partial>",
    '" autofocus onfocus="window.hit=1',
    "<style>body{display:none}</style>",
    "<iframe srcdoc='<script>parent.hit=1</script>'></iframe>",
    "{{ 7 * 7 }}{% raw %}",
)


async def change(server: ConsoleServer, table: Any, values: dict[str, Any], **where: Any) -> None:
    async with server.stores.database.write() as session:
        statement = update(table).values(**values)
        for name, value in where.items():
            statement = statement.where(getattr(table, name) == value)
        await session.execute(statement)


def test_a_running_answer_grows_under_the_readers_eyes(admin_page: Any, seeded: Any) -> None:
    server, ada = seeded.server, seeded.ids["ada"]
    page = admin_page.open(f"/sessions/{ada}")
    live = page.locator("#now .msg.live")
    expect(live).to_contain_text("The museum is quietest")
    expect(page.locator("#live-mark")).to_be_visible()
    expect(live).to_be_in_viewport()  # the log starts at its end, the composer under it
    expect(page.get_by_label("Answer in the agent's place")).to_be_in_viewport()
    page.locator("#transcript details.call summary").first.click()
    began = time.monotonic()
    text = "I'll remember that. The museum is quietest **before noon**"
    server.run(change(server, models.RunProgress, {"text": text}, conversation_id=ada))
    expect(live.locator("strong")).to_have_text("before noon", timeout=2000)
    assert time.monotonic() - began < 2.5
    # What the reader opened stays open through the updates.
    expect(page.locator("#transcript details.call").first).to_have_attribute("open", "")


def test_stop_and_reply_work_without_leaving_the_page(admin_page: Any, seeded: Any) -> None:
    server, ada = seeded.server, seeded.ids["ada"]
    page = admin_page.open(f"/sessions/{ada}")
    page.get_by_role("button", name="Stop").click()
    expect(page.locator("#toasts")).to_contain_text("Stopping.")
    expect(page.get_by_role("button", name="Stopping…")).to_be_disabled()
    assert server.doorbell.stops == [ada]
    page.get_by_label("Answer in the agent's place").fill("A person here.\nHow can I help?")
    page.get_by_role("button", name="Send as operator").click()
    said = page.locator('.msg[data-role="operator"]').last
    expect(said).to_contain_text("How can I help?")
    expect(said).to_contain_text("on its way")
    expect(page.get_by_label("Answer in the agent's place")).to_have_value("")


def test_the_overview_lives(admin_page: Any, seeded: Any) -> None:
    server = seeded.server
    page = admin_page.open("/")
    expect(page.locator("#tile-queue .tile-value")).to_have_text("0")
    expect(page.locator("#chart canvas")).to_be_visible()
    server.run(server.intake.say("someone", "Hello?"))
    expect(page.locator("#tile-queue .tile-value")).to_have_text("1", timeout=3000)


def test_inference_shows_sessions_by_name_and_what_they_wait_for(
    admin_page: Any, seeded: Any
) -> None:
    page = admin_page.open("/inference")
    expect(page.locator("#chart canvas")).to_be_visible()
    ada = page.locator("#sessions tr", has_text="Ada Lovelace")
    expect(ada).to_contain_text("its tools")
    expect(ada.get_by_role("link")).to_have_attribute("href", f"/sessions/{seeded.ids['ada']}")
    expect(page.locator("#tile-hit")).to_contain_text("at best 78.6%")
    expect(page.locator("#memory")).to_contain_text("left alone for 30 s")
    status = page.locator("#engine-status")
    expect(status).to_contain_text("on portable kernels (native ones are compiled now)")
    expect(page.locator("#reuse")).to_contain_text("0.0496 J for each token computed")
    assert seeded.server.watch is not None
    engine = seeded.server.engine
    engine.answer = {**HEALTH, "running": 41}
    expect(page.locator("#tile-running .tile-value")).to_have_text("41", timeout=10_000)
    engine.answer = HEALTH


def test_inference_shows_each_of_several_engines_with_its_role(
    admin_page: Any, seeded: Any
) -> None:
    page = admin_page.open("/inference")
    expect(page.get_by_role("region", name="Engines")).to_have_count(0)
    engine = seeded.server.engine
    one = {"name": "cpu:8421", "duty": "decode", "role": "decode", "state": "up", "running": 3}
    two = {"name": "gpu:8421", "duty": "prefill", "role": "", "state": "down", "problem": "gone"}
    engine.answer = {**HEALTH, "engines": [one, two]}
    rows = page.get_by_role("region", name="Engines").locator("tbody tr")
    expect(rows).to_have_count(2, timeout=10_000)
    expect(rows.nth(0)).to_contain_text("cpu:8421")
    expect(rows.nth(0)).to_contain_text("answers")
    expect(rows.nth(1)).to_contain_text("reads prompts")
    expect(rows.nth(1)).to_contain_text("gone")
    engine.answer = HEALTH


def test_a_session_page_tells_what_the_engine_did(admin_page: Any, seeded: Any) -> None:
    page = admin_page.open(f"/sessions/{seeded.ids['ada']}")
    notes = page.locator("#turns .turn-engine")
    expect(notes).to_contain_text("512 tokens came from disk in 3.4 ms (306 ms to compute).")
    expect(notes).to_contain_text("diverged from the session's last one at token 610")


def test_the_test_chat_takes_the_way_of_every_channel(admin_page: Any, seeded: Any) -> None:
    page = admin_page.open("/chat/my-first")
    page.get_by_label("Message", exact=True).fill("Hello, who are you?")
    page.keyboard.press("Enter")
    expect(page.locator("#now .msg")).to_contain_text("Hello, who are you?")
    expect(page.locator("#now .msg")).to_contain_text("waiting")
    id = seeded.server.run(seeded.server.stores.queries.conversation_id("console:local:my-first"))
    assert id in seeded.server.doorbell.rings


def test_letting_someone_in_needs_one_click(admin_page: Any, seeded: Any) -> None:
    page = admin_page.open("/people")
    expect(page.locator("#requests")).to_contain_text("K7QM2XRT")
    page.get_by_role("button", name="Let Eve Stranger in").click()
    expect(page.locator("#toasts")).to_contain_text("Eve Stranger is connected.")
    expect(page.locator("#requests")).to_contain_text("No one waits")
    expect(page.locator("#people-list tr", has_text="Eve Stranger")).to_contain_text("Allowed")


def test_a_failed_delivery_is_redriven_and_says_so(admin_page: Any, seeded: Any) -> None:
    page = admin_page.open(f"/deliveries/{seeded.ids['failed']}")
    expect(page.locator("#delivery")).to_contain_text("The list has no such message.")
    page.get_by_role("button", name="Send again").click()
    expect(page.locator("#delivery")).to_contain_text(f"Sent again by {ADMIN}.")
    expect(page.locator("#delivery .page-head .state")).to_have_text("Pending")


def test_what_people_write_can_do_nothing(admin_page: Any, seeded: Any) -> None:
    server, corpus = seeded.server, "\n\n".join(XSS)
    taken = server.run(server.intake.say("xss", corpus))
    server.run(change(server, models.Conversation, {"title": XSS[1]}, id=taken.conversation_id))
    server.run(
        server.stores.say_as_operator(taken.conversation_id, corpus, "Mallory <b>", "127.0.0.1")
    )
    for path in (f"/sessions/{taken.conversation_id}", "/sessions", "/deliveries", "/chat/xss"):
        page = admin_page.open(path)
        expect(page.locator("#live-mark")).to_be_visible()
        page.wait_for_timeout(200)
        assert page.evaluate("() => window.hit") is None
        assert (
            page.locator("main :is(script, img, iframe, style, object, [hx-trigger])").count() == 0
        )
        assert page.locator("main [onload], main [onerror], main [onfocus]").count() == 0
        hrefs = page.eval_on_selector_all("main .prose a", "(all) => all.map((a) => a.protocol)")
        assert set(hrefs) <= {"https:", "http:"}
    expect(page.locator("main")).to_contain_text("{{ 7 * 7 }}")


def test_colours_change_at_once_and_stay(admin_page: Any) -> None:
    page = admin_page.open("/")
    page.get_by_role("button", name="Switch to dark colours").click()
    expect(page.locator("html")).to_have_class("dark")
    page.wait_for_function("() => performance.getEntriesByName(location.origin + '/theme').length")
    page.reload()
    expect(page.locator("html")).to_have_class("dark")


def test_an_ended_login_loses_its_stream(
    browser: Browser, seeded: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = seeded.server
    monkeypatch.setattr(server.live, "sign_in_check_s", 0.2)
    cookie = server.sign_in_cookie("Short visit", "viewer")
    watched = seeded.watch(browser, cookie=cookie)
    page = watched.open("/sessions")
    # Hidden until the stream stands: a login that ends earlier is another story.
    expect(page.locator("#live-mark")).to_be_visible()
    server.run(server.logins.close(cookie["value"]))
    expect(page.locator("#live-mark")).to_have_text("Reconnecting", timeout=5000)
    watched.context.close()


def test_the_setup_link_leads_in_and_leaves_no_trace(
    browser: Browser, seeded: Any, empty: Any
) -> None:
    token = empty.run(empty.accounts.new_setup_token())
    watched = seeded.watch(browser, url=empty.url, cookie=None, theme="dark")
    page = watched.open(f"/setup#token={token}")
    assert page.url == f"{empty.url}/setup"
    page.get_by_label("Name").fill("Grace")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Create administrator").click()
    expect(page.get_by_role("heading", name="Overview")).to_be_attached()
    watched.context.close()
    watched.check()


def test_the_menu_opens_on_a_phone_without_a_script(browser: Browser, seeded: Any) -> None:
    watched = seeded.watch(browser, size=(390, 844))
    page = watched.open("/")
    expect(page.get_by_role("link", name="Deliveries", exact=True)).not_to_be_visible()
    page.get_by_role("button", name="Menu").click()
    page.get_by_role("link", name="Deliveries", exact=True).click()
    expect(page).to_have_url(f"{seeded.server.url}/deliveries")
    watched.context.close()
    watched.check()
