"""Search finds what was said, literally and in any case, newest first, a page at a time."""

import pytest

from roost_platform.db.stores import Stores
from roost_platform.testing.chats import Person
from roost_platform.views.faults.search import FOUND_MAX, SearchResult, excerpt_of, search


async def found(stores: Stores, text: str, before: str = "") -> SearchResult:
    async with stores.database.read() as session:
        return await search(session, text, before)


@pytest.mark.parametrize(
    ("said", "asked"),
    [
        ("The Harbour at night", "harbour NIGHT"),
        ("ÄRGER im Büro", "ärger"),
        ("ärger im Büro", "ÄRGER"),
        ("100% sure_thing", "100%"),
        (r"a \d+ b", r"\d+"),
        ('it\'s "quoted"', "it's"),
    ],
)
async def test_words_are_found_literally_in_any_case(ada: Person, said: str, asked: str) -> None:
    await ada.says(said, "something else")
    await ada.turn()
    (one,) = (await found(ada.stores, asked)).found
    assert (one.role, one.author, one.waits) == ("user", "Ada", "")
    assert one.before + one.match + one.after == said
    assert one.match.lower() == asked.split()[0].lower()
    assert one.session_number == 1 and one.href.endswith("?number=1&before=1")


@pytest.mark.parametrize("asked", ["_", "%", "%%", "a", "", "   ", "surething"])
async def test_signs_of_patterns_mean_themselves_and_too_little_finds_nothing(
    ada: Person, asked: str
) -> None:
    await ada.says("sure thing", "another")
    await ada.turn()
    assert (await found(ada.stores, asked)).found == ()


async def test_answers_are_found_and_what_no_turn_took_once(ada: Person) -> None:
    await ada.says("where is the zebra")
    turn = await ada.turn()
    await ada.says("zebra still waits")
    await ada.agent_says(turn, 1, "The zebra is here.")
    result = await found(ada.stores, "zebra")
    assert [(one.role, one.waits) for one in result.found] == [
        ("assistant", ""),
        ("user", "pending"),
        ("user", ""),
    ]


async def test_pages_go_on_to_the_oldest_without_a_gap(ada: Person) -> None:
    count = FOUND_MAX * 2 + 5
    for number in range(0, count, 5):
        await ada.says(*(f"needle {one}" for one in range(number, number + 5)))
    await ada.turn()  # takes a part of them; the others wait
    seen: list[str] = []
    before = ""
    while True:
        result = await found(ada.stores, "needle", before)
        assert len(result.found) <= FOUND_MAX
        seen += [one.match + one.after for one in result.found]
        before = result.older
        if not before:
            break
    assert sorted(seen) == sorted(f"needle {number}" for number in range(count))


def test_an_excerpt_is_bounded_and_on_one_line() -> None:
    before, match, after = excerpt_of("x" * 500 + "\nneedle\n" + "y" * 500, ["Needle"])
    assert match == "needle" and before.startswith("…") and after.endswith("…")
    assert len(before + match + after) < 260 and "\n" not in before + after
    assert excerpt_of("İstanbul needle", ["needle"])[1] == "needle"
