"""The bundled engine's key: the configured one, else one that is made for the data folder."""

from pathlib import Path

from pydantic import SecretStr

from roost_platform.data_folder.minting import mint
from roost_platform.settings.config import Settings

KEY_FILE = "engine-key"


def engine_key(settings: Settings) -> str:
    """The key to send to the engine in use; empty if there is none, or none was made yet.

    The folder's key is for the bundled core alone: it is never sent to another engine.
    """
    key = settings.engine.api_key.get_secret_value()
    return key if key or settings.engine.url else _read(settings.data_dir / KEY_FILE)


def with_engine_key(settings: Settings) -> Settings:
    """The settings with the key of the engine in use; one is made if the bundled core has none.

    Processes that start at the same time on one folder use the same key: the first one written.
    """
    key = engine_key(settings)
    if not key and not settings.engine.url:
        key = mint(settings.data_dir / KEY_FILE)
    engine = settings.engine.model_copy(update={"api_key": SecretStr(key)})
    return settings.model_copy(update={"engine": engine})


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="ascii").strip()
    except OSError:
        return ""
