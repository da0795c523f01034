"""Loading KV against computing it again, and a restart: ratios from one run.

python tests/benchmarks/kv_tiers.py [--tokens 1500] [--threads N]
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np

from roost_inference.config import EngineConfig
from roost_inference.engine import Engine
from roost_inference.kv.block import BLOCK_TOKENS
from roost_inference.loading import load_engine
from roost_inference.request import EngineSession, FinishEvent
from roost_inference.testing.harness import Collector, request

ROUNDS = 5


def ask(engine: Engine, tokens: list[int], count: int = 8, **fields: object) -> FinishEvent:
    heard = Collector()
    wanted = request(tokens, count, ignore_eos=True, **fields)
    engine.submit(wanted, heard)
    return heard.wait(300)


def ttft_ms(event: FinishEvent) -> float:
    assert event.timings.first_token_s is not None
    return event.timings.first_token_s * 1000


def prompt(engine: Engine, count: int, seed: int) -> list[int]:
    rng = np.random.default_rng(seed)
    return [int(t) for t in rng.integers(1000, engine.model.vocabulary_size - 1000, count)]


def settle(engine: Engine) -> None:
    while engine.has_tasks:
        time.sleep(0.005)
    store = engine.store
    assert store is not None and store.flush(30)


def blocks(engine: Engine, tokens: int) -> None:
    """One block from RAM and from disk against computing its tokens."""
    store = engine.store
    assert store is not None
    compute = []
    for seed in range(ROUNDS):
        event = ask(engine, prompt(engine, tokens, seed), 1, session_id=f"b{seed}", cache_salt="b")
        compute.append(ttft_ms(event))
    settle(engine)
    per_block_ms = statistics.median(compute) * BLOCK_TOKENS / tokens
    reads, imports = [], []
    for seed in range(ROUNDS):
        wanted = np.array(prompt(engine, tokens, seed), np.int32)
        for part in store.walk(store.root("b"), wanted):
            if part.used < BLOCK_TOKENS:
                continue
            tier = store._io.lower["disk"].tier
            started = time.perf_counter()
            tier.read(part.node.head)
            reads.append((time.perf_counter() - started) * 1000)
        engine.session_control.offload(EngineSession(f"b{seed}", "b"))
        event = ask(engine, prompt(engine, tokens, seed), 1, session_id=f"b{seed}", cache_salt="b")
        loaded = int(str(event.kv["loaded_tokens"]))
        imports.append(float(str(event.kv["load_ms"])) * BLOCK_TOKENS / loaded)
    ram, disk = statistics.median(imports), statistics.median(reads) + statistics.median(imports)
    print(f"block of {BLOCK_TOKENS}: computed {per_block_ms:.1f} ms")
    for name, ms in (("RAM", ram), ("disk", disk)):
        print(f"  from {name} {ms:.2f} ms, {per_block_ms / ms:.0f}x faster")


def restart(config: EngineConfig, folder: Path, tokens: int) -> None:
    """The first turn after a restart, loaded against computed."""
    loaded, computed = [], []
    for seed in range(100, 100 + ROUNDS):
        engine = load_engine(config, folder)
        text = prompt(engine, tokens, seed)
        ask(engine, text, 8, session_id="r")
        engine.close()
        engine = load_engine(config, folder)
        again = [*text, *prompt(engine, 16, seed + 1)]
        event = ask(engine, again, 8, session_id="r")
        loaded.append(ttft_ms(event))
        assert event.usage.cached_tokens > tokens - 20, event
        computed.append(ttft_ms(ask(engine, again, 8, cache_salt="cold")))
        engine.close()
    a, b = statistics.median(loaded), statistics.median(computed)
    print(f"first turn after a restart, {tokens} tokens: {a:.0f} ms loaded, {b:.0f} ms computed "
          f"({b / a:.1f}x)")  # fmt: skip


def sessions(config: EngineConfig, folder: Path) -> None:
    """12 sessions x 4 turns, 4 at once: 600 shared tokens, 250 a tool result, 32 out."""
    engine = load_engine(config, folder)
    shared = prompt(engine, 600, 1)
    texts = {n: [*shared, *prompt(engine, 60, 1000 + n)] for n in range(12)}
    prompt_tokens = cached = 0
    later = []
    started = time.monotonic()
    for turn in range(4):
        for group in range(0, 12, 4):
            heard = {}
            for n in range(group, group + 4):
                heard[n] = Collector()
                wanted = request(texts[n], 32, session_id=str(n), ignore_eos=True)
                engine.submit(wanted, heard[n])
            for n, listener in heard.items():
                event = listener.wait(300)
                prompt_tokens += event.usage.prompt_tokens
                cached += event.usage.cached_tokens
                if turn:
                    later.append(ttft_ms(event))
                texts[n] = [*texts[n], *listener.tokens, *prompt(engine, 250, turn * 100 + n)]
    elapsed_s = time.monotonic() - started
    assert engine.store is not None
    moves = dict(engine.store.figures.moves)
    engine.close()
    print(f"12 sessions x 4 turns in {config.context_length} cells: cached share "
          f"{cached / prompt_tokens:.3f} of {prompt_tokens} prompt tokens, later-turn TTFT p50 "
          f"{statistics.median(later):.0f} ms, {elapsed_s:.1f} s; moves {moves}")  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tokens", type=int, default=1500)
    parser.add_argument("--threads", type=int, default=None)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        config = EngineConfig(context_length=8192, threads=options.threads)
        engine = load_engine(config, folder)
        blocks(engine, options.tokens)
        engine.close()
        restart(config, folder, options.tokens)
        for cells in (16384, 4096):
            (folder / f"kv{cells}").mkdir()
            small = EngineConfig(context_length=cells, threads=options.threads, kv_disk=0)
            sessions(small, folder)


if __name__ == "__main__":
    main()
