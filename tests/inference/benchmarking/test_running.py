"""How a run is set up: sizes from the environment, texts by the token, servers that don't start."""

import os
import stat
from pathlib import Path

import pytest
from pydantic import ValidationError

from roost_inference.benchmarking import servers
from roost_inference.benchmarking.decode import copying
from roost_inference.benchmarking.parameters import Parameters
from roost_inference.benchmarking.ruler import Ruler
from roost_inference.errors import EngineUnavailable
from roost_inference.llama.quantize import bundled_model


@pytest.fixture(scope="module")
def ruler() -> Ruler:
    return Ruler(bundled_model())


def test_sizes_come_from_the_environment() -> None:
    found = Parameters.from_environment(
        {
            "BENCH_SESSIONS": "3",
            "BENCH_TIER_TOKENS": "64, 128",
            "PATH": "/bin",
            "PEER_URL": "http://h",
        }
    )
    assert (found.sessions, found.tier_tokens, found.peer_url) == (3, (64, 128), "http://h")
    assert found.turns == Parameters().turns


@pytest.mark.parametrize("environ", [{"BENCH_SESIONS": "3"}, {"BENCH_SESSIONS": "many"}])
def test_what_means_nothing_is_refused(environ: dict[str, str]) -> None:
    with pytest.raises(ValidationError, match=r"sesions|sessions"):
        Parameters.from_environment(environ)


@pytest.mark.parametrize("tokens", [1, 16, 250, 4000])
def test_texts_have_exactly_so_many_tokens(ruler: Ruler, tokens: int) -> None:
    text = ruler.text(tokens, seed=7)
    assert ruler.count(text) == tokens
    assert text == ruler.text(tokens, seed=7) != ruler.text(tokens, seed=8)


def test_the_next_turns_prompt_begins_with_this_ones(ruler: Ruler) -> None:
    messages = [{"role": "user", "content": "Hello"}]
    first = ruler.prompt(messages)
    messages += [{"role": "assistant", "content": "Hi"}, {"role": "user", "content": "And?"}]
    assert ruler.prompt(messages)[: len(first)] == first


def test_what_is_to_be_copied_is_new_each_time() -> None:
    assert copying(1) == copying(1) != copying(2)


async def test_an_engine_that_does_not_know_a_setting_says_so(tmp_path: Path) -> None:
    with pytest.raises(EngineUnavailable, match=r"Roost ended with code 1(.|\n)*no_such_setting"):
        async with servers.roost(tmp_path / "none.gguf", tmp_path, 1, no_such_setting=1):
            pass


async def test_an_engine_without_its_model_says_so(tmp_path: Path) -> None:
    with pytest.raises(EngineUnavailable, match=r"none\.gguf does not exist"):
        async with servers.roost(tmp_path / "none.gguf", tmp_path, 1):
            pass


async def test_a_llama_server_that_is_not_there_says_so(tmp_path: Path) -> None:
    parameters = Parameters(llama_server=tmp_path / "llama-server")
    with pytest.raises(EngineUnavailable, match="llama-server can't be started"):
        async with servers.peers(parameters, tmp_path / "none.gguf", ("", "")):
            pass


async def test_a_llama_server_that_ends_shows_its_last_words(tmp_path: Path) -> None:
    program = tmp_path / "llama-server"
    program.write_text("#!/bin/sh\necho 'error: out of luck' >&2\nexit 3\n")
    os.chmod(program, stat.S_IRWXU)
    parameters = Parameters(llama_server=program)
    with pytest.raises(EngineUnavailable, match=r"code 3(.|\n)*out of luck"):
        async with servers.peers(parameters, tmp_path / "none.gguf", ("best", "-np 12")):
            pass


async def test_a_peer_that_does_not_answer_is_named() -> None:
    parameters = Parameters(peer_url="http://127.0.0.1:9/v1")
    with pytest.raises(EngineUnavailable, match=r"PEER_URL=http://127\.0\.0\.1:9/v1"):
        async with servers.peers(parameters, Path("none.gguf")):
            pass
