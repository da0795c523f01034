"""Each state and number that a page shows is that of the database, in every state."""

import pytest

from roost_platform.console.rendering import NOTHING
from roost_platform.testing.console import seed
from roost_platform.testing.console.page_text import PageText
from roost_platform.testing.console.reader import Reader
from roost_platform.testing.console.states import (
    DELIVERIES,
    SESSIONS,
    add_deliveries,
    add_sessions,
)
from roost_platform.views.deliveries import STATES as DELIVERY_STATES
from roost_platform.views.states import RUNNING_PHASES, STATES

WORDS = {
    "queued": "Queued",
    "thinking": "Thinking",
    "tool": "Using a tool",
    "answering": "Answering",
    "unreachable": "Model not reachable",
    "pending": "Message waits",
    "held": "Wants in",
    "failed": "Failed",
    "stopped": "Stopped",
    "idle": "Idle",
}
TICKS = {"pending": "on its way"}
FAILED_PARTS = "SELECT outbox_id FROM parts WHERE state IN ('failed', 'expired')"
DOUBTFUL = (
    "SELECT outbox_id FROM parts WHERE state = 'ambiguous'"
    " OR (state = 'failed' AND reason_code = 'outcome_unknown')"
)
UNCERTAIN = f"SELECT count(*) FROM outbox WHERE id IN ({DOUBTFUL})"
FAILED = (
    f"SELECT count(*) FROM outbox WHERE (state = 'failed' OR id IN ({FAILED_PARTS}))"
    f" AND id NOT IN ({DOUBTFUL})"
)


def test_a_session_has_one_state_in_the_list_its_filters_and_its_page(reader: Reader) -> None:
    ids = reader.server.run(add_sessions(reader.server.stores, reader.now))
    listed = reader.page("/sessions")
    shown_in = {
        state: {row["id"] for row in reader.json(f"/sessions.json?state={state}")["list"]["rows"]}
        for state in STATES
    }
    for name, case in SESSIONS.items():
        word, href = WORDS[case.word], f"/sessions/{ids[name]}"
        page = reader.page(href)
        assert listed.row_of(href).text.startswith(word), name
        assert f" {word} " in f" {page.by_id['session-head']} ", name
        assert ("Stop" in page.by_id["session-head"].split()) == (case.word in RUNNING_PHASES), name
        homes = {"running" if case.word in RUNNING_PHASES else case.word}
        assert {state for state in STATES if ids[name] in shown_in[state]} == homes, name
        for query in ("", "?number=1") if case.renewed else ("",):
            _facts_are_of_the_session(reader, ids[name], query)
    over = reader.page(f"/sessions/{ids['renewed']}?number=1")
    assert "Over" in over.by_id["session-head"]


def _facts_are_of_the_session(reader: Reader, id: str, query: str) -> None:
    page = reader.page(f"/sessions/{id}{query}")
    of = (
        "SELECT id FROM sessions WHERE conversation_id = :id AND number = 1"
        if query
        else "SELECT session_id FROM conversations WHERE id = :id"
    )
    turns = reader.sql(f"SELECT count(*) FROM turns WHERE session_id = ({of})", id=id)
    steps = f"turn_steps s JOIN turns t ON t.id = s.turn_id WHERE t.session_id = ({of})"
    tokens = reader.sql(f"SELECT coalesce(sum(s.completion_tokens), 0) FROM {steps}", id=id)
    read = reader.sql(f"SELECT coalesce(sum(s.prompt_tokens), 0) FROM {steps}", id=id)
    everything = reader.sql("SELECT turn_count FROM conversations WHERE id = :id", id=id)
    facts = page.by_id["facts"].replace("\u202f", "")
    assert f"Turns {turns} " in facts
    assert (f"of {everything} in all sessions" in facts) == (everything > turns)
    assert f"Written {tokens} tokens" in facts
    assert f"Read {read} tokens" in facts
    if not query:
        row = reader.page("/sessions").row_of(f"/sessions/{id}").text
        assert f" concierge {turns} {tokens} " in f" {row} "


def test_a_message_has_one_state_on_every_page_and_says_what_comes_next(reader: Reader) -> None:
    conversation, ids = reader.server.run(add_deliveries(reader.server.stores, reader.now))
    listed = reader.page("/deliveries")
    session = reader.page(f"/sessions/{conversation}")
    shown_in = {
        state: {row["id"] for row in reader.json(f"/deliveries.json?state={state}")["list"]["rows"]}
        for state in DELIVERY_STATES
    }
    for name, case in DELIVERIES.items():
        href = f"/deliveries/{ids[name]}"
        row, page = listed.row_of(href).text, reader.page(href)
        assert row.startswith(case.word.capitalize()), name
        sent = sum(part.state == "sent" for part in case.parts)
        assert f" notice {sent}/{len(case.parts)} " in row, name
        head = page.by_id["delivery"].partition("Parts")[0]
        assert f" {case.word.capitalize()} " in head, name
        assert case.says in page.by_id["delivery"], name
        assert " ago" not in page.by_id["delivery"].partition("try")[2].split(".")[0], name
        assert ("Send again" in head) == (case.word in ("failed", "uncertain")), name
        assert ("It arrived" in head) == (case.word == "uncertain"), name
        tick = TICKS.get(case.word, case.word)
        assert f"I am {name}. {tick}" in session.by_id["transcript"], name
        home = "sent" if case.word in ("delivered", "read") else case.word
        assert {state for state in DELIVERY_STATES if ids[name] in shown_in[state]} == {home}, name
    for part in reader.json(f"/deliveries/{ids['held']}.json")["delivery"]["parts"]:
        assert part["held"]


@pytest.mark.parametrize("action", ["redrive", "confirm"])
def test_what_a_message_offers_works_in_each_state_that_offers_it(
    reader: Reader, action: str
) -> None:
    _, ids = reader.server.run(add_deliveries(reader.server.stores, reader.now))
    offers = f'action="/deliveries/{{id}}/{action}"'
    for name, id in ids.items():
        html = reader.http.get(f"/deliveries/{id}").text
        is_offered = offers.format(id=id) in html
        answer = reader.http.post(f"/deliveries/{id}/{action}")
        assert answer.status_code in ((303,) if is_offered else (303, 422)), name
        state = reader.json(f"/deliveries/{id}.json")["delivery"]["row"]["state"]
        if is_offered:
            assert state == ("pending" if action == "redrive" else state), name
            assert state not in ("failed", "uncertain"), name
        else:
            assert state == DELIVERIES[name].word, name


LABELS = {
    "tile-active": "Active sessions",
    "tile-queue": "Messages waiting",
    "tile-failed": "Deliveries failed",
    "tile-people": "People waiting",
    "tile-turns": "Turns per minute",
    "tile-speed": "Tokens per second",
}


def tile(page: PageText, id: str) -> str:
    """The figure after a tile's label."""
    return page.by_id[id].removeprefix(LABELS[id]).split()[0]


def test_the_numbers_of_the_overview_are_counts_of_rows(reader: Reader) -> None:
    server, now = reader.server, reader.now
    for build in (None, seed, add_sessions, add_deliveries):
        if build is not None:
            server.run(build(server.stores, now))
        page = reader.page("/")
        counts = {
            "tile-active": "SELECT count(*) FROM turns WHERE state = 'running'",
            "tile-queue": "SELECT count(*) FROM inbox WHERE state = 'pending'",
            "tile-failed": FAILED,
            "tile-people": "SELECT count(*) FROM identities WHERE access = 'pending'",
        }
        for id, query in counts.items():
            assert str(reader.sql(query)) == tile(page, id), id
        uncertain = reader.sql(UNCERTAIN)
        assert (f"{uncertain} uncertain" in page.by_id["tile-failed"]) == (uncertain > 0)
        finished = "SELECT count(*) FROM turns WHERE finished_at > :since"
        rate = reader.sql(finished, since=reader.now - 300) / 5
        assert tile(page, "tile-turns") == f"{rate:.1f}"
        written = "SELECT {} FROM turn_steps WHERE created_at > :since AND duration_s > 0"
        speed = "sum(completion_tokens) / sum(duration_s)"
        per_second = reader.sql(written.format(speed), since=reader.now - 300)
        shown = tile(page, "tile-speed")
        assert shown == (NOTHING if per_second is None else f"{per_second:.0f}")
        head = reader.page("/deliveries").by_id["delivery-head"]
        assert (f"{uncertain} uncertain" in head) == (uncertain > 0)
        failed = reader.sql(FAILED)
        assert (f"Send {failed} failed again" in head) == (failed > 0)


QUIET = "Nothing to do"
BEAT = (
    "INSERT INTO service_heartbeats (service, pid, version, started_at, seen_at, detail)"
    " VALUES (:name, 1, '1', :now, :now, '{}')"
)
ACCOUNT = (
    "INSERT INTO channel_states (channel, account, state, detail, name, updated_at)"
    " VALUES (:channel, :account, :state, :detail, '', :now)"
)
PERSON = (
    "INSERT INTO identities (id, display_name, access, created_at, decided_by, decided_by_policy)"
    " VALUES ('eve', 'Eve', 'pending', :now, '', false)"
)


def test_there_is_nothing_to_do_only_while_everything_works(reader: Reader) -> None:
    now = reader.now

    def attention() -> str:
        return reader.page("/").by_id["attention"]

    assert "Worker is down" in attention() and QUIET not in attention()
    for name in ("worker", "courier", "web"):
        reader.change(BEAT, name=name, now=now + 3600)
    assert QUIET in attention()
    reader.change(ACCOUNT, channel="telegram", account="42", state="up", detail="", now=now)
    assert QUIET in attention()
    reader.change("UPDATE channel_states SET state = 'degraded', detail = 'The `wire` is cut.'")
    assert "Telegram 42: degraded The wire is cut." in attention()
    assert "<code>wire</code>" in reader.http.get("/").text
    reader.change("UPDATE channel_states SET state = 'up', detail = ''")
    reader.change(PERSON, now=now)
    assert "Eve" in attention() and QUIET not in attention()
    reader.change("DELETE FROM identities")
    says = {"stalled": "1 message waits to leave", "failed": "why failed", "expired": "why expired"}
    says |= dict.fromkeys(("doubt", "settling"), "Nobody knows whether it arrived")
    says |= {"refused": "why refused", "broken": "Delivery failed"}
    for name in DELIVERIES:
        reader.server.run(add_deliveries(reader.server.stores, now, (name,)))
        assert says.get(name, QUIET) in attention(), name
        assert (QUIET in attention()) == (name not in says), name
        for table in ("parts", "outbox"):
            reader.change(f"DELETE FROM {table}")


CHANNEL_WORDS = {
    "up": "Connected",
    "starting": "Starting",
    "degraded": "Degraded",
    "conflict": "Conflict",
    "auth_error": "Refused",
    "paused": "Paused",
}


def test_an_account_is_connected_only_while_it_is_configured_and_its_process_runs(
    reader: Reader,
) -> None:
    now = reader.now
    reader.change(BEAT, name="courier", now=now + 3600)
    reader.change(ACCOUNT, channel="telegram", account="42", state="up", detail="", now=now)
    reader.change(ACCOUNT, channel="telegram", account="7", state="up", detail="", now=now)

    def card(label: str) -> str:
        text = reader.page("/channels").by_id["channel-cards"]
        return text[text.index(f" {label} ") :].partition("Last in")[0]

    for state, word in CHANNEL_WORDS.items():
        reader.change("UPDATE channel_states SET state = :state", state=state)
        assert word in card("42"), state
        assert "Not configured" in card("7") and "Not in the settings any more" in card("7")
        strip = reader.page("/").by_id["health"]
        assert f"Telegram 42 : {word}" in strip and "Telegram 7" not in strip
    reader.change("UPDATE channel_states SET state = 'up'")
    reader.change("UPDATE service_heartbeats SET seen_at = :at", at=now - 60)
    assert "Down" in card("42") and "Connected" not in reader.page("/channels").text
    assert "courier : down" in reader.page("/").by_id["health"]
    assert "Telegram 42 : Down" in reader.page("/").by_id["health"]


@pytest.mark.parametrize("path", ["/sessions", "/deliveries", "/people", "/audit"])
def test_an_empty_search_is_not_an_empty_database(reader: Reader, path: str) -> None:
    first_use = reader.page(path).text if path != "/audit" else ""
    reader.server.run(seed(reader.server.stores, reader.now))
    found = reader.page(f"{path}?q=nothing-like-it").text
    assert "None fits this search and filter." in found and "Show all" in found
    assert "appears here" not in found
    assert "None fits" not in first_use
    assert "None fits" not in reader.page(path).text


def test_two_accounts_of_one_channel_are_told_apart_everywhere(reader: Reader) -> None:
    ids = reader.server.run(seed(reader.server.stores, reader.now))
    second = "whatsapp:+15550009999"
    alone = reader.page("/sessions").row_of(f"/sessions/{ids['alan']}").text
    assert "+15550001000" not in alone
    reader.change(ACCOUNT, channel="whatsapp", account=second, state="up", detail="", now=1.0)
    for path, id in (
        ("/sessions", "main"),
        (f"/sessions/{ids['alan']}", "session-head"),
        ("/deliveries", "delivery-list"),
        (f"/deliveries/{ids['failed']}", "delivery"),
        ("/people", "people-list"),
        ("/", "attention"),
        ("/", "health"),
        ("/channels", "channel-cards"),
    ):
        assert "+15550001000" in reader.page(path).by_id[id], path
    assert "+15550009999" in reader.page("/channels").by_id["channel-cards"]
