"""What `roost doctor` says of the bundled core's models, by the headers of their files."""

from collections.abc import Iterator
from pathlib import Path

from roost_inference.config import EngineConfig
from roost_inference.kv.block import BLOCK_TOKENS
from roost_inference.models.header import NotGguf, read_header
from roost_inference.models.kinds import ENCODERS, ModelKind, kind_of
from roost_platform.stack.checks.gateway import Finding

NO_TEMPLATE = (
    "has no chat template: it completes texts, and agents can't ask it; the setting "
    "chat_template (ROOST_ENGINE__CHAT_TEMPLATE) names a file with one"
)


def model_findings(engine: EngineConfig) -> Iterator[Finding]:
    """A finding about the model that answers, and one about that for embeddings if there is one."""
    if engine.url:
        yield Finding("model", "ok", f"{engine.model_name or 'the first one'} at its engine")
        return
    if engine.model is None:
        yield Finding("model", "ok", "the bundled 135M model: for trying Roost, not for real use")
    else:
        yield _answering(engine.model.expanduser(), engine.chat_template)
    if engine.embedding_model is not None:
        yield _embedding(engine.embedding_model.expanduser())


def _answering(path: Path, template: Path | None) -> Finding:
    try:
        kind, own = _kind(path), str(read_header(path).get("tokenizer.chat_template", ""))
    except (OSError, NotGguf) as error:
        return Finding("model", "broken", _reason(path, error))
    if kind.architecture in ENCODERS:
        detail = (
            f"{path} is a {kind.architecture} model, which writes no answers; as the setting "
            "embedding_model it makes vectors"
        )
        return Finding("model", "broken", detail)
    if problem := _template_problem(template, own):
        return Finding("model", "broken", f"{path} {problem}")
    said = f"{path}, {path.stat().st_size / 2**30:.1f} GiB"
    if kind.restriction:
        return Finding("model", "warning", f"{said}: {kind.restriction}")
    return Finding("model", "ok", said)


def _template_problem(path: Path | None, own: str) -> str:
    """Why the model can't be asked in chats, empty where it can. path: of the template that is used
    instead of its own."""
    if path is None:
        return "" if own.strip() else NO_TEMPLATE
    try:
        is_blank = not path.expanduser().read_text(encoding="utf-8").strip()
    except (OSError, ValueError) as error:
        return f"can't be served: the chat template can't be read: {error}"
    return f"can't be asked in chats: the chat template {path} is empty" if is_blank else ""


def _embedding(path: Path) -> Finding:
    try:
        kind = _kind(path)
    except (OSError, NotGguf) as error:
        return Finding("embedding model", "broken", _reason(path, error))
    return Finding("embedding model", "ok", f"{path}, {kind.architecture}")


def _kind(path: Path) -> ModelKind:
    header = read_header(path)
    architecture = str(header.get("general.architecture", ""))
    window = header.get(f"{architecture}.attention.sliding_window", 0)
    window = window if isinstance(window, int) else 0
    return kind_of(architecture, window=window, block_tokens=BLOCK_TOKENS)


def _reason(path: Path, error: Exception) -> str:
    return f"{path} is not a file" if not path.is_file() else str(error)
