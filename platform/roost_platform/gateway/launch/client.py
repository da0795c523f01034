"""What a client is, what it is told of the gateway, and the profile that tells it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

KEY_VARIABLE = "GATEWAY_KEY"  # for clients that let us choose the name
CONTEXT_TOKENS = 32_768  # of a model whose window nobody has told
OUTPUT_SHARE = 4  # an answer may take a quarter of the window
OUTPUT_TOKENS_MAX = 32_000


@dataclass(frozen=True, slots=True)
class LaunchModel:
    """A model of the gateway, as a client may name it. context_tokens: its window, if known."""

    name: str
    context_tokens: int | None = None

    @property
    def window(self) -> int:
        """The window that the client is told."""
        return self.context_tokens or CONTEXT_TOKENS

    @property
    def output_tokens(self) -> int:
        """The longest answer that the client should ask for."""
        return min(OUTPUT_TOKENS_MAX, max(1, self.window // OUTPUT_SHARE))


@dataclass(frozen=True, slots=True)
class Offer:
    """What a client is told. url: of the gateway, without /v1. folder: of its profile.

    models: those its key may use; the first one is used unless the person chooses another.
    """

    url: str
    key: str
    folder: Path
    models: Sequence[LaunchModel]

    @property
    def api(self) -> str:
        """The address of OpenAI's API."""
        return f"{self.url}/v1"

    @property
    def model(self) -> LaunchModel:
        """The model to begin with."""
        return self.models[0]


@dataclass(frozen=True, slots=True)
class Profile:
    """What makes a client use the gateway. files: texts by path, all in the profile's folder.

    environment: variables that are set; unset: those of the person that would lead elsewhere.
    arguments: stand before the person's own.
    """

    files: Mapping[Path, str] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    unset: Sequence[str] = ()
    arguments: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Client:
    """A client that `roost launch` starts.

    program: its name on PATH. source, package: where its pinned version is installed from.
    installed: where the program lies in the folder of such an installation, the first that is
    there; programs of npm packages lie in packages of their own for each kind of machine.
    taken: options that the profile decides, which the person can't give as well; taken_settings:
    likewise names of settings in `-c name=value`.
    """

    name: str
    title: str
    program: str
    source: Literal["npm", "pypi"]
    package: str
    installed: Sequence[str]
    taken: frozenset[str]
    profile: Callable[[Offer], Profile]
    taken_settings: frozenset[str] = frozenset()

    def conflict(self, arguments: Sequence[str]) -> str | None:
        """The first of these arguments that the profile decides already."""
        before = ""
        for argument in arguments:
            if argument == "--":
                return None
            option, _, value = argument.partition("=")
            is_short = option[:1] == "-" and option[1:2] not in ("", "-")
            if option in self.taken or (is_short and option[:2] in self.taken):
                return argument
            if self.taken_settings and self._sets_taken(before, argument, option, value):
                return argument
            before = argument
        return None

    def _sets_taken(self, before: str, argument: str, option: str, value: str) -> bool:
        """Whether this is the setting of `-c`, in any of the ways to write it."""
        if before in ("-c", "--config"):
            setting = option
        elif option == "--config":
            setting = value.partition("=")[0]
        elif argument.startswith("-c") and len(argument) > 2:
            setting = option[2:]
        else:
            return False
        return setting.strip().partition(".")[0] in self.taken_settings
