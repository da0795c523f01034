"""What the console's pages show of the settings: channels, the sandbox, the system."""

from collections.abc import Sequence

import httpx2

from roost_channels.sandbox.phone import SandboxPhone
from roost_platform.console.dependencies import ChannelSetup
from roost_platform.console.phones import OpenPhones
from roost_platform.settings.config import Settings
from roost_platform.settings.rows import setting_rows
from roost_platform.stack.doctor import examine
from roost_platform.views.faults.system import ShownCheck, ShownSetting, SystemView


def channel_setups(settings: Settings) -> Sequence[ChannelSetup]:
    """Return every channel that can be set up, configured or not, with the steps to do it."""
    setups = []
    for kind in settings.kinds:
        config = settings.channel(kind)
        if kind.setup is None or not (config.configured or kind.is_offered):
            continue
        setup = kind.setup(config, settings.public_base_url or "")
        setups.append(
            ChannelSetup(
                channel=kind.channel,
                account=config.account,
                mode=setup.receives_by,
                access=config.access,
                webhooks=setup.webhooks,
                steps=setup.steps,
            )
        )
    return setups


def configured_accounts(settings: Settings) -> frozenset[tuple[str, str]]:
    """Return (channel, account) of every account in the settings."""
    return frozenset((kind.channel, config.account) for kind, config in settings.accounts())


def sandbox_phones(settings: Settings) -> OpenPhones | None:
    """Return what opens a phone on each fake network; None outside the sandbox."""
    if not settings.sandbox:
        return None

    def open_phones(client: httpx2.AsyncClient) -> Sequence[tuple[str, SandboxPhone]]:
        return [
            (kind.tone, kind.sandbox.phone(settings.channel(kind), client))
            for kind in settings.kinds
            if kind.sandbox is not None
        ]

    return open_phones


def system_view(settings: Settings) -> SystemView:
    """Return the settings, the doctor's checks and the logs of this stack."""

    def examined() -> list[ShownCheck]:
        checks = examine(settings.data_dir)
        return [ShownCheck(check.name, check.level, check.detail) for check in checks]

    rows = [
        ShownSetting(
            row.path, row.variable, row.value, row.default, row.origin, row.secret, row.help
        )
        for row in setting_rows(settings)
    ]
    return SystemView(rows, examined, settings.data_dir / "logs")
