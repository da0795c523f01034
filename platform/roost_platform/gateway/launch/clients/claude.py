"""Claude Code: Anthropic's messages; told by variables, its files in CLAUDE_CONFIG_DIR."""

import json

from roost_platform.gateway.launch.client import Client, Offer, Profile

TIERS = ("FABLE", "OPUS", "SONNET", "HAIKU")


def _profile(offer: Offer) -> Profile:
    model = offer.model
    names = [each.name for each in offer.models]
    settings = {
        "model": model.name,
        "availableModels": names,
        "includeCoAuthoredBy": True,
        "feedbackSurveyRate": 0,
    }
    # The questions of a first start are about an account, which is not needed here.
    state = {"hasCompletedOnboarding": True, "autoUpdates": False}
    return Profile(
        files={
            offer.folder / "settings.json": json.dumps(settings, indent=2) + "\n",
            offer.folder / ".claude.json": json.dumps(state, indent=2) + "\n",
        },
        environment={
            "CLAUDE_CONFIG_DIR": str(offer.folder),
            "ANTHROPIC_BASE_URL": offer.url,
            "ANTHROPIC_AUTH_TOKEN": offer.key,
            "ANTHROPIC_MODEL": model.name,
            **{f"ANTHROPIC_DEFAULT_{tier}_MODEL": model.name for tier in TIERS},
            "ANTHROPIC_SMALL_FAST_MODEL": model.name,
            "CLAUDE_CODE_SUBAGENT_MODEL": model.name,
            "CLAUDE_CODE_MAX_CONTEXT_TOKENS": str(model.window),
            "CLAUDE_CODE_AUTO_COMPACT_WINDOW": str(model.window),
            "CLAUDE_CODE_MAX_OUTPUT_TOKENS": str(model.output_tokens),
            # Its line in the system prompt differs from call to call: no prefix would be found.
            "CLAUDE_CODE_ATTRIBUTION_HEADER": "0",
            "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
            "DISABLE_TELEMETRY": "1",
            "DISABLE_ERROR_REPORTING": "1",
            "DISABLE_AUTOUPDATER": "1",
            "DISABLE_FEEDBACK_COMMAND": "1",
        },
        unset=(
            *("ANTHROPIC_API_KEY", "ANTHROPIC_CUSTOM_HEADERS", "ANTHROPIC_BETAS"),
            *("ANTHROPIC_PROFILE", "ANTHROPIC_UNIX_SOCKET", "ANTHROPIC_CONFIG_DIR"),
            *("CLAUDE_CODE_USE_BEDROCK", "CLAUDE_CODE_USE_VERTEX", "CLAUDE_CODE_USE_FOUNDRY"),
            *("CLAUDE_CODE_OAUTH_TOKEN", "CLAUDECODE"),
        ),
    )


CLAUDE = Client(
    name="claude",
    title="Claude Code",
    program="claude",
    source="npm",
    package="@anthropic-ai/claude-code@2.1.197",
    installed=("node_modules/@anthropic-ai/claude-code-*/claude",),
    taken=frozenset({"--model", "--fallback-model", "--settings", "--setting-sources"}),
    profile=_profile,
)
