"""The Unix socket of an engine: for its own user, bounded, and gone with the engine."""

import json
import socket
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from roost_inference.kv.handover import local
from roost_inference.kv.handover.leases import LeaseState
from roost_inference.kv.handover.local import LocalServer, is_own_socket
from roost_inference.kv.handover.offers import Offers
from roost_inference.kv.handover.peer import PeerSource
from roost_inference.kv.handover.source import SourceError
from roost_inference.kv.handover.transports import PeerAccess
from roost_inference.kv.tiers.lanes import InlineLane
from roost_inference.request import KvOffer, KvPolicy
from roost_inference.testing.harness import (
    Collector,
    FakeClock,
    drive,
    request,
    toy_engine,
    toy_store,
)
from roost_inference.testing.toy import ToyBackend

KEY = "secret"
PROMPT = tuple(b"What is written once is read by two. " * 8)


@pytest.fixture(autouse=True)
def folder(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A short path: a socket's has 107 bytes at most."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        monkeypatch.setattr("tempfile.gettempdir", lambda: folder)
        yield Path(folder)


@pytest.fixture
def offered() -> tuple[Offers, KvOffer]:
    engine = toy_engine(ToyBackend(cells=1024), store=toy_store())
    heard = Collector()
    engine.submit(request(PROMPT, 1, kv=KvPolicy(hands_over=True)), heard)
    drive(engine)
    offer = heard.finish.offer
    assert isinstance(offer, KvOffer) and engine.handover is not None
    return engine.handover.offers, offer


@pytest.fixture
def path(offered: tuple[Offers, KvOffer]) -> Iterator[str]:
    server = LocalServer(offered[0], KEY)
    yield server.start()
    server.close()


def source(offer: KvOffer, path: str, key: str = KEY) -> PeerSource:
    there = KvOffer(
        offer.engine_id, offer.request_id, "203.0.113.1", 1, offer.tokens, "c", 30.0, path
    )
    return PeerSource(
        there, PeerAccess(key), InlineLane(), clock=FakeClock(), block_bytes_max=2**20
    )


def keys_of(offers: Offers) -> list[bytes]:
    return list(offers._store._index.nodes)


def test_blocks_and_signals_go_over_it(offered: tuple[Offers, KvOffer], path: str) -> None:
    offers, offer = offered
    peer = source(offer, path)
    assert len(list(peer.read(keys_of(offers), 60.0))) == len(keys_of(offers)) == 3
    assert peer.name == "unix"
    peer.renew()
    assert offers.state(offer.request_id) is LeaseState.FETCHING
    peer.release()
    assert offers.state(offer.request_id) is LeaseState.DONE
    with pytest.raises(SourceError, match="lease_ended"):
        list(peer.read(keys_of(offers), 60.0))


def test_another_key_and_another_lease_are_refused(
    offered: tuple[Offers, KvOffer], path: str
) -> None:
    offers, offer = offered
    with pytest.raises(SourceError, match="refused"):
        list(source(offer, path, "wrong").read(keys_of(offers), 60.0))
    stranger = KvOffer("e", "kv-unknown", "h", 1, 1, "c", 30.0)
    with pytest.raises(SourceError, match="unknown_lease"):
        list(source(stranger, path).read(keys_of(offers), 60.0))


@pytest.mark.parametrize(
    "sent",
    [b"", b"{}\n", b"[1]\n", b"\xff\n", b"x" * 20_000, b'{"key": "secret", "keys": "x"}\n'],
)
def test_nonsense_gets_no_block_and_harms_nothing(
    offered: tuple[Offers, KvOffer], path: str, sent: bytes
) -> None:
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(10)
        client.connect(path)
        client.sendall(sent)
        client.shutdown(socket.SHUT_WR)
        try:
            answer = client.recv(100)
        except ConnectionResetError:
            answer = b""
        assert answer in (b"", b"refused\n", b"unknown_lease\n")
    offers, offer = offered
    assert list(source(offer, path).read(keys_of(offers)[:1], 60.0))


def test_so_many_readers_are_served_at_once(
    offered: tuple[Offers, KvOffer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local, "CONNECTIONS_MAX", 1)
    offers, offer = offered
    server = LocalServer(offers, KEY)
    path = server.start()
    with socket.socket(socket.AF_UNIX) as holder, socket.socket(socket.AF_UNIX) as refused:
        holder.connect(path)
        refused.settimeout(20)
        refused.connect(path)
        assert refused.recv(1) == b"", "closed at once"
        holder.sendall(json.dumps({"key": KEY, "lease": offer.request_id}).encode() + b"\n")
        assert holder.recv(3) == b"ok\n"
    server.close()


def test_only_sockets_of_this_user_are_opened(folder: Path, path: str) -> None:
    assert is_own_socket(Path(path))
    assert not is_own_socket(Path("/var/run/docker.sock"))
    assert not is_own_socket(Path(path).parent / ".." / Path(path).parent.name / Path(path).name)
    other = Path(path).with_name("other.sock")
    other.symlink_to(path)
    assert not is_own_socket(other)
    link = Path(path).with_name("kv-link.sock")
    link.symlink_to(path)
    assert not is_own_socket(link)
    Path(path).parent.chmod(0o755)
    assert not is_own_socket(Path(path))


def test_it_is_not_opened_in_a_folder_that_others_see(
    folder: Path, offered: tuple[Offers, KvOffer]
) -> None:
    local.socket_folder().mkdir(mode=0o755)
    local.socket_folder().chmod(0o755)
    assert LocalServer(offered[0], KEY).start() == ""


def test_what_killed_engines_left_is_removed(offered: tuple[Offers, KvOffer], path: str) -> None:
    stale = Path(path).with_name("kv-stale.sock")
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(stale))
    assert stale.exists()
    second = LocalServer(offered[0], KEY)
    assert second.start()
    assert not stale.exists() and Path(path).exists(), "the living one stays"
    second.close()


def test_it_goes_with_its_engine(offered: tuple[Offers, KvOffer]) -> None:
    server = LocalServer(offered[0], KEY)
    path = Path(server.start())
    before = threading.active_count()
    server.close()
    server.close()
    assert not path.exists()
    assert threading.active_count() <= before
