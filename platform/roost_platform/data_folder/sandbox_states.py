"""The fakes' states in the data folder, so that the phones show the same after a restart."""

import asyncio
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from roost_channels.testing.kept import Lasting
from roost_platform.data_folder.running_stack import write_private

SAVE_EVERY_S = 1.0
STATE_BYTES_MAX = 64 * 1024 * 1024  # a larger file is not read

log = logging.getLogger(__name__)


class KeptStates:
    """One file for each fake that can be kept, for the owner's eyes only.

    fakes: by name. What people did within SAVE_EVERY_S of a crash is lost.
    """

    def __init__(self, folder: Path, fakes: Mapping[str, Any]) -> None:
        self._folder = folder
        self._fakes = {name: fake for name, fake in fakes.items() if isinstance(fake, Lasting)}
        self._saved: dict[str, int] = {}

    def load(self) -> None:
        """Give every fake the state that was kept. One that can't be read is set aside."""
        for name, fake in self._fakes.items():
            file = self._file(name)
            try:
                if file.stat().st_size > STATE_BYTES_MAX:
                    raise ValueError("it is too large")
                fake.load(file.read_bytes())
            except FileNotFoundError:
                continue
            except (OSError, ValueError) as error:
                reason = str(error).splitlines()[0]
                log.warning("the sandbox's %s begins anew: %s: %s", name, file.name, reason)
                self._set_aside(file)

    async def run(self) -> None:
        """Save what changes, for ever; a failure is logged and tried again."""
        while self._fakes:
            await self._until_changed()
            await asyncio.sleep(SAVE_EVERY_S)
            try:
                self.save()
            except OSError as error:
                log.warning("the sandbox's state was not kept: %s", error)

    async def _until_changed(self) -> None:
        """Wait while every state is saved."""
        if any(self._is_new(name, fake) for name, fake in self._fakes.items()):
            return
        waits = [asyncio.create_task(fake.state_event.wait()) for fake in self._fakes.values()]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for waiting in waits:
                waiting.cancel()

    def _is_new(self, name: str, fake: Lasting) -> bool:
        return fake.state_number != self._saved.get(name, 0)

    def save(self) -> None:
        """Write the states that changed since the last call."""
        for name, fake in self._fakes.items():
            number = fake.state_number
            if not self._is_new(name, fake):
                continue
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_private(self._file(name), fake.dump().decode())
            self._saved[name] = number

    def _file(self, name: str) -> Path:
        return self._folder / f"{name}.json"

    def _set_aside(self, file: Path) -> None:
        try:
            file.replace(file.with_suffix(".unreadable"))
        except OSError as error:
            log.warning("%s can't be set aside: %s", file.name, error)
