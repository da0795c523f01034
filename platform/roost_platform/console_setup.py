"""What the console's Channels and Sandbox pages are told about the settings."""

from collections.abc import Sequence

from roost_platform.console.dependencies import ChannelSetup, SandboxUrls
from roost_platform.settings.config import Settings


def channel_setups(settings: Settings) -> Sequence[ChannelSetup]:
    """Both chat networks, configured or not, with how to set them up.

    WhatsApp's second way is told of once it is used: most need one of the two.
    """
    setups = (_telegram(settings), _whatsapp(settings))
    cloud = settings.whatsapp_cloud.configured
    return (*setups, _whatsapp_cloud(settings)) if cloud else setups


def sandbox_urls(settings: Settings) -> SandboxUrls | None:
    """Where the fakes listen; None outside the sandbox."""
    if not settings.sandbox:
        return None
    telegram, twilio, cloud = settings.telegram, settings.twilio, settings.whatsapp_cloud
    return SandboxUrls(telegram.api_base, twilio.api_base or "", cloud.api_base)


def _telegram(settings: Settings) -> ChannelSetup:
    config, base = settings.telegram, settings.public_base_url
    webhooks = []
    if config.mode == "webhook" and base and config.account:
        webhooks.append(("updates", f"{base.rstrip('/')}/hooks/telegram/{config.account}"))
    return ChannelSetup(
        channel="telegram",
        account=config.account,
        mode=config.mode,
        access=config.access,
        webhooks=tuple(webhooks),
        steps=(
            "Talk to [@BotFather](https://t.me/BotFather), send `/newbot` and copy the token.",
            "Set `ROOST_TELEGRAM__TOKEN` to it and start Roost again.",
            "Write to your bot; approve the pairing code it answers with on the People page.",
        ),
    )


def _whatsapp(settings: Settings) -> ChannelSetup:
    config, base = settings.twilio, (settings.public_base_url or "").rstrip("/")
    webhooks = (
        ("inbound messages", f"{base}/hooks/twilio/inbound"),
        ("status callbacks", f"{base}/hooks/twilio/status"),
    )
    return ChannelSetup(
        channel="whatsapp",
        account=config.account,
        mode="webhook" if config.configured else "",
        access=config.access,
        webhooks=webhooks if base else (),
        steps=(
            "Set `ROOST_PUBLIC_BASE_URL` to the https address under which Twilio reaches us.",
            "Set `ROOST_TWILIO__ACCOUNT_SID`, `ROOST_TWILIO__AUTH_TOKEN` and `ROOST_TWILIO__FROM`.",
            "Enter the inbound address as the sender's webhook in Twilio's console.",
        ),
    )


def _whatsapp_cloud(settings: Settings) -> ChannelSetup:
    config, base = settings.whatsapp_cloud, (settings.public_base_url or "").rstrip("/")
    address = f"{base}/hooks/whatsapp-cloud/{config.account}"
    return ChannelSetup(
        channel="whatsapp",
        account=config.account,
        mode="webhook",
        access=config.access,
        webhooks=(("messages and statuses", address),) if base else (),
        steps=(
            "Set `ROOST_PUBLIC_BASE_URL` to the https address under which Meta reaches us.",
            "Enter the webhook's address and the verify token in the app's WhatsApp settings.",
            "Subscribe the webhook to the field `messages`.",
        ),
    )
