"""The clients that `roost launch` knows, one module each: what they read and what they are told."""

from collections.abc import Mapping

from roost_platform.gateway.launch.client import Client
from roost_platform.gateway.launch.clients.claude import CLAUDE
from roost_platform.gateway.launch.clients.cline import CLINE
from roost_platform.gateway.launch.clients.codex import CODEX
from roost_platform.gateway.launch.clients.llm import LLM
from roost_platform.gateway.launch.clients.opencode import OPENCODE

CLIENTS: Mapping[str, Client] = {
    client.name: client for client in (CODEX, CLAUDE, OPENCODE, CLINE, LLM)
}
