"""Keys by the command line, through a running stack: made, used, listed, rotated, revoked."""

import json
from typing import Any

import httpx2

from roost_platform.testing import World

HELLO = {
    "model": "roost/scripted",
    "messages": [{"role": "user", "content": "[[say:Hello there]]"}],
    "max_tokens": 5,
}


def keys(world: World, *arguments: str) -> Any:
    """A command of `roost keys`, as JSON."""
    done = world.stack.cli("keys", *arguments, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def call(world: World, secret: str) -> httpx2.Response:
    headers = {"authorization": f"Bearer {secret}"}
    url = f"{world.stack.url}/v1/chat/completions"
    return httpx2.post(url, json=HELLO, headers=headers, timeout=30)


def test_a_key_is_made_used_rotated_and_revoked_by_the_command_line(scripted: World) -> None:
    bounds = ("--budget-tokens", "500", "--per", "day", "--rpm", "100", "--parallel", "4")
    more = ("--models", "roost/scripted, other", "--expires", "30d", "--budget", "$2.50")
    made = keys(scripted, "create", "--name", "laptop", *bounds, *more)
    assert {"id", "key"} <= made.keys()
    answer = call(scripted, made["key"])
    assert answer.status_code == 200, answer.text
    (row,) = (row for row in keys(scripted, "list") if row["id"] == made["id"])
    assert row["spent_tokens"] == answer.json()["usage"]["total_tokens"]
    assert (row["budget"], row["per"], row["in_flight"]) == ("2.5", "day", 0)
    assert row["models"] == ["roost/scripted", "other"]
    shown = scripted.stack.cli("keys", "list")
    assert "laptop" in shown.stdout and made["key"] not in shown.stdout
    kept = keys(scripted, "rotate", "laptop", "--grace", "10m")
    assert [call(scripted, one["key"]).status_code for one in (made, kept)] == [200, 200]
    turned = keys(scripted, "rotate", made["id"])
    statuses = [call(scripted, one["key"]).status_code for one in (made, kept, turned)]
    assert statuses == [401, 401, 200]
    assert keys(scripted, "revoke", "laptop")["state"] == "revoked"
    refused = call(scripted, turned["key"])
    assert (refused.status_code, refused.json()["error"]["code"]) == (401, "key_revoked")


def test_what_can_not_be_a_key_is_told_in_one_line(scripted: World) -> None:
    for arguments, words in (
        (("create", "--name", "x", "--budget", "much"), "budget"),
        (("create", "--name", "x", "--expires", "soon"), "30d"),
        (("create", "--name", "x", "--per", "day"), "budget"),
        (("create", "--name", ""), "name"),
        (("create", "--name", "x", "--models", " , "), "no model"),
        (("revoke", "nobody"), "no key"),
        (("rotate", "nobody", "--grace", "soon"), "10m"),
    ):
        done = scripted.stack.cli("keys", *arguments)
        assert done.returncode != 0 and words in done.stderr, (arguments, done.stderr)
        assert "Traceback" not in done.stderr
