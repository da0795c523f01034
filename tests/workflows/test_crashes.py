"""kill -9 of the worker at any point: answered once after a restart, effects by their class."""

import asyncio
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import pytest

from roost_inference.testing.scripted import ScriptedEngine
from roost_workflows.policies import TOOL_ATTEMPTS_MAX, WORKER_DEATHS_MAX
from roost_workflows.testing import MemoryStore, StoredTurn, serve_store
from roost_workflows.testing.lab import Lab, open_lab

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
ROOTS = ("platform", "channels", "workflows", "inference")
RECOVERY_S = 45  # heartbeat time-out 5 s, sticky queue 2 s, and a loaded machine


class Workers:
    """Starts and kills worker processes over one lab."""

    def __init__(self, lab: Lab, address: str, folder: Path) -> None:
        self._lab = lab
        self._address = address
        self._folder = folder
        self._processes: list[subprocess.Popen[bytes]] = []
        self.gate = folder / "gate"
        self._log = folder / "log"
        lab.store.agent = "crasher"
        # A socket's path has to be short; multiprocessing removes it at exit.
        self._socket = Path("/tmp") / f"roost-{uuid4().hex[:12]}"
        serve_store(lab.store, self._socket)

    def lines(self, word: str) -> list[str]:
        text = self._log.read_text() if self._log.exists() else ""
        return [line for line in text.splitlines() if line.startswith(word)]

    async def start(self) -> subprocess.Popen[bytes]:
        ups = len(self.lines("up"))
        command = [sys.executable, str(HERE / "crash_worker.py"), self._address, self._lab.queue]
        command += [self._lab.engine.base_url, str(self._socket), str(self._log), str(self.gate)]
        path = os.pathsep.join(str(ROOT / root) for root in ROOTS)
        with (self._folder / "output").open("ab") as output:
            process = subprocess.Popen(
                command,
                env={**os.environ, "PYTHONPATH": path},
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        self._processes.append(process)
        await self._lab.until(lambda: len(self.lines("up")) > ups)
        return process

    def kill(self, process: subprocess.Popen[bytes]) -> None:
        process.kill()
        process.wait()

    def end(self) -> None:
        for process in self._processes:
            if process.poll() is None:
                self.kill(process)


@dataclass(frozen=True)
class Aftermath:
    """What one kill -9 left of conversations that were each in another place."""

    store: MemoryStore
    engine: ScriptedEngine
    lines: list[str]

    def turn(self, talk: str) -> StoredTurn:
        (turn,) = self.store.turns(talk)
        return turn

    def runs(self, talk: str) -> list[str]:
        return [line for line in self.lines if line.startswith("run") and f" {talk}-" in line]

    def result(self, talk: str) -> tuple[str, str]:
        message = next(m for m in self.store.transcript(talk) if m.role == "tool")
        return message.status, message.content


TOOLS = {
    "pure": "pure",
    "idempotent": "idempotent",
    "happened": "verifiable",
    "undone": "verifiable",
    "unsafe": "unsafe",
    "stopped": "idempotent",
    "deadly": "pure",
}


async def crash(address: str, folder: Path) -> Aftermath:
    async with open_lab(address) as lab:
        workers = Workers(lab, address, folder)
        try:
            first = await workers.start()
            for talk, effect in TOOLS.items():
                await lab.say(talk, f"[[tool:{effect}_work {{}}]]")
            await lab.say("model", "[[slow:40]]")
            await lab.until(lambda: len(workers.lines("run")) == len(TOOLS))
            await lab.until(lambda: lab.engine.running == 1)
            workers.kill(first)
            await lab.stop("stopped")
            deadly = lab.store.turns("deadly")[0].steps[1].calls
            next(iter(deadly.values())).attempts = TOOL_ATTEMPTS_MAX  # it died so often before
            workers.gate.with_name("gate.happened").write_text("happened")
            workers.gate.touch()
            await workers.start()
            for talk in (*TOOLS, "model"):
                await lab.turn(talk, patience_s=RECOVERY_S)
                await lab.closed(talk)
            return Aftermath(lab.store, lab.engine, workers.lines(""))
        finally:
            workers.end()


@pytest.fixture(scope="module")
def aftermath(temporal_address: str, tmp_path_factory: pytest.TempPathFactory) -> Aftermath:
    """One crash for all claims about it: noticing a dead worker takes seconds."""
    return asyncio.run(crash(temporal_address, tmp_path_factory.mktemp("crash")))


def test_killed_in_a_model_call_the_message_is_answered_once(aftermath: Aftermath) -> None:
    assert aftermath.turn("model").state == "done"
    assert [sent.text[-6:] for sent in aftermath.store.outbox("model")] == ["word40"]
    roles = [message.role for message in aftermath.store.transcript("model")]
    assert roles == ["user", "assistant"]


def test_r28_every_conversation_of_the_dead_worker_gets_one_last_word(aftermath: Aftermath) -> None:
    assert [len(aftermath.store.outbox(talk)) for talk in TOOLS] == [1] * len(TOOLS)


def test_r25_killed_in_an_unsafe_tool_it_is_not_repeated_and_called_unknown(
    aftermath: Aftermath,
) -> None:
    assert len(aftermath.runs("unsafe")) == 1
    status, text = aftermath.result("unsafe")
    assert status == "unknown"
    assert "Do not repeat it" in text
    told = [body for body in aftermath.engine.requests if "[outcome unknown]" in str(body)]
    assert len(told) == 1


@pytest.mark.parametrize("effect", ["pure", "idempotent"])
def test_killed_in_a_repeatable_tool_it_runs_again_with_the_same_key(
    aftermath: Aftermath, effect: str
) -> None:
    runs = [line.split() for line in aftermath.runs(effect)]
    assert [run[-1] for run in runs] == ["1", "2"]
    assert runs[0][2] == runs[1][2]
    assert aftermath.result(effect) == ("ok", f"{effect} done")


def test_killed_in_a_verifiable_tool_it_is_checked_and_not_repeated_if_it_happened(
    aftermath: Aftermath,
) -> None:
    assert len(aftermath.runs("happened")) == 1
    assert aftermath.result("happened") == ("ok", "found it done")


def test_killed_in_a_verifiable_tool_it_runs_again_if_it_did_not_happen(
    aftermath: Aftermath,
) -> None:
    assert len(aftermath.runs("undone")) == 2
    assert aftermath.result("undone") == ("ok", "verifiable done")
    assert len([line for line in aftermath.lines if line.startswith("check")]) == 2


def test_r22_a_stop_while_no_worker_lives_holds_after_the_restart(aftermath: Aftermath) -> None:
    assert aftermath.turn("stopped").state == "stopped"
    assert len(aftermath.runs("stopped")) == 1
    assert aftermath.result("stopped")[0] == "unknown"


def test_a_tool_that_ends_its_worker_every_time_is_given_up(aftermath: Aftermath) -> None:
    """Storage counts the attempts, so the bound holds however the workers died."""
    assert len(aftermath.runs("deadly")) == 1
    status, text = aftermath.result("deadly")
    assert status == "error"
    assert f"died {TOOL_ATTEMPTS_MAX} times" in text


async def test_r29_an_orderly_restart_in_a_model_call_loses_nothing(
    lab: Lab, temporal_address: str, tmp_path: Path
) -> None:
    workers = Workers(lab, temporal_address, tmp_path)
    try:
        first = await workers.start()
        await lab.say("orderly", "[[slow:40]]")
        await lab.until(lambda: lab.engine.running == 1)
        first.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(first.wait, 20) == 0
        assert workers.lines("down") == ["down"]
        assert lab.store.turns("orderly")[0].state == "running"
        await workers.start()
        turn = await lab.turn("orderly", patience_s=RECOVERY_S)
        assert turn.state == "done"
        assert len(lab.store.outbox("orderly")) == 1
    finally:
        workers.end()


async def test_r28_a_turn_that_killed_its_worker_twice_is_given_up_and_told(
    lab: Lab, temporal_address: str, tmp_path: Path
) -> None:
    """Those that only waited meanwhile, for a tool or for the model, are not blamed."""
    workers = Workers(lab, temporal_address, tmp_path)
    try:
        for death in range(WORKER_DEATHS_MAX):
            worker = await workers.start()
            if death == 0:
                await lab.say("patient", "[[tool:pure_work {}]]")
                await lab.until(lambda: len(workers.lines("run pure")) == 1)
                await lab.say("reader", "[[slow:600]]")
                await lab.until(lambda: lab.engine.running == 1)
                await lab.say("fatal", "[[tool:fatal_work {}]]")
            code = await asyncio.to_thread(worker.wait, RECOVERY_S)
            assert code == -signal.SIGKILL
        await workers.start()
        turn = await lab.turn("fatal", patience_s=RECOVERY_S)
        assert (turn.state, turn.reason) == ("failed", "worker_died")
        assert len(workers.lines("run fatal")) == WORKER_DEATHS_MAX
        (told,) = lab.store.outbox("fatal")
        assert told.text.startswith("I broke down over this message")
        await lab.closed("fatal")
        for talk in ("patient", "reader"):
            assert lab.store.turns(talk)[0].record.worker_deaths == 0
        workers.gate.touch()
        assert (await lab.turn("patient", patience_s=RECOVERY_S)).state == "done"
        await lab.stop("reader")
        assert (await lab.turn("reader", patience_s=RECOVERY_S)).state == "stopped"
        await lab.say("fatal", "hello again")
        assert (await lab.turn("fatal", 2, patience_s=RECOVERY_S)).state == "done"
    finally:
        workers.end()
