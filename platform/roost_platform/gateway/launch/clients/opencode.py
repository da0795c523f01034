"""opencode: OpenAI's chat completions, a provider of its own in the file of OPENCODE_CONFIG."""

import json

from roost_platform.gateway.launch.client import KEY_VARIABLE, Client, Offer, Profile

PROVIDER = "roost"


def _profile(offer: Offer) -> Profile:
    first = f"{PROVIDER}/{offer.model.name}"
    models = {
        model.name: {
            "name": model.name,
            "tool_call": True,
            "limit": {"context": model.window, "output": model.output_tokens},
        }
        for model in offer.models
    }
    config = {
        "$schema": "https://opencode.ai/config.json",
        "model": first,
        "small_model": first,
        "enabled_providers": [PROVIDER],
        "autoupdate": False,
        "share": "disabled",
        "provider": {
            PROVIDER: {
                "name": "Roost",
                "npm": "@ai-sdk/openai-compatible",
                "options": {"baseURL": offer.api, "apiKey": f"{{env:{KEY_VARIABLE}}}"},
                "models": models,
            }
        },
    }
    file = offer.folder / "opencode.json"
    # It merges the person's own files and logins into any other, so it must not find them.
    homes = ("CONFIG", "DATA", "STATE", "CACHE")
    return Profile(
        files={file: json.dumps(config, indent=2) + "\n"},
        environment={
            "OPENCODE_CONFIG": str(file),
            KEY_VARIABLE: offer.key,
            **{f"XDG_{home}_HOME": str(offer.folder / home.lower()) for home in homes},
            # It fetches the types of its plugins with npm.
            "npm_config_cache": str(offer.folder / "cache" / "npm"),
            "OPENCODE_DISABLE_AUTOUPDATE": "1",
            "OPENCODE_DISABLE_MODELS_FETCH": "1",
            "OPENCODE_DISABLE_SHARE": "1",
            "OPENCODE_DISABLE_DEFAULT_PLUGINS": "1",
        },
        unset=(
            *("OPENCODE_CONFIG_CONTENT", "OPENCODE_CONFIG_DIR", "OPENCODE_AUTH_CONTENT"),
            *("OPENCODE_API_KEY", "OPENCODE_MODELS_URL", "OPENCODE_CONSOLE_TOKEN"),
        ),
    )


OPENCODE = Client(
    name="opencode",
    title="opencode",
    program="opencode",
    source="npm",
    package="opencode-ai@1.18.33",
    # The plainer build runs on every processor.
    installed=(
        "node_modules/opencode-*-baseline/bin/opencode",
        "node_modules/opencode-*-musl/bin/opencode",
        "node_modules/opencode-*/bin/opencode",
    ),
    taken=frozenset({"--model", "-m", "--attach"}),
    profile=_profile,
)
