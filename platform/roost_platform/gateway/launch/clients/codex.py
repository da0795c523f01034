"""Codex: OpenAI's responses, a provider of its own in CODEX_HOME/config.toml."""

import json

from roost_platform.gateway.launch.client import KEY_VARIABLE, Client, Offer, Profile

COMPACT_SHARE = 0.8  # of the window; Codex then shortens its conversation


def _profile(offer: Offer) -> Profile:
    model = offer.model
    # A JSON text is a TOML text as well.
    config = f"""\
model = {json.dumps(model.name)}
model_provider = "roost"
model_context_window = {model.window}
model_auto_compact_token_limit = {int(model.window * COMPACT_SHARE)}
check_for_update_on_startup = false

[model_providers.roost]
name = "Roost"
base_url = {json.dumps(offer.api)}
env_key = "{KEY_VARIABLE}"
wire_api = "responses"

[analytics]
enabled = false

[feedback]
enabled = false

[otel]
exporter = "none"
trace_exporter = "none"
metrics_exporter = "none"
"""
    return Profile(
        files={offer.folder / "config.toml": config},
        environment={"CODEX_HOME": str(offer.folder), KEY_VARIABLE: offer.key},
        unset=(
            *("OPENAI_API_KEY", "OPENAI_BASE_URL", "CODEX_API_KEY", "CODEX_ACCESS_TOKEN"),
            "CODEX_SQLITE_HOME",
        ),
    )


CODEX = Client(
    name="codex",
    title="Codex",
    program="codex",
    source="npm",
    package="@openai/codex@0.169.0",
    installed=("node_modules/.bin/codex",),
    taken=frozenset(
        {
            *("--model", "-m", "--profile", "-p", "--oss", "--local-provider"),
            *("--remote", "--ignore-user-config"),
        }
    ),
    taken_settings=frozenset({"model", "model_provider", "model_providers", "profile"}),
    profile=_profile,
)
