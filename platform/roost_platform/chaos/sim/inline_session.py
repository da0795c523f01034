"""Sessions over SQLite in memory with the verbs of AsyncSession, done at once."""

from typing import Any

from sqlalchemy.orm import Session

from roost_platform.chaos.sim.memory import Memory


class InlineSession:
    """The methods of AsyncSession that stores use, done at once on a synchronous session.

    A transaction in memory never waits, so there is nothing to await: the same statements by the
    same mapper, without a greenlet for each.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self.add, self.add_all = session.add, session.add_all
        self.get_bind, self.info = session.get_bind, session.info

    async def execute(self, *arguments: Any, **options: Any) -> Any:
        """See AsyncSession.execute."""
        return self._session.execute(*arguments, **options)

    async def scalar(self, *arguments: Any, **options: Any) -> Any:
        """See AsyncSession.scalar."""
        return self._session.scalar(*arguments, **options)

    async def scalars(self, *arguments: Any, **options: Any) -> Any:
        """See AsyncSession.scalars."""
        return self._session.scalars(*arguments, **options)

    async def get(self, *arguments: Any, **options: Any) -> Any:
        """See AsyncSession.get."""
        return self._session.get(*arguments, **options)

    async def get_one(self, *arguments: Any, **options: Any) -> Any:
        """See AsyncSession.get_one."""
        return self._session.get_one(*arguments, **options)

    async def flush(self) -> None:
        """See AsyncSession.flush."""
        self._session.flush()

    async def refresh(self, instance: object, *arguments: Any, **options: Any) -> None:
        """See AsyncSession.refresh."""
        self._session.refresh(instance, *arguments, **options)

    async def delete(self, row: object) -> None:
        """See AsyncSession.delete."""
        self._session.delete(row)


class ReadingSession(InlineSession):
    """A session that only reads, and answers repeated statements from memory."""

    def __init__(self, session: Session, memory: Memory) -> None:
        super().__init__(session)
        self._memory = memory

    async def execute(self, statement: Any, parameters: Any = None) -> Any:
        """See AsyncSession.execute; a statement with parameters is answered from memory if it can
        be.
        """
        if parameters is None:
            return self._session.execute(statement)
        return self._memory.ask(self._session, statement, parameters)

    async def scalar(self, statement: Any, parameters: Any = None) -> Any:
        """See AsyncSession.scalar."""
        return (await self.execute(statement, parameters)).scalar()

    async def scalars(self, statement: Any, parameters: Any = None) -> Any:
        """See AsyncSession.scalars."""
        return (await self.execute(statement, parameters)).scalars()
