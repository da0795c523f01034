"""Contents of items, from parts as responses have them to parts as chat has them."""

from collections.abc import Mapping
from typing import Any

from roost_inference.errors import InvalidRequest

ChatContent = str | list[dict[str, Any]]


def chat_content(content: Any, where: str) -> ChatContent:
    """A content as chat takes it: a text where there is no more than one. Raises InvalidRequest."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        raise InvalidRequest(f"{where} has to be a text or a list of parts", param=where)
    parts = [_chat_part(part, f"{where}[{index}]") for index, part in enumerate(content)]
    if len(parts) == 1 and parts[0]["type"] == "text":
        return str(parts[0]["text"])
    return parts or ""


def chat_text(content: ChatContent) -> str:
    """The text in a content."""
    if isinstance(content, str):
        return content
    return "\n".join(part["text"] for part in content if part["type"] == "text")


def assistant_message(content: Any) -> dict[str, Any]:
    """A message of the model, with its refusal where chat has it."""
    if isinstance(content, str):
        return {"role": "assistant", "content": content}
    refusals = [part["refusal"] for part in content if part.get("type") == "refusal"]
    others = [part for part in content if part.get("type") != "refusal"]
    text = "".join(part.get("text", "") for part in others if isinstance(part.get("text"), str))
    if not refusals:
        return {"role": "assistant", "content": text}
    return {"role": "assistant", "content": text or None, "refusal": "".join(refusals)}


def _chat_part(part: Any, where: str) -> dict[str, Any]:
    kind = part.get("type") if isinstance(part, dict) else None
    match kind:
        case "input_text" | "output_text" | "text" | "summary_text" | "reasoning_text":
            return {"type": "text", "text": _text(part, "text", where)}
        case "refusal":
            return {"type": "text", "text": _text(part, "refusal", where)}
        case "input_image":
            return _image(part, where)
        case "input_file":
            return _file(part, where)
        case "input_audio":
            audio = part.get("input_audio")
            if not isinstance(audio, dict):
                raise InvalidRequest(f"{where}.input_audio is missing", param=where)
            return {"type": "input_audio", "input_audio": audio}
    raise InvalidRequest(f"{where}.type {kind!r} is not supported", param=f"{where}.type")


def _text(part: Mapping[str, Any], name: str, where: str) -> str:
    text = part.get(name)
    if not isinstance(text, str):
        raise InvalidRequest(f"{where}.{name} has to be a text", param=f"{where}.{name}")
    return text


def _image(part: Mapping[str, Any], where: str) -> dict[str, Any]:
    url = part.get("image_url")
    if isinstance(url, dict):  # chat's form
        url = url.get("url")
    if not isinstance(url, str) or not url:
        raise InvalidRequest(
            f"{where}.image_url has to be an address; stored files are not supported",
            param=f"{where}.image_url",
        )
    image: dict[str, Any] = {"url": url}
    if isinstance(part.get("detail"), str):
        image["detail"] = part["detail"]
    return {"type": "image_url", "image_url": image}


def _file(part: Mapping[str, Any], where: str) -> dict[str, Any]:
    data = part.get("file_data")
    if not isinstance(data, str) or not data:
        raise InvalidRequest(
            f"{where}.file_data has to be there; stored files and addresses are not supported",
            param=f"{where}.file_data",
        )
    file = {"file_data": data}
    if isinstance(part.get("filename"), str):
        file["filename"] = part["filename"]
    return {"type": "file", "file": file}
