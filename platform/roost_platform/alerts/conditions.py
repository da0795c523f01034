"""What a rule finds: something that is wrong now, in counts and codes."""

from dataclasses import dataclass

from roost_platform.settings.watching import AlertRule


@dataclass(frozen=True, slots=True)
class Condition:
    """Something that is wrong now. subject: what it is about; count: how many, see WORDS.

    lasts_s: it is told once it lasted so long, as it may pass by itself.
    """

    rule: AlertRule
    subject: str
    count: int
    lasts_s: float = 0.0

    @property
    def key(self) -> tuple[str, str]:
        """What tells it from others."""
        return self.rule, self.subject
