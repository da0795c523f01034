"""What llama-server tells of its chat template: whether prompts open a block of reasoning."""

import asyncio
import logging
import re
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from roost_inference.errors import EngineError

log = logging.getLogger(__name__)

FINGERPRINT: Final = re.compile(r"b\d+-[0-9a-f]{4,40}")  # llama.cpp's build, in its chunks
FRESH_S: Final = 60.0
_FREE: Final = (None, "auto", "none")
WAIT_S: Final = 1.0  # an answer waits so long for the template, once a minute
TEMPLATE_CHARACTERS_MAX: Final = 256 * 1024

Properties = Callable[[], Awaitable[Any]]


class TemplateProbe:
    """Knows the tag that the template of a llama-server opens. Other engines are not asked.

    By default that server takes the reasoning out itself; only where it is told not to does an
    answer begin in the middle of a block. properties: what GET /props answers.
    """

    def __init__(self, properties: Properties) -> None:
        self._properties = properties
        self._asked_at = float("-inf")
        self._tag = ""

    async def opening(self, chunk: Any, request: Mapping[str, Any]) -> str:
        """The tag that the prompt of this request has opened; chunk: the first of its answer."""
        fingerprint = chunk.get("system_fingerprint") if isinstance(chunk, Mapping) else None
        if not isinstance(fingerprint, str) or not FINGERPRINT.fullmatch(fingerprint):
            return ""
        if not _may_think(request):
            return ""
        if time.monotonic() - self._asked_at >= FRESH_S:
            self._asked_at = time.monotonic()
            try:
                async with asyncio.timeout(WAIT_S):
                    self._tag = await _tag_of(await self._properties())
            except (EngineError, TimeoutError) as error:
                log.info("llama-server does not tell its template: %r", error)
        return self._tag


def _may_think(request: Mapping[str, Any]) -> bool:
    """Whether an answer may begin with reasoning: nothing else is forced, and nobody forbids it."""
    wanted, options = request.get("response_format") or {}, request.get("chat_template_kwargs")
    is_off = isinstance(options, Mapping) and not options.get("enable_thinking", True)
    is_raw = request.get("reasoning_format", "none") == "none"
    is_text = wanted.get("type", "text") == "text" if isinstance(wanted, Mapping) else False
    return is_text and is_raw and not is_off and request.get("tool_choice") in _FREE


async def _tag_of(properties: Any) -> str:
    """The tag that the template of these properties opens, if the server leaves it in the text."""
    if not isinstance(properties, Mapping):
        return ""
    settings = properties.get("default_generation_settings")
    parameters = settings.get("params") if isinstance(settings, Mapping) else None
    source = properties.get("chat_template")
    is_raw = isinstance(parameters, Mapping) and parameters.get("reasoning_format") == "none"
    if not is_raw or not isinstance(source, str) or len(source) > TEMPLATE_CHARACTERS_MAX:
        return ""
    return await asyncio.to_thread(_rendered_tag, source)


def _rendered_tag(source: str) -> str:
    # The renderer of templates is the bundled core's; few processes need it.
    from roost_inference.prompt.chat_template import ChatTemplate

    return ChatTemplate(source, tokenize=lambda text, special: list(text.encode())).opening
