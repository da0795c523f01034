"""What goes wrong on the way to a provider, and the fields that some of them refuse by name."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from roost_platform.gateway.errors import ProviderSilent

# Unknown to some providers: one that refuses a field by name is not sent it again.
OPTIONAL_FIELDS: Final = ("cache_salt", "stream_options")


class _Silence:
    """See SILENCE_IS_AN_ERROR."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, TimeoutError):
            raise ProviderSilent("The provider has gone silent") from error


# `with` this a silence of the provider is raised as ProviderSilent.
SILENCE_IS_AN_ERROR: Final = _Silence()


@dataclass(slots=True)
class RefusedFields:
    """Which optional fields a provider refuses. Once it has accepted a request none is added: a
    refusal may quote what people write, which must not switch the salt off.
    """

    names: set[str] = field(default_factory=set)
    is_settled: bool = False

    def without(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """The body without them."""
        return {name: value for name, value in body.items() if name not in self.names}

    def learn(self, status: int, text: bytes, body: Mapping[str, Any]) -> bool:
        """Whether this refusal names fields that can be left out."""
        if self.is_settled or status not in (400, 422):
            return False
        named = {name for name in OPTIONAL_FIELDS if name in body and name.encode() in text}
        self.names |= named
        return bool(named)

    def accepted(self) -> None:
        """The provider has answered."""
        self.is_settled = True
