"""Cline: OpenAI's chat completions; its files in CLINE_DIR, the key among them."""

import json

from roost_platform.gateway.launch.client import Client, Offer, Profile

PROVIDER = "openai-compatible"


def _profile(offer: Offer) -> Profile:
    data = offer.folder / "data"
    provider = {
        "provider": PROVIDER,
        "apiKey": offer.key,
        "model": offer.model.name,
        "baseUrl": offer.api,
    }
    saved = {"settings": provider, "tokenSource": "manual", "updatedAt": "2026-01-01T00:00:00.000Z"}
    providers = {
        "version": 1,
        "lastUsedProvider": PROVIDER,
        "modes": {},
        "providers": {PROVIDER: saved},
    }
    models = {
        model.name: {
            "id": model.name,
            "name": model.name,
            "contextWindow": model.window,
            "maxTokens": model.output_tokens,
        }
        for model in offer.models
    }
    files = {
        "providers.json": providers,
        "models.json": {"version": 1, "providers": {PROVIDER: {"models": models}}},
        "global-settings.json": {"telemetryOptOut": True, "autoUpdateEnabled": False},
    }
    return Profile(
        files={
            data / "settings" / name: json.dumps(value, indent=2) + "\n"
            for name, value in files.items()
        },
        environment={
            "CLINE_DIR": str(offer.folder),
            "CLINE_DATA_DIR": str(data),
            "CLINE_NO_AUTO_UPDATE": "1",
            "DO_NOT_TRACK": "1",
        },
        unset=(
            *("CLINE_API_KEY", "CLINE_API_BASE_URL", "CLINE_PROVIDER", "CLINE_MODEL"),
            *("CLINE_PROVIDER_SETTINGS_PATH", "CLINE_GLOBAL_SETTINGS_PATH", "CLINE_RPC_ADDRESS"),
            *("CLINE_SANDBOX_DATA_DIR", "CLINE_SESSION_DATA_DIR", "CLINE_DB_DATA_DIR"),
        ),
        arguments=("--config", str(offer.folder)),
    )


CLINE = Client(
    name="cline",
    title="Cline",
    program="cline",
    source="npm",
    package="cline@3.0.65",
    installed=("node_modules/@cline/cli-*/bin/cline",),
    taken=frozenset(
        {
            *("--provider", "-P", "--key", "-k", "--model", "-m", "--config", "--data-dir"),
            *("--update", "--kanban"),
        }
    ),
    profile=_profile,
)
