"""Secrets and phone numbers are taken out of text here, for logs, settings, doctor and errors."""

import re

# Bounds keep the time linear in the text: a start of a secret without its end costs this much.
PASSWORD_CHARS_MAX = 256
_SIGN = r"[^\s@\"<>]"
_TO_AT = rf"{_SIGN}{{0,{PASSWORD_CHARS_MAX}}}@(?:[^\s/@\"<>]{{0,{PASSWORD_CHARS_MAX}}}@)*"
_NAMES = r"(?:password|passwd|pwd|secret|token|api_?key|access_?key(?:_id)?|signature|sig)"

SECRET_KEYS = re.compile(r"(token|secret|password|authorization|api_key|cookie)", re.IGNORECASE)
SECRETS = (
    # A token that follows its account's number.
    (re.compile(r"(?<!\d)(\d{2,}):[A-Za-z0-9_-]{20,}"), r"\1:***"),
    (re.compile(r"(?i)(bearer\s+)\S+"), r"\1***"),
    # A password in a URL, with or without a user before it. It may hold `/`, `?`, `#` and `@`.
    (re.compile(rf"(://[^\s:/?#@]*:){_TO_AT}"), r"\1***@"),
    # A token alone before the host of a web address.
    (re.compile(r"(?i)(https?://)[^\s:/?#@]{1,256}@"), r"\1***@"),
    # A secret among the parameters of a URL, or in a line such as `host=db password=…`.
    (re.compile(rf"(?i)((?:^|[?&\s;,])[\w.-]{{0,64}}?{_NAMES}=)[^\s&#'\"]+"), r"\1***"),
    (re.compile(r"(#token=)[\w-]+"), r"\1***"),
)
PHONE_NUMBER = re.compile(r"\+\d{5,13}(\d{2})\b")


def hide_secrets(text: str) -> str:
    """Return the text without passwords and tokens, for operators."""
    for pattern, replacement in SECRETS:
        text = pattern.sub(replacement, text)
    return text


def mask(text: str) -> str:
    """Return the text without secrets and phone numbers, for logs."""
    return PHONE_NUMBER.sub(r"+***\1", hide_secrets(text))
