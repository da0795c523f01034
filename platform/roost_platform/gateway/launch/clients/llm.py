"""llm: OpenAI's chat completions, models of its own in LLM_USER_PATH."""

import json

from roost_platform.gateway.launch.client import Client, Offer, Profile


def _profile(offer: Offer) -> Profile:
    models = [
        {
            "model_id": model.name,
            "model_name": model.name,
            "api_base": offer.api,
            "api_key_name": "roost",
            "supports_tools": True,
            "supports_schema": True,
        }
        for model in offer.models
    ]
    return Profile(
        files={
            # A JSON text is a YAML text as well.
            offer.folder / "extra-openai-models.yaml": json.dumps(models, indent=2) + "\n",
            offer.folder / "default_model.txt": offer.model.name,
        },
        environment={
            "LLM_USER_PATH": str(offer.folder),
            "OPENAI_API_KEY": offer.key,
            # Its built-in models would else send our key to their maker.
            "OPENAI_BASE_URL": offer.api,
        },
        unset=("OPENAI_ORG_ID", "OPENAI_PROJECT_ID", "LLM_MODEL"),
    )


LLM = Client(
    name="llm",
    title="llm",
    program="llm",
    source="pypi",
    package="llm==0.36",
    installed=("bin/llm",),
    taken=frozenset({"--model", "-m", "--query", "-q", "--key"}),
    profile=_profile,
)
