"""The notes table of the store in memory."""

import time
from collections.abc import Sequence

from roost_workflows.ports import Note


class NoteTable:
    """Notes by person and key; ids are never given twice."""

    def __init__(self) -> None:
        self._notes: dict[str, dict[str, Note]] = {}
        self._given = 0

    def _add(self, person_id: str, text: str, key: str) -> Note:
        mine = self._notes.setdefault(person_id, {})
        if key not in mine:
            self._given += 1
            mine[key] = Note(self._given, text, time.time())
        return mine[key]

    def _list(self, person_id: str) -> Sequence[Note]:
        return tuple(self._notes.get(person_id, {}).values())

    def _remove(self, person_id: str, note_id: int) -> bool:
        mine = self._notes.get(person_id, {})
        found = [key for key, note in mine.items() if note.id == note_id]
        for key in found:
            del mine[key]
        return bool(found)
