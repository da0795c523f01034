"""News of SQLite's commits: nobody looks without need, and a commit is seen at once."""

import asyncio
import errno
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.engine import make_url

from roost_platform.db.base import news as news_module
from roost_platform.db.base.engine import Database
from roost_platform.db.base.news import POLL_BUSY_S, POLL_S, FileNews
from roost_platform.db.base.touch_watch import TouchWatch, touch

COMMITS = 200
HEARTBEATS = 20


class CountedNews(FileNews):
    """Counts the looks."""

    def __init__(self, file: Path) -> None:
        super().__init__(make_url(f"sqlite:///{file}"))
        self.looks = 0

    def _look(self) -> int:
        self.looks += 1
        return super()._look()


class NoWatch(TouchWatch):
    """As on a system without inotify."""

    def __init__(self, path: str) -> None:
        raise OSError(errno.ENOSYS, path)


@pytest.fixture
async def file(tmp_path: Path) -> Path:
    return tmp_path / "one.db"


@pytest.fixture
async def news(file: Path) -> AsyncIterator[CountedNews]:
    counted = CountedNews(file)
    yield counted
    await counted.close()


@pytest.fixture
async def writer(file: Path) -> AsyncIterator[Database]:
    database = Database(f"sqlite:///{file}")
    async with database.write() as session:
        await session.execute(text("CREATE TABLE numbers (number)"))
    yield database
    await database.close()


async def add(database: Database, *, is_news: bool = True) -> None:
    async with database.write(is_news=is_news) as session:
        await session.execute(text("INSERT INTO numbers VALUES (1)"))


@pytest.mark.usefixtures("writer")
async def test_who_waits_for_news_looks_at_nothing_until_the_next_beat(news: CountedNews) -> None:
    since = await news.version()
    await asyncio.gather(*(news.wait(since, 20 * POLL_S) for _ in range(20)))
    # One each at both ends, one as the watch began, and one more if a beat came.
    assert news.looks <= 1 + 2 * 20 + 2


async def test_news_end_a_wait_without_any_poll(
    news: CountedNews, writer: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(news_module, "until_beat", lambda: 60.0)
    for _ in range(10):
        since = await news.version()
        waiting = asyncio.create_task(news.wait(since, 60.0))
        await asyncio.sleep(2 * POLL_BUSY_S)
        await add(writer)
        assert await asyncio.wait_for(waiting, 10.0) != since


async def test_commits_that_are_no_news_wake_nobody(news: CountedNews, writer: Database) -> None:
    waiting = asyncio.create_task(news.wait(await news.version(), 0.5))
    await asyncio.sleep(POLL_S)
    before = news.looks
    for _ in range(HEARTBEATS):
        await add(writer, is_news=False)
    await waiting
    assert news.looks <= before + 2  # the wait's own at its end, and a beat


async def test_many_commits_do_not_cost_a_look_each(news: CountedNews) -> None:
    loop = asyncio.get_running_loop()
    waiting = asyncio.create_task(news.wait(await news.version(), 30.0))
    await asyncio.sleep(POLL_S)
    before, began = news.looks, loop.time()
    for _ in range(COMMITS):
        touch(news._path)
        await asyncio.sleep(0)
    looks = news.looks - before
    assert looks <= 1 + (loop.time() - began) / POLL_BUSY_S
    waiting.cancel()
    await asyncio.wait({waiting})


async def test_nobody_looks_while_nobody_waits(news: CountedNews, writer: Database) -> None:
    await news.wait(await news.version(), POLL_BUSY_S)
    before = news.looks
    await add(writer)
    await asyncio.sleep(2 * POLL_S)
    assert news.looks == before
    assert news._timer is None
    since = await news.version()  # what was told meanwhile is no news any more
    before = news.looks
    assert await news.wait(since, POLL_S) == since
    assert news.looks <= before + 3


async def test_a_file_that_cannot_be_watched_is_polled(
    news: CountedNews, writer: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(news_module, "TouchWatch", NoWatch)
    since = await news.version()
    waiting = asyncio.create_task(news.wait(since, 60.0))
    await asyncio.sleep(2 * POLL_S)
    await add(writer)
    assert await asyncio.wait_for(waiting, 10.0) != since
    assert news._watch is None


async def test_a_watch_knows_that_its_file_has_gone(tmp_path: Path) -> None:
    path = tmp_path / "watched"
    path.touch()
    for end in (path.unlink, lambda: path.rename(tmp_path / "renamed")):
        path.touch()
        watch = TouchWatch(str(path))
        assert watch.drain()
        touch(str(path))
        assert watch.drain()
        end()
        assert not watch.drain()
        watch.close()
    with pytest.raises(FileNotFoundError):
        TouchWatch(str(path))
    touch(str(path))
    assert not path.exists()
