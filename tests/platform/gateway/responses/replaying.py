"""Reads a stream of a response, and builds the resource again from its events alone."""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

ENDS = ("response.completed", "response.incomplete", "response.failed")


def events_of(stream: str) -> list[dict[str, Any]]:
    """The events; each has to name its type twice, and be numbered in order."""
    events: list[dict[str, Any]] = []
    for block in stream.split("\n\n"):
        lines = dict(line.split(": ", 1) for line in block.split("\n") if line)
        if lines:
            event = json.loads(lines["data"])
            assert event["type"] == lines["event"]
            events.append(event)
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    return events


def kinds(events: Sequence[Mapping[str, Any]]) -> list[str]:
    """The types of events in order, each only once in a row."""
    found: list[str] = []
    for event in events:
        kind = event["type"].removeprefix("response.")
        if not found or found[-1] != kind:
            found.append(kind)
    return found


def replayed(events: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The output that deltas make, without a look at what the events at the end of a thing hold."""
    output: list[dict[str, Any]] = []
    for event in events:
        kind = event["type"].removeprefix("response.")
        item = output[event["output_index"]] if "item_id" in event else {}
        if "item_id" in event:
            assert item["id"] == event["item_id"]
        match kind:
            case "output_item.added":
                assert event["output_index"] == len(output)
                output.append(dict(event["item"]))
            case "output_item.done":
                done = output[event["output_index"]]
                done["status"] = event["item"]["status"]
                if "encrypted_content" in event["item"]:  # whole at the end only, as the API says
                    done["encrypted_content"] = event["item"]["encrypted_content"]
            case "content_part.added":
                assert event["content_index"] == len(item["content"])
                item["content"].append(dict(event["part"]))
            case "reasoning_summary_part.added":
                assert event["summary_index"] == len(item["summary"])
                item["summary"].append(dict(event["part"]))
            case "output_text.delta":
                part = item["content"][event["content_index"]]
                part["text"] += event["delta"]
                part["logprobs"] = [*part["logprobs"], *event["logprobs"]]
            case "reasoning_text.delta":
                item["content"][event["content_index"]]["text"] += event["delta"]
            case "reasoning_summary_text.delta":
                item["summary"][event["summary_index"]]["text"] += event["delta"]
            case "refusal.delta":
                item["content"][event["content_index"]]["refusal"] += event["delta"]
            case "function_call_arguments.delta":
                item["arguments"] += event["delta"]
            case "custom_tool_call_input.delta":
                item["input"] += event["delta"]
    return output
