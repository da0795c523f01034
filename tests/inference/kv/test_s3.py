"""The object tier against a real S3 server, straight and through a line that fails."""

import contextlib
import os
import shutil
import socket
import socketserver
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import obstore
import pytest

from roost_inference.kv.block import BLOCK_TOKENS, identity_digest
from roost_inference.kv.store import BlockStore
from roost_inference.kv.tiers.lanes import ThreadLane
from roost_inference.kv.tiers.objects import ObjectTier, open_store
from roost_inference.kv.tiers.tier import TierError

IDENTITY = "toy"
DIGEST = identity_digest(IDENTITY)
SIZE = 300_000
KEY, SECRET = "roost-test", "roost-test-secret"


def free_ports(count: int) -> list[int]:
    """Ports free now, with the one 10,000 above each free as well: gRPC listens there."""
    ports: list[int] = []
    while len(ports) < count:
        with socket.socket() as one, socket.socket() as two:
            one.bind(("127.0.0.1", 0))
            port = one.getsockname()[1]
            try:
                two.bind(("127.0.0.1", port + 10_000))
            except (OSError, OverflowError):
                continue
            ports.append(port)
    return ports


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of a SeaweedFS server with a bucket "roost-kv"."""
    weed = shutil.which("weed", path=str(Path(sys.executable).parent)) or shutil.which("weed")
    assert weed is not None, "install the development requirements"
    folder = tmp_path_factory.mktemp("s3")
    s3, filer, master, volume, admin = free_ports(5)
    command = [
        weed, "mini", f"-dir={folder}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-bucket=roost-kv",
        f"-s3.port={s3}", f"-filer.port={filer}", f"-master.port={master}",
        f"-volume.port={volume}", f"-admin.port={admin}", "-webdav=false", "-s3.iam=false",
        "-s3.port.iceberg=0", "-master.telemetry=false", "-admin.ui=false",
    ]  # fmt: skip
    environment = {**os.environ, "AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": SECRET}
    log = (folder / "log").open("w")
    server = subprocess.Popen(command, stdout=log, stderr=log, env=environment, cwd=folder)
    try:
        wait_for_bucket(s3, server, folder / "log")
        yield s3
    finally:
        server.terminate()
        try:
            server.wait(15)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait(5)
        log.close()


def wait_for_bucket(port: int, server: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            obstore.put(client(port), "ready", b"1")
            return
        except Exception as error:
            assert server.poll() is None, log.read_text()[-2000:]
            assert time.monotonic() < deadline, f"{error}\n{log.read_text()[-2000:]}"
            time.sleep(0.2)


def client(port: int, deadline_s: float = 2.0, prefix: str = "tests") -> Any:
    return open_store(
        f"s3://roost-kv/{prefix}",
        deadline_s,
        {
            "endpoint": f"http://127.0.0.1:{port}",
            "region": "us-east-1",
            "access_key_id": KEY,
            "secret_access_key": SECRET,
            "virtual_hosted_style_request": False,
            "client_options": {"allow_http": True},
        },
    )


class Line:
    """A TCP line to the server that can answer 500, hang, or break in the middle of an answer."""

    def __init__(self, port: int) -> None:
        self.mode = "well"
        line = self

        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                line.serve(self.request, port)

        self.server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.port = int(self.server.server_address[1])
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def serve(self, near: socket.socket, port: int) -> None:
        with socket.create_connection(("127.0.0.1", port)) as far:
            up = threading.Thread(target=self.pump, args=(near, far, False), daemon=True)
            up.start()
            self.pump(far, near, True)
            up.join(5)

    def pump(self, source: socket.socket, target: socket.socket, answers: bool) -> None:
        passed = 0
        try:
            while data := source.recv(16_384):
                if not answers and self.mode == "500":
                    body = b"HTTP/1.1 500 Oops\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
                    source.sendall(body)
                    break
                if not answers and self.mode == "hang":
                    while self.mode == "hang":
                        time.sleep(0.02)
                    break
                target.sendall(data)
                passed += len(data)
                if answers and self.mode == "cut" and passed > SIZE // 10:
                    break
        except OSError:
            pass  # the other side has gone
        for end in (source, target):
            with contextlib.suppress(OSError):  # closed already
                end.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def line(s3: int) -> Iterator[Line]:
    line = Line(s3)
    yield line
    line.mode = "well"
    line.server.shutdown()
    line.server.server_close()


def tokens_of(first: int) -> np.ndarray:
    return (np.arange(3 * BLOCK_TOKENS, dtype=np.int32) + first * 10_000).astype(np.int32)


def payload_of(tokens: np.ndarray) -> np.ndarray:
    return np.resize(np.ascontiguousarray(tokens).view(np.uint8), SIZE)


def fill(store: BlockStore, tokens: np.ndarray) -> None:
    parent = store.root("")
    for start in range(0, len(tokens), BLOCK_TOKENS):
        part = tokens[start : start + BLOCK_TOKENS]
        key = store.put(parent, start, part, payload_of(part), "s")
        assert key is not None
        parent = key


def opened(port: int, prefix: str, deadline_s: float = 2.0) -> BlockStore:
    tier = ObjectTier(client(port, deadline_s, prefix), DIGEST, deadline_s=deadline_s)
    tier.scans_in_background = False
    store = BlockStore(IDENTITY, 2**26, [tier], lane=ThreadLane)
    store.start()
    return store


def load(store: BlockStore, tokens: np.ndarray, deadline_s: float = 2.0) -> int:
    parts = store.walk(store.root(""), tokens)
    nodes = [part.node for part in parts if store.source(part.node, None) is not None]
    store.pin(nodes)
    fetch = store.fetch(nodes, [str(store.source(node, None)) for node in nodes])
    end = time.monotonic() + deadline_s
    while not fetch.done and time.monotonic() < end:
        time.sleep(0.005)
    store.give_up(fetch)
    store.unpin(nodes)
    run = 0
    for node in nodes:
        if node.payload is None:
            break
        assert np.array_equal(node.payload, payload_of(node.head.tokens))
        run += node.head.count
    return run


def test_blocks_survive_in_a_real_bucket(s3: int) -> None:
    first = opened(s3, "survive")
    fill(first, tokens_of(1))
    first.close()
    assert first.usage()["object"][1] == 3
    second = opened(s3, "survive")
    assert load(second, tokens_of(1)) == 3 * BLOCK_TOKENS
    second.close()


@pytest.mark.parametrize("fault", ["500", "hang", "cut"])
def test_a_line_that_fails_costs_a_deadline_and_the_tier_comes_back(line: Line, fault: str) -> None:
    writing = opened(line.port, fault)
    fill(writing, tokens_of(2))
    writing.close()
    store = opened(line.port, fault, deadline_s=1.0)
    line.mode = fault
    assert load(store, tokens_of(2), 1.0) == 0
    deadline = time.monotonic() + 10  # a client's own retries may outlive our patience
    while store.usage()["object"][2] is None and time.monotonic() < deadline:
        time.sleep(0.05)
    assert store.usage()["object"][2] is not None
    node = store.walk(store.root(""), tokens_of(2))[0].node
    assert store.source(node, None) is None, "left alone for a while"
    fill(store, tokens_of(3))  # service goes on without it
    assert load(store, tokens_of(3), 1.0) == 3 * BLOCK_TOKENS
    line.mode = "well"
    deadline = time.monotonic() + 30
    while load(store, tokens_of(2), 5.0) < 3 * BLOCK_TOKENS:
        assert time.monotonic() < deadline, store.usage()
        time.sleep(0.2)
    store.close()


def test_a_wrong_secret_is_a_message_not_a_crash(s3: int) -> None:
    wrong = open_store(
        "s3://roost-kv/x",
        2.0,
        {
            "endpoint": f"http://127.0.0.1:{s3}",
            "region": "us-east-1",
            "access_key_id": KEY,
            "secret_access_key": "wrong",
            "virtual_hosted_style_request": False,
            "client_options": {"allow_http": True},
        },
    )
    with pytest.raises(TierError, match="can't be listed"):
        list(ObjectTier(wrong, DIGEST).scan())
