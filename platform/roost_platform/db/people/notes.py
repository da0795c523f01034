"""Notes that agents keep for each person."""

from collections.abc import Sequence

from sqlalchemy import CursorResult, delete, select

from roost_platform.db import models
from roost_platform.db.base.engine import Database
from roost_platform.db.base.insert import insert_missing
from roost_platform.db.base.text import clean
from roost_platform.db.people.linking import current_id
from roost_workflows.storage.tools import Note

NOTES_MAX = 500  # notes listed per person, newest kept
NOTE_TEXT_MAX = 10_000  # characters
NUMBER_MAX = 2**63 - 1  # of a note


class PersonNoteStore:
    """Implements `roost_workflows.storage.tools.PersonNotes`.

    A turn that began before its person was linked may still name them by the id from before.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, person_id: str, text: str, key: str) -> Note:
        """Add a note, once per `key`."""
        async with self._database.write() as session:
            person_id = await current_id(session, person_id)
            await insert_missing(
                session,
                models.NoteRow,
                identity_id=person_id,
                key=key,
                text=clean(text)[:NOTE_TEXT_MAX],
                created_at=self._database.now(),
            )
            row = await session.scalar(
                select(models.NoteRow).where(
                    models.NoteRow.identity_id == person_id, models.NoteRow.key == key
                )
            )
            assert row is not None
            return Note(row.id, row.text, row.created_at)

    async def list(self, person_id: str) -> Sequence[Note]:
        """The person's notes, the newest NOTES_MAX, oldest first."""
        async with self._database.read() as session:
            person_id = await current_id(session, person_id)
            rows = await session.scalars(
                select(models.NoteRow)
                .where(models.NoteRow.identity_id == person_id)
                .order_by(models.NoteRow.id.desc())
                .limit(NOTES_MAX)
            )
            return [Note(row.id, row.text, row.created_at) for row in rows][::-1]

    async def remove(self, person_id: str, note_id: int) -> bool:
        """Delete a note; False when the person has no such note."""
        if not 0 < note_id <= NUMBER_MAX:  # models write any number, databases hold 64 bits
            return False
        async with self._database.write() as session:
            person_id = await current_id(session, person_id)
            result = await session.execute(
                delete(models.NoteRow).where(
                    models.NoteRow.id == note_id, models.NoteRow.identity_id == person_id
                )
            )
            return isinstance(result, CursorResult) and result.rowcount > 0
