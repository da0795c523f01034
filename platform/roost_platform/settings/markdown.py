"""Makes docs/settings.md from the fields; a test holds the file to this."""

from collections.abc import Iterator
from itertools import groupby

from roost_platform.gateway.config import ModelConfig, PriceConfig, ProviderConfig, TargetConfig
from roost_platform.settings.config import settings_model
from roost_platform.settings.rows import SettingRow, entry_rows, setting_rows

INTRO = """\
# Settings

Made by `make docs` from the fields in each package's `config.py`; change it there.

Every setting has three homes, the first one that names it wins:

1. the environment: `ROOST_<SECTION>__<KEY>`, two underscores between the parts;
2. one TOML file: what `ROOST_CONFIG` names, else `roost.toml` here, else in the data folder;
3. the default.

```toml
public_base_url = "https://roost.example.org"

[telegram]
access = "pairing"
allowlist = ["123456789"]
```

An unknown key is an error that names it. In the environment lists are written with commas or as
JSON, tables as JSON; an empty value counts as not set. Sizes are written like `512MiB` or `2GiB`.
Keep secrets in the environment. `roost settings` shows every value in use and where it came from,
with secrets hidden.
"""

SECTIONS = {
    "": ("General", ""),
    "database": ("Database", ""),
    "temporal": ("Temporal", ""),
    "engine": (
        "Engine",
        "Either the bundled core, or with `url` any OpenAI-compatible engine.",
    ),
    "worker": ("Worker", ""),
    "sessions": ("Sessions in the engine", ""),
    "inbound": (
        "Messages in a row",
        "What happens to messages that come while an answer is being written. "
        "See [operations.md](operations.md#messages-in-a-row).",
    ),
    "approvals": ("Approvals", "When people are asked before a tool runs."),
    "schedules": ("Schedules", "What checks may cost. See [schedules.md](schedules.md)."),
    "delivery": ("Delivery", ""),
    "files": ("Files", ""),
    "retention": (
        "Retention",
        "See [operations.md](operations.md#what-is-kept-for-how-long) for all that is kept.",
    ),
    "web": ("Web", ""),
    "console": ("Console", ""),
    "gateway": ("Gateway", "The API under `/v1`. See [gateway.md](gateway.md)."),
    "alerts": (
        "Alerts",
        "Who is told of what goes wrong. See [operations.md](operations.md#alerts).",
    ),
    "log": ("Logs", ""),
    "metrics": ("Metrics", "See [operations.md](operations.md#figures-and-traces)."),
    "telemetry": ("Traces", "See [operations.md](operations.md#figures-and-traces)."),
}

# Tables with names of the operator's own: title, path of a field, what an entry holds.
TABLES = (
    ("One provider", "providers.<NAME>", ProviderConfig),
    ("One model", "models.<NAME>", ModelConfig),
    ("One target of a model, as a table in roost.toml", "", TargetConfig),
    ("Its price", "price", PriceConfig),
)


def render_page() -> str:
    """Return the whole page, with the built-in channels."""
    return "\n".join([INTRO, *_sections()]) + "\n"


def _sections() -> Iterator[str]:
    model = settings_model()
    channels = {kind.section: (kind.title, kind.help) for kind in model.kinds}
    rows = setting_rows(model())
    for section, group in groupby(rows, key=lambda row: row.path.rpartition(".")[0]):
        title, text = SECTIONS.get(section) or channels[section]
        yield f"## {title}\n"
        if text:
            yield f"{text}\n"
        yield "| Variable | Meaning | Kind | Default |"
        yield "| --- | --- | --- | --- |"
        yield from (_line(row) for row in group)
        yield ""
    for title, path, entry in TABLES:
        yield f"## {title}\n"
        yield f"| {'Variable' if '.' in path else 'Key'} | Meaning | Kind | Default |"
        yield "| --- | --- | --- | --- |"
        yield from (_line(row) for row in entry_rows(path, entry))
        yield ""


def _line(row: SettingRow) -> str:
    default = f"`{row.default}`" if row.default else ""
    return f"| `{row.variable}` | {row.help} | {row.kind} | {default} |"
