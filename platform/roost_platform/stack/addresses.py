"""Where the processes of `roost up` listen, and settings that point channels at the fakes."""

import hashlib
import hmac
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex

from roost_platform.data_folder import running_stack
from roost_platform.errors import PortInUse
from roost_platform.settings.config import Settings
from roost_platform.stack import local_ports

SANDBOX_BOT = "42"
SANDBOX_SENDER = "whatsapp:+15550001000"
SANDBOX_NUMBER_ID = "106540352242922"
SANDBOX_SECRET_FILE = "sandbox-secret"
SECRET_LENGTH_MIN = 32


@dataclass(frozen=True, slots=True)
class Addresses:
    """Ports. telegram, twilio and cloud: the sandbox's fakes, 0 without."""

    web_host: str
    web: int
    engine: int
    temporal: int
    telegram: int = 0
    twilio: int = 0
    cloud: int = 0

    @property
    def web_url(self) -> str:
        """For people on this machine: a wildcard address is reached by loopback."""
        host = "127.0.0.1" if self.web_host in ("0.0.0.0", "::", "") else self.web_host
        return f"http://{host}:{self.web}"


def choose_ports(settings: Settings, *, sandbox: bool) -> Addresses:
    """The configured ports, checked to be free, and free ones for the rest; raises PortInUse."""
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
    return Addresses(
        web_host=settings.web.host,
        web=web,
        engine=engine,
        temporal=local_ports.free_port(),
        telegram=local_ports.free_port() if sandbox else 0,
        twilio=local_ports.free_port() if sandbox else 0,
        cloud=local_ports.free_port() if sandbox else 0,
    )


def sandbox_secret(data_dir: Path) -> str:
    """What the sandbox's tokens are made of: random, and the same at every start of this folder.

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


def sandbox_environment(addresses: Addresses, secret: str) -> dict[str, str]:
    """Settings that point the channels at the fakes; real tokens are overridden, so never used."""

    def token(name: str) -> str:
        return hmac.new(secret.encode(), name.encode(), hashlib.sha256).hexdigest()

    return {
        "ROOST_PUBLIC_BASE_URL": addresses.web_url,
        "ROOST_TELEGRAM__TOKEN": f"{SANDBOX_BOT}:{token('telegram')}",
        "ROOST_TELEGRAM__API_BASE": f"http://127.0.0.1:{addresses.telegram}",
        "ROOST_TELEGRAM__MODE": "polling",
        "ROOST_TELEGRAM__ACCESS": "open",
        "ROOST_TWILIO__ACCOUNT_SID": "AC" + "5" * 32,
        "ROOST_TWILIO__AUTH_TOKEN": token("twilio"),
        "ROOST_TWILIO__FROM": SANDBOX_SENDER,
        "ROOST_TWILIO__API_BASE": f"http://127.0.0.1:{addresses.twilio}",
        "ROOST_TWILIO__ACCESS": "open",
        "ROOST_WHATSAPP_CLOUD__PHONE_NUMBER_ID": SANDBOX_NUMBER_ID,
        "ROOST_WHATSAPP_CLOUD__ACCESS_TOKEN": token("cloud access"),
        "ROOST_WHATSAPP_CLOUD__APP_SECRET": token("cloud app"),
        "ROOST_WHATSAPP_CLOUD__VERIFY_TOKEN": token("cloud verify"),
        "ROOST_WHATSAPP_CLOUD__API_BASE": f"http://127.0.0.1:{addresses.cloud}",
        "ROOST_WHATSAPP_CLOUD__ACCESS": "open",
        "ROOST_SANDBOX": "1",
    }
