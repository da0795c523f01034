"""Webhook signatures, from Twilio's description and without its library."""

import base64
import hashlib
import hmac
from collections.abc import Mapping

SIGNATURE_HEADER = "X-Twilio-Signature"
SETTINGS_HEADER = "X-Twilio-Webhooks-Signature-Settings"


def signature(secret: str, url: str, parameters: Mapping[str, str], algorithm: str) -> str:
    """base64(HMAC(secret, URL followed by every name and value in order of the names)).

    url: exactly as configured, query included, without a fragment. algorithm: sha1 or sha256.
    """
    text = url + "".join(name + parameters[name] for name in sorted(parameters))
    digest = hmac.new(secret.encode(), text.encode(), getattr(hashlib, algorithm)).digest()
    return base64.b64encode(digest).decode()


def signature_headers(
    url: str,
    parameters: Mapping[str, str],
    auth_token: str,
    shared_key: tuple[str, str] | None = None,
) -> dict[str, str]:
    """Signed with the auth token and SHA-1, or with a SharedKey (id, secret) and SHA-256."""
    if shared_key is None:
        return {SIGNATURE_HEADER: signature(auth_token, url, parameters, "sha1")}
    key_id, secret = shared_key
    return {
        SIGNATURE_HEADER: signature(secret, url, parameters, "sha256"),
        SETTINGS_HEADER: f"key={key_id},algorithm=HMAC_SHA256",
    }
