"""What `roost doctor` says of engines: roles, whether KV fits, and whether chats can be asked."""

from collections.abc import Iterator
from urllib.parse import urlsplit

from roost_inference.client.routing.facts import EngineSummary
from roost_platform.data_folder.engine_key import engine_key
from roost_platform.settings.config import Settings
from roost_platform.stack import probes
from roost_platform.stack.checks.gateway import Finding
from roost_platform.stack.checks.model import NO_TEMPLATE

COMPAT_SHOWN = 12  # characters


def template_findings(settings: Settings) -> Iterator[Finding]:
    """A finding for each other engine that says that its model can't be asked in chats."""
    key = engine_key(settings)
    for url in settings.engine.urls:
        root = url.removesuffix("/v1")
        status, body = probes.get_json(f"{root}/v1/models", token=key)
        models = body.get("data") if status == 200 else None
        first = models[0] if isinstance(models, list) and models else None
        if isinstance(first, dict) and first.get("has_chat_template") is False:
            detail = f"its model {first.get('id')} {NO_TEMPLATE}; set it where that engine runs"
            yield Finding(_name(url), "broken", detail)


def engine_findings(settings: Settings) -> Iterator[Finding]:
    """A finding for each engine where there are several; nothing for one alone."""
    readers = settings.engine.prefill_urls
    if len(settings.engine_urls) == 1 and not readers:
        return
    key = engine_key(settings)
    told = {url: _ask(url, key) for url in (*settings.engine_urls, *readers)}
    answering = [one for url in settings.engine_urls if isinstance(one := told[url], EngineSummary)]
    for url, summary in told.items():
        is_reader = url in readers
        name = _name(url)
        duty = "reads prompts" if is_reader else "answers"
        if isinstance(summary, str):
            without = " The others read all prompts themselves meanwhile." if is_reader else ""
            yield Finding(name, "warning", f"{duty}: {summary}.{without}")
        elif is_reader and not any(one.compat == summary.compat for one in answering):
            yield Finding(name, "warning", f"{duty}, but {_differs(summary, answering)}")
        elif summary.role == ("decode" if is_reader else "prefill"):
            wrong = f"{duty} here, and its ROOST_ENGINE__ROLE is {summary.role}"
            yield Finding(name, "warning", wrong)
        else:
            yield Finding(name, "ok", f"{duty}, role {summary.role}, compat {_short(summary)}")


def _name(url: str) -> str:
    """What an engine is called: without a password that its address may have."""
    return f"engine {urlsplit(url).netloc.rpartition('@')[2]}"


def _ask(url: str, key: str) -> EngineSummary | str:
    """What an engine tells of itself, or what is wrong."""
    root = url.replace("//0.0.0.0:", "//127.0.0.1:").removesuffix("/v1")
    status, body = probes.get_json(f"{root}/v1/kv/summary", token=key)
    if status in (401, 403):
        return "it refuses the key; all engines need the same ROOST_ENGINE__API_KEY"
    if status == 503:
        return "its model is still loading"
    if status == 404:
        return "it answers, and hands no KV over"
    summary = EngineSummary.of(body) if status == 200 else None
    return summary or (f"it answers {status}" if status else "it does not answer")


def _differs(summary: EngineSummary, answering: list[EngineSummary]) -> str:
    if not answering:
        return "no engine that answers can be asked whether its KV fits"
    others = ", ".join(sorted({_short(one) for one in answering}))
    return (
        f"its KV does not fit (compat {_short(summary)}, others {others}): model, KV type and "
        "version of the engines must be the same"
    )


def _short(summary: EngineSummary) -> str:
    return summary.compat[:COMPAT_SHOWN]
