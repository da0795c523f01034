"""The notes table of the store in memory."""

import time
from collections.abc import Sequence

from roost_workflows.storage.tools import Note


class NoteTable:
    """Notes by person and key; ids are never given twice."""

    def __init__(self) -> None:
        self._notes: dict[str, dict[str, Note]] = {}
        self._last_id = 0

    def _add(self, person_id: str, text: str, key: str) -> Note:
        notes = self._notes.setdefault(person_id, {})
        if key not in notes:
            self._last_id += 1
            notes[key] = Note(self._last_id, text, time.time())
        return notes[key]

    def _list(self, person_id: str) -> Sequence[Note]:
        return tuple(self._notes.get(person_id, {}).values())

    def _remove(self, person_id: str, note_id: int) -> bool:
        notes = self._notes.get(person_id, {})
        keys = [key for key, note in notes.items() if note.id == note_id]
        for key in keys:
            del notes[key]
        return bool(keys)
