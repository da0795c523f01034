"""getUpdates and the methods of the webhook."""

import re
from typing import Any
from urllib.parse import urlsplit

from roost_channels.testing.telegram.errors import bad_request, too_many_requests
from roost_channels.testing.telegram.parameters import Parameters
from roost_channels.testing.telegram.state.core import TelegramCore, method
from roost_channels.testing.telegram.state.updates import DEFAULT_TYPES, WEBHOOK_ACTIVE

SECRET_MAX = 256
PORTS = (80, 88, 443, 8443)


@method("getUpdates")
async def get_updates(core: TelegramCore, parameters: Parameters) -> list[dict[str, Any]]:
    """Answer a long poll; 409 while a webhook is set."""
    if core.webhook.url:
        raise await core.updates.conflict(WEBHOOK_ACTIVE)
    return await core.updates.get(parameters)


@method("setWebhook")
async def set_webhook(core: TelegramCore, parameters: Parameters) -> Any:
    """Set the webhook, or delete it with an empty URL."""
    return _change_webhook(core, parameters, parameters.text("url"))


@method("deleteWebhook")
async def delete_webhook(core: TelegramCore, parameters: Parameters) -> Any:
    """Delete the webhook."""
    return _change_webhook(core, parameters, "")


def _change_webhook(core: TelegramCore, parameters: Parameters, url: str) -> Any:
    webhook = core.webhook
    if url and core.now() < webhook.set_at + 1:
        raise too_many_requests(1)
    secret = parameters.text("secret_token") if url else ""
    if len(secret) > SECRET_MAX:
        raise bad_request("secret token is too long")
    if not re.fullmatch(r"[A-Za-z0-9_-]*", secret):
        raise bad_request("secret token contains unallowed characters")
    if url and not re.match(r"https://|http://(127\.0\.0\.1|localhost)[:/]", url):
        # Plain HTTP is for loopback alone; the real server takes none.
        raise bad_request("bad webhook: An HTTPS URL must be provided for webhook")
    if url.startswith("https://") and (urlsplit(url).port or 443) not in PORTS:
        raise bad_request("bad webhook: Webhook can be set up only on ports 80, 88, 443 or 8443")
    drop = parameters.boolean("drop_pending_updates")
    connections = parameters.integer("max_connections", 40, 1, 100) if url else 40
    same = (webhook.url, webhook.secret, webhook.max_connections) == (url, secret, connections)
    core.updates.allow(parameters)
    if same and not drop:
        return DescribedResult(
            True, "Webhook is already set" if url else "Webhook is already deleted"
        )
    if drop:
        core.updates.keep_last(0)
    webhook.url, webhook.secret, webhook.max_connections = url, secret, connections
    webhook.last_error, webhook.last_error_at = "", 0.0
    if url:
        webhook.set_at = core.now()
        core.updates.end_poll("terminated by setWebhook request")
    core.updates.arrived.set()
    return DescribedResult(True, "Webhook was set" if url else "Webhook was deleted")


class DescribedResult:
    """A result with the `description` that the envelope has beside it."""

    def __init__(self, result: Any, description: str) -> None:
        self.result = result
        self.description = description


@method("getWebhookInfo")
async def get_webhook_info(core: TelegramCore, parameters: Parameters) -> dict[str, Any]:
    """The WebhookInfo object."""
    webhook = core.webhook
    core.updates.forget_expired()
    info: dict[str, Any] = {
        "url": webhook.url,
        "has_custom_certificate": False,
        "pending_update_count": len(core.updates.pending),
    }
    if webhook.last_error:
        info["last_error_date"] = int(webhook.last_error_at)
        info["last_error_message"] = webhook.last_error
    if webhook.url:
        info["max_connections"] = webhook.max_connections
        info["ip_address"] = "127.0.0.1"
    if core.updates.allowed != DEFAULT_TYPES:
        info["allowed_updates"] = sorted(core.updates.allowed)
    return info
