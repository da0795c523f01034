"""`roost up`: migrate, then run every process as a supervised child, in one terminal."""

import asyncio
import contextlib
import os
import signal
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from roost_inference.process_environment import launch_environment
from roost_platform.data_folder import running_stack, settings_in_use
from roost_platform.data_folder.engine_key import with_engine_key
from roost_platform.data_folder.process_identity import start_of
from roost_platform.errors import ProcessFailed
from roost_platform.masking import mask
from roost_platform.settings.config import Settings, load_settings
from roost_platform.stack.addresses import (
    Addresses,
    choose_ports,
    sandbox_environment,
    sandbox_secret,
)
from roost_platform.stack.checks.kernels import running, sentence
from roost_platform.stack.dev.reloading import Reloader
from roost_platform.stack.lifeline import SILENCE_MAX_S
from roost_platform.stack.probes import http_probe, tcp_probe
from roost_platform.stack.reporter import LiveReporter, PlainReporter, Reporter, complaints
from roost_platform.stack.supervisor import Bounds, Probe, ProcessSpec, Supervisor

COURIER_SLACK_S = 10.0  # more than its own bound, to settle sends and close
FORCED_EXIT_CODE = 130
# With --dev, code that was saved half-way may crash a part: it waits for the next save.
DEV_BOUNDS = Bounds(backoff_max_s=2.0, early_crashes_max=1000)
SAME_REQUEST_S = 0.5
# The engine does not beat; it is asked. Under heavy load it may answer late, and a restart loses
# its KV cells, so it gets more time.
ENGINE_SILENCE_MAX_S = 120.0


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line asked for."""

    sandbox: bool = False
    headless: bool = False
    verbose: bool = False
    config_file: Path | None = None
    dev: bool = False
    split: bool = False


def up(settings: Settings, options: Options) -> int:
    """Run until Ctrl-C; returns the exit code. Raises ConfigError, AlreadyRunning, PortInUse."""
    running_stack.make_data_dir(settings.data_dir)
    settings = with_engine_key(settings)
    with running_stack.lock(settings.data_dir):
        addresses = choose_ports(settings, sandbox=options.sandbox, split=options.split)
        plain = options.headless or not sys.stderr.isatty()
        reporter = (
            PlainReporter(verbose=options.verbose)
            if plain
            else LiveReporter(verbose=options.verbose)
        )
        try:
            return asyncio.run(_run(settings, options, addresses, reporter))
        finally:
            reporter.close()
            running_stack.clear_run(settings.data_dir)


def environment(settings: Settings, options: Options, addresses: Addresses) -> dict[str, str]:
    """The environment of every child, which wins over ours and over roost.toml."""
    env = {
        "ROOST_DATA_DIR": str(settings.data_dir),
        "ROOST_WEB__PORT": str(addresses.web),
        "PYTHONUNBUFFERED": "1",
    }
    if not settings.engine.url:
        env["ROOST_ENGINE__PORT"] = str(addresses.engine)
        env["ROOST_ENGINE__API_KEY"] = settings.engine.api_key.get_secret_value()
    if addresses.prefill:
        env["ROOST_ENGINE__ROLE"] = "decode"
        env["ROOST_ENGINE__PREFILL_URLS"] = f"http://127.0.0.1:{addresses.prefill}"
    if not settings.temporal.address:
        env["ROOST_TEMPORAL__ADDRESS"] = f"127.0.0.1:{addresses.temporal}"
    if options.config_file is not None:
        env["ROOST_CONFIG"] = str(options.config_file)
    if options.sandbox:
        env |= sandbox_environment(settings, addresses, sandbox_secret(settings.data_dir))
    return env


def plan(settings: Settings, options: Options, addresses: Addresses) -> list[ProcessSpec]:
    """The processes, in the order in which they are started."""
    env = environment(settings, options, addresses)
    run = settings.data_dir / "run"
    run.mkdir(exist_ok=True)

    def part(
        name: str,
        probe: Probe | None = None,
        env: Mapping[str, str] = env,
        *,
        serves: str = "",
        ready_timeout_s: float = 120.0,
        grace_s: float = 15.0,
        silence_max_s: float | None = SILENCE_MAX_S,
        alive: Probe | None = None,
        sections: Sequence[str] | None = None,
    ) -> ProcessSpec:
        command = (sys.executable, "-m", "roost_platform", "serve", serves or name)
        ready_file = run / f"{name}.ready"
        return ProcessSpec(
            *(name, command, ready_file, env, probe, ready_timeout_s, grace_s),
            *(silence_max_s, alive, sections),
        )

    parts = []
    if not settings.temporal.address:
        answers = tcp_probe(addresses.temporal)
        parts.append(
            part(
                *("temporal", answers),
                ready_timeout_s=60.0,
                silence_max_s=None,
                sections=("temporal",),
            )
        )
    if options.sandbox:
        fakes = tuple(kind.section for kind in settings.kinds)
        parts.append(part("sandbox", silence_max_s=None, sections=fakes))
    for name, port, own in _engines(settings, addresses):
        health = f"http://127.0.0.1:{port}/health"
        engine_env = {**env, **own, **launch_environment()}
        parts.append(
            part(
                *(name, http_probe(health), engine_env),
                serves="engine",
                ready_timeout_s=600.0,
                grace_s=20.0,
                silence_max_s=ENGINE_SILENCE_MAX_S,
                alive=http_probe(health, any_status=True),
                sections=("engine",),
            )
        )
    parts.append(part("worker", grace_s=20.0))
    # It waits for sends that are under way. Killed earlier, it would leave them in doubt.
    parts.append(part("courier", grace_s=settings.delivery.shutdown_s + COURIER_SLACK_S))
    parts.append(part("web", grace_s=8.0))
    return parts


def _engines(
    settings: Settings, addresses: Addresses
) -> Iterator[tuple[str, int, Mapping[str, str]]]:
    """The engines to run: their names, ports, and the settings that only one of them has."""
    if not settings.engine.url:
        yield "engine", addresses.engine, {}
    if addresses.prefill:
        port = addresses.prefill
        yield "prefill", port, {"ROOST_ENGINE__ROLE": "prefill", "ROOST_ENGINE__PORT": str(port)}


def migration(settings: Settings, options: Options, addresses: Addresses) -> ProcessSpec:
    """The child that brings the database's tables up to date."""
    command = (sys.executable, "-m", "roost_platform", "migrate")
    env = environment(settings, options, addresses)
    return ProcessSpec("migrate", command, settings.data_dir / "run" / "migrate.ready", env)


async def _run(
    settings: Settings, options: Options, addresses: Addresses, reporter: Reporter
) -> int:
    parts = plan(settings, options, addresses)
    began = time.time()

    def write_run(pids: Mapping[str, int]) -> None:
        with contextlib.suppress(OSError):  # a full disk ends no part
            _write_run(settings, options, addresses, pids, began)

    bounds = DEV_BOUNDS if options.dev else None
    supervisor = Supervisor(parts, settings.data_dir / "logs", reporter, bounds, write_run)
    write_run({})
    _keep_settings(settings, options, addresses)
    stop_asked = _stop_on_signals(supervisor, reporter)
    work = asyncio.create_task(_serve(settings, options, addresses, supervisor, reporter))
    stopper = asyncio.create_task(stop_asked.wait())
    await asyncio.wait({work, stopper}, return_when=asyncio.FIRST_COMPLETED)
    code = 0
    if work.done():
        code = _report_failure(work.exception(), settings.data_dir, reporter)
    work.cancel()
    stopper.cancel()
    await asyncio.wait({work, stopper})
    await supervisor.stop()
    reporter.note("stopped")
    return code


async def _serve(
    settings: Settings,
    options: Options,
    addresses: Addresses,
    supervisor: Supervisor,
    reporter: Reporter,
) -> None:
    async with contextlib.AsyncExitStack() as beside:
        if options.dev:
            environ = {**os.environ, **environment(settings, options, addresses)}
            watching = asyncio.create_task(Reloader(supervisor, environ, reporter).run())
            beside.callback(watching.cancel)
        await supervisor.run_once(migration(settings, options, addresses))
        await supervisor.start()
        kernels = await asyncio.to_thread(running, settings, f"http://127.0.0.1:{addresses.engine}")
        if kernels is not None:
            reporter.note(sentence(kernels))
        _tell_ready(settings, addresses, reporter)
        await supervisor.wait()


def _tell_ready(settings: Settings, addresses: Addresses, reporter: Reporter) -> None:
    reporter.close()
    print(f"ready {addresses.web_url}", flush=True)
    link = running_stack.setup_link(settings.data_dir)
    if link:  # alone on its line, so that it can be copied whole
        print(f"Create the first administrator here:\n{link}", flush=True)


def _report_failure(error: BaseException | None, data_dir: Path, reporter: Reporter) -> int:
    reporter.close()
    if not isinstance(error, ProcessFailed):
        if error is not None:
            raise error
        return 0
    for line in complaints(error.log_tail):
        print(f"{error.part:>8} | {mask(line)}", file=sys.stderr)
    reporter.note(f"{error} Its whole log: {data_dir / 'logs' / f'{error.part}.log'}")
    return 1


def _keep_settings(settings: Settings, options: Options, addresses: Addresses) -> None:
    """Keep what the parts run with, for the commands that look at this folder."""
    env = {**os.environ, **environment(settings, options, addresses)}
    settings_in_use.keep(load_settings(environ=env), settings_in_use.UP, given=settings)


def _write_run(
    settings: Settings,
    options: Options,
    addresses: Addresses,
    pids: Mapping[str, int],
    began: float,
) -> None:
    running_stack.write_run(
        settings.data_dir,
        running_stack.RunningStack(
            pid=os.getpid(),
            web=addresses.web,
            engine=0 if settings.engine.url else addresses.engine,
            temporal=0 if settings.temporal.address else addresses.temporal,
            started_at=began,
            url=addresses.web_url,
            parts=dict(pids),
            sandbox=options.sandbox,
            started=start_of(os.getpid()),
        ),
    )


def _stop_on_signals(supervisor: Supervisor, reporter: Reporter) -> asyncio.Event:
    """Stop in order at the first signal, and kill everything at the second.

    A terminal, make and systemd may each pass on the same request: signals within SAME_REQUEST_S
    count as one.
    """
    requested = asyncio.Event()
    requested_at = 0.0

    def on_signal() -> None:
        nonlocal requested_at
        if requested.is_set():
            if time.monotonic() - requested_at < SAME_REQUEST_S:
                return
            supervisor.kill()
            os._exit(FORCED_EXIT_CODE)
        requested.set()
        requested_at = time.monotonic()
        reporter.close()
        reporter.note("stopping; press Ctrl-C once more to kill")

    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, on_signal)
    return requested
