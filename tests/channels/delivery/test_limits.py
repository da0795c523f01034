"""Token buckets of accounts and chats, and the waits that providers ask for."""

from dataclasses import replace

import pytest

from roost_channels.delivery.limits import BUCKETS_MAX, Limiter
from roost_channels.message import Address
from roost_channels.telegram.channel import CAPABILITIES as TELEGRAM

ADDRESS = Address("telegram", "42", "7")


def test_a_chat_has_a_burst_and_then_its_pace() -> None:
    limiter = Limiter(chat_burst=3)
    for _ in range(3):
        assert limiter.wait_s(ADDRESS, TELEGRAM, "send", 100.0) == 0
        limiter.take(ADDRESS, TELEGRAM, "send", 100.0)
    assert limiter.wait_s(ADDRESS, TELEGRAM, "send", 100.0) == pytest.approx(1.0)
    assert limiter.wait_s(ADDRESS, TELEGRAM, "send", 101.0) == 0
    other = replace(ADDRESS, chat="8")
    assert limiter.wait_s(other, TELEGRAM, "send", 100.0) == 0


def test_a_learned_wait_stops_every_family_of_that_chat_only() -> None:
    limiter = Limiter()
    limiter.learn(ADDRESS, 30.0, 100.0)
    limiter.learn(ADDRESS, 5.0, 100.0)
    for family in ("send", "edit", "typing", "delete"):
        assert limiter.wait_s(ADDRESS, TELEGRAM, family, 110.0) == pytest.approx(20.0)
    assert limiter.wait_s(replace(ADDRESS, chat="8"), TELEGRAM, "send", 110.0) == 0


def test_a_clock_that_is_set_back_makes_no_wait_longer() -> None:
    limiter = Limiter()
    limiter.learn(ADDRESS, 30.0, 1000.0)
    assert limiter.wait_s(ADDRESS, TELEGRAM, "send", 100.0) == pytest.approx(30.0)
    assert limiter.wait_s(ADDRESS, TELEGRAM, "send", 120.0) == pytest.approx(10.0)
    limiter.learn(ADDRESS, 5.0, 120.0)
    assert limiter.wait_s(ADDRESS, TELEGRAM, "send", 120.0) == pytest.approx(10.0)
    assert limiter.wait_s(ADDRESS, TELEGRAM, "send", 130.0) == 0


def test_an_account_has_a_rate_over_all_its_chats() -> None:
    limiter = Limiter(account_rate=10)
    chats = [replace(ADDRESS, chat=str(n)) for n in range(11)]
    for chat in chats[:10]:
        limiter.take(chat, TELEGRAM, "send", 100.0)
    assert limiter.wait_s(chats[10], TELEGRAM, "send", 100.0) == pytest.approx(0.1)


def test_progress_leaves_half_of_an_accounts_calls_to_answers() -> None:
    limiter = Limiter(account_rate=10)
    chats = [replace(ADDRESS, chat=str(n)) for n in range(7)]
    for chat in chats[:6]:
        limiter.take(chat, TELEGRAM, "send", 100.0)
    assert limiter.wait_s(chats[6], TELEGRAM, "send", 100.0) == 0
    for family in ("send", "edit", "typing", "delete"):
        wait_s = limiter.wait_s(chats[6], TELEGRAM, family, 100.0, gives_way=True)
        assert wait_s == pytest.approx(0.1)


def test_buckets_are_bounded() -> None:
    limiter = Limiter()
    for n in range(BUCKETS_MAX + 10):
        limiter.learn(replace(ADDRESS, chat=str(n)), 1.0, 0.0)
        limiter.wait_s(replace(ADDRESS, chat=str(n)), TELEGRAM, "send", 0.0)
    assert len(limiter._buckets) == BUCKETS_MAX == len(limiter._blocked)
