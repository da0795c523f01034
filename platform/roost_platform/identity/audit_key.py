"""The key of the audit trail: random, made once for the data folder, readable by its owner only."""

from roost_platform.data_folder import running_stack as stack
from roost_platform.data_folder.minting import mint
from roost_platform.db.audit import seal, set_key
from roost_platform.db.audit_seal import AuditKey
from roost_platform.db.base.engine import Database
from roost_platform.settings.config import Settings

SEALED = "sealed"


async def open_trail(settings: Settings, database: Database) -> None:
    """Give the database the key, make one if there is none, and seal the trail at its first use."""
    file = settings.data_dir / stack.AUDIT_KEY_FILE
    key = read_audit_key(settings) or _parse(mint(file))
    if not key.has_sealed:
        set_key(database, key)
        await seal(database)
        stack.write_private(file, f"{key.secret.decode()}\n{SEALED}\n")
    set_key(database, AuditKey(key.secret, has_sealed=True))


def read_audit_key(settings: Settings) -> AuditKey | None:
    """The key of the data folder; None if none was made yet."""
    try:
        return _parse((settings.data_dir / stack.AUDIT_KEY_FILE).read_text(encoding="ascii"))
    except OSError:
        return None


def _parse(text: str) -> AuditKey:
    secret, _, state = text.strip().partition("\n")
    return AuditKey(secret.encode(), has_sealed=state == SEALED)
