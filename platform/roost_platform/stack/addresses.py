"""Where the processes of `roost up` listen, and which variables each of them gets."""

import hashlib
import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from secrets import token_hex

from roost_channels.sandbox.network import SandboxPlace
from roost_platform.data_folder import running_stack
from roost_platform.errors import ConfigError, PortInUse
from roost_platform.settings.config import Settings
from roost_platform.settings.sources import variable_of
from roost_platform.stack import local_ports

SANDBOX_SECRET_FILE = "sandbox-secret"
SECRET_LENGTH_MIN = 32
PREFIX = "ROOST_"
COMMON_SECTIONS = ("log",)  # settings that every part reads
SECRET_NAMES = ("API_TOKEN",)  # settings without a section that only the command line reads


@dataclass(frozen=True, slots=True)
class Addresses:
    """The ports. prefill: of the engine that reads prompts for the other one, 0 without one.
    fakes: those of the sandbox, by the settings' section of their channel."""

    web_host: str
    web: int
    engine: int
    temporal: int
    fakes: Mapping[str, int] = field(default_factory=dict)
    prefill: int = 0

    @property
    def web_url(self) -> str:
        """The address for people on this machine: loopback where the server listens everywhere."""
        host = "127.0.0.1" if self.web_host in ("0.0.0.0", "::", "") else self.web_host
        return f"http://{host}:{self.web}"


def choose_ports(settings: Settings, *, sandbox: bool, split: bool = False) -> Addresses:
    """Return the configured ports and free ones for the rest; raises PortInUse for one in use.

    split: a second engine reads prompts. Raises ConfigError where the settings name the engines.
    """
    if split and (settings.engine.url or settings.engine.prefill_urls):
        raise ConfigError(
            "--split runs two engines here, but ROOST_ENGINE__URL or ROOST_ENGINE__PREFILL_URLS "
            "names others. Leave one of both out."
        )
    web = settings.web.port or local_ports.free_port(settings.web.host)
    engine = settings.engine.port or local_ports.free_port()
    for name, host, port in (
        ("web", settings.web.host, web),
        ("engine", settings.engine.host, engine),
    ):
        if not local_ports.is_free(host, port):
            raise PortInUse(
                f"{local_ports.in_use(port, name)} Stop that process, or choose another port"
                f"{' with --port' if name == 'web' else ''}."
            )
    networks = [kind for kind in settings.kinds if kind.sandbox is not None] if sandbox else []
    return Addresses(
        web_host=settings.web.host,
        web=web,
        engine=engine,
        temporal=local_ports.free_port(),
        fakes={kind.section: local_ports.free_port() for kind in networks},
        prefill=local_ports.free_port() if split else 0,
    )


def sandbox_secret(data_dir: Path) -> str:
    """Return what the sandbox's tokens are made of: random, and the same at every start.

    They sign webhooks and links to files, which a page on this machine must not be able to make.
    """
    file = data_dir / SANDBOX_SECRET_FILE
    try:
        kept = file.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        kept = ""
    if len(kept) < SECRET_LENGTH_MIN:
        kept = token_hex(32)
        running_stack.write_private(file, kept)
    return kept


def inherited(environ: Mapping[str, str], sections: Sequence[str] | None) -> dict[str, str]:
    """The variables that a part gets: those that are not Roost's, those of the whole installation,
    and the settings of its own sections. None: all, for the parts that use all settings.

    So a fault in the engine, say, gives away no bot's token and no database's password.
    """
    if sections is None:
        return dict(environ)
    own = {section.upper() for section in (*COMMON_SECTIONS, *sections)}
    kept = {}
    for name, value in environ.items():
        section, is_nested, _ = name.upper().removeprefix(PREFIX).partition("__")
        is_ours = name.upper().startswith(PREFIX)
        is_common = section in own if is_nested else section not in SECRET_NAMES
        if not is_ours or is_common:
            kept[name] = value
    return kept


def sandbox_environment(settings: Settings, addresses: Addresses, secret: str) -> dict[str, str]:
    """Return settings that point the channels at the fakes and override every real token.

    What else somebody set, such as who may talk, stays.
    """

    def token(name: str) -> str:
        return hmac.new(secret.encode(), name.encode(), hashlib.sha256).hexdigest()

    env = {"ROOST_SANDBOX": "1", "ROOST_PUBLIC_BASE_URL": addresses.web_url}
    for kind in settings.kinds:
        if kind.sandbox is None:
            continue
        url = f"http://127.0.0.1:{addresses.fakes[kind.section]}"
        values = kind.sandbox.settings(SandboxPlace(url, addresses.web_url, token))
        env |= {variable_of(f"{kind.section}.{key}"): value for key, value in values.items()}
        for key, value in kind.sandbox.defaults:
            path = f"{kind.section}.{key}"
            if settings.origin(path) == "default":
                env[variable_of(path)] = value
    return env
