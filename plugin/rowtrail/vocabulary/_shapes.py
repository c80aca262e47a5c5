"""What the plain JSON objects of providers say: one reader for each form.

Sources, November 2026: the API references of OpenAI (chat completions; Responses), Anthropic
(messages), Gemini (generateContent, REST and Python spelling), Amazon Bedrock (Converse) and
Ollama (chat).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, cast

from rowtrail.errors import UsageError
from rowtrail.vocabulary._finish import finish_reason
from rowtrail.vocabulary._original import Path

Shape = Mapping[str, Any]
Call = tuple[str | None, str, Any]

_ROLES = {
    "developer": "system",  # OpenAI: the later word
    "function": "tool",  # OpenAI's earlier functions, and Gemini's
    "model": "assistant",  # Gemini
}
_CALLS = ("function_call", "custom_tool_call")
_RESULTS = ("function_call_output", "custom_tool_call_output")


class Said(NamedTuple):
    """The fields of a message.

    Attributes:
        place: Where in the object the very `content` is, None where it is nowhere.
    """

    role: str
    content: str | list[Any] = ""
    place: Path | None = None
    tool_calls: tuple[Call, ...] = ()
    tool_call_id: str | None = None
    name: str | None = None
    finish_reason: str | None = None


def said(shape: Shape) -> Said:
    """Return what an object says.

    Raises:
        UsageError: It is of no form that is known.
    """
    for read in (_response, _item, _gemini, _spoken):
        found = read(shape)
        if found is not None:
            return found
    raise UsageError(
        f"an object with the keys {sorted(map(str, shape))} is no message of OpenAI, Anthropic, "
        "Gemini, Bedrock or Ollama: build a rowtrail.vocabulary.Message of its parts"
    )


def split(shape: Shape) -> list[Shape]:
    """Return an object for each tool result of a message, and one for the rest of it."""
    for key in ("content", "parts"):
        blocks = shape.get(key)
        results = [block for block in _list(blocks) if _result(block) is not None]
        if results and len(_list(blocks)) > 1:
            rest = [block for block in _list(blocks) if _result(block) is None]
            parts: list[list[Any]] = [*([each] for each in results), *([rest] if rest else [])]
            return [{**shape, key: part} for part in parts]
    return [shape]


def _response(shape: Shape) -> Said | None:
    """Read a whole response; of several choices the first."""
    inner: Shape
    path: Path
    choice, inner, path = shape, {}, ()
    output = shape.get("output")
    if choices := _list(shape.get("choices")):  # OpenAI chat
        choice, path = _mapping(choices[0]), ("choices", 0, "message")
        inner = _mapping(choice.get("message"))
    elif candidates := _list(shape.get("candidates")):  # Gemini
        choice, path = _mapping(candidates[0]), ("candidates", 0, "content")
        # what is blocked or cut off before it began has no content, or no parts
        inner = {"role": "model", "parts": [], **_mapping(choice.get("content"))}
    elif "message" in _mapping(output):  # Bedrock
        inner, path = _mapping(_mapping(output)["message"]), ("output", "message")
    elif "role" not in shape and _mapping(shape.get("message")):  # Ollama
        inner, path = _mapping(shape["message"]), ("message",)
    elif isinstance(shape.get("output"), list) and shape.get("type") not in _RESULTS:
        return _items(_list(output), shape)  # OpenAI Responses
    if not inner:
        return None
    found = said(inner)
    place = None if found.place is None else (*path, *found.place)
    return found._replace(place=place, finish_reason=finish_reason(choice) or found.finish_reason)


def _items(output: list[Any], response: Shape) -> Said:
    """Read the items of a response of OpenAI Responses: text, calls, reasoning."""
    items = [(at, said(_mapping(item))) for at, item in enumerate(output) if _mapping(item)]
    calls = tuple(call for _, item in items for call in item.tool_calls)
    texts = [(at, item) for at, item in items if item.content]
    content: str | list[Any] = ""
    place: Path | None = None
    if len(texts) == 1:
        at, item = texts[0]
        content = item.content
        place = None if item.place is None else ("output", at, *item.place)
    elif texts:
        content = [block for _, item in texts for block in _blocks_of(item.content)]
    return Said("assistant", content, place, calls, finish_reason=finish_reason(response))


def _item(shape: Shape) -> Said | None:
    """Read an item of OpenAI Responses that is no message."""
    kind = shape.get("type")
    if not isinstance(kind, str) or "role" in shape:
        return None
    if kind in _CALLS:
        return Said("assistant", tool_calls=(_call(shape, shape.get("call_id")),))
    if kind in _RESULTS:
        content, place = _content(shape.get("output"), ("output",))
        return Said("tool", content, place, tool_call_id=_text_or_none(shape.get("call_id")))
    if kind == "reasoning" or ("id" in shape and "content" not in shape):
        return Said("assistant")  # reasoning, or a tool that the provider runs itself
    return None


def _gemini(shape: Shape) -> Said | None:
    """Read a content of Gemini: parts of text, calls, results, files."""
    role = shape.get("role") or "user"
    if not isinstance(shape.get("parts"), (list, tuple)) or not isinstance(role, str):
        return None
    parts = _list(shape["parts"])
    results = [found for part in parts if (found := _result(part)) is not None]
    if results and len(results) == len(parts):
        return _of_results(results, ("parts",))
    # A part is a thought by a mark of its own, which no other provider has.
    spoken = [part for part in parts if not _mapping(part).get("thought")]
    is_whole = len(spoken) == len(parts) and isinstance(shape["parts"], list)
    return Said(
        _ROLES.get(role, role),
        spoken,
        ("parts",) if is_whole else None,
        tuple(
            _call(each, each.get("id"))
            for part in parts
            for key in ("functionCall", "function_call")
            if (each := _mapping(_mapping(part).get(key)))
        ),
    )


def _spoken(shape: Shape) -> Said | None:
    """Read a message with a role: of OpenAI chat, OpenAI Responses, Anthropic, Bedrock, Ollama."""
    role = shape.get("role")
    if role is None and "content" in shape:
        role = "assistant"
    if not isinstance(role, str):
        return None
    blocks = _list(shape.get("content"))
    results = [found for block in blocks if (found := _result(block)) is not None]
    if results and len(results) == len(blocks):
        return _of_results(results, ("content",))
    content, place = _content(shape.get("content"), ("content",))
    return Said(
        _ROLES.get(role, role),
        content,
        place,
        (*_calls_beside(shape), *_calls_among(blocks, shape)),
        _text_or_none(shape.get("tool_call_id")),
        # Ollama names the tool of a result so
        _text_or_none(shape.get("name") or shape.get("tool_name")),
        finish_reason({key: each for key, each in shape.items() if key != "status"}),
    )


def _calls_beside(shape: Shape) -> list[Call]:
    """Return the calls that stand beside the content: OpenAI chat, Ollama, and our own form."""
    found: list[Call] = []
    for each in map(_mapping, _list(shape.get("tool_calls"))):
        inner = _mapping(each.get("function") or each.get("custom") or each)
        if "name" in inner:
            found.append(_call(inner, each.get("id")))
    legacy = _mapping(shape.get("function_call"))
    return [*found, _call(legacy, None)] if "name" in legacy else found


def _calls_among(blocks: Sequence[Any], shape: Shape) -> list[Call]:
    """Return the calls that are blocks of the content: Anthropic and Bedrock.

    LangChain's own have them twice, and the blocks are the copy.
    """
    if shape.get("tool_calls"):
        return []
    found: list[Call] = []
    for block in map(_mapping, blocks):
        inner = block if block.get("type") == "tool_use" else _mapping(block.get("toolUse"))
        if "name" in inner:
            found.append(_call(inner, inner.get("id") or inner.get("toolUseId")))
    return found


def _call(fields: Shape, call_id: Any) -> Call:
    for key in ("args", "arguments", "input"):
        if key in fields:
            return _text_or_none(call_id), str(fields.get("name")), _arguments(fields[key])
    return _text_or_none(call_id), str(fields.get("name")), {}


def _arguments(given: object) -> Any:
    """Return arguments as an object; the text itself where a model wrote no JSON object."""
    fields = _mapping(given)
    if given is None or fields:
        return dict(fields)
    if not isinstance(given, str):
        return given
    try:
        parsed: Any = json.loads(given or "{}")
    except (ValueError, RecursionError):
        return given
    return cast("dict[str, Any]", parsed) if isinstance(parsed, dict) else given


class _Result(NamedTuple):
    tool_call_id: str | None
    name: str | None
    content: Any
    place: Path
    """Of the content, in the block."""


def _result(block: Any) -> _Result | None:
    """Return the result of a tool that a block holds, None where it holds none."""
    fields = _mapping(block)
    if fields.get("type") == "tool_result":  # Anthropic
        return _Result(
            _text_or_none(fields.get("tool_use_id")), None, fields.get("content"), ("content",)
        )
    inner = _mapping(fields.get("toolResult"))
    if inner:  # Bedrock
        place = ("toolResult", "content")
        return _Result(_text_or_none(inner.get("toolUseId")), None, inner.get("content"), place)
    for key in ("functionResponse", "function_response"):  # Gemini
        inner = _mapping(fields.get(key))
        if inner:
            inside, content = _response_text(inner.get("response"))
            call_id, name = _text_or_none(inner.get("id")), _text_or_none(inner.get("name"))
            return _Result(call_id, name, content, (key, "response", *inside))
    return None


def _response_text(response: Any) -> tuple[Path, Any]:
    """Return the text of a function's response: its only field where that is text, else JSON.

    Source: google-genai wraps what is no object as `{"result": ...}`; the reference names `output`
    and `error`.
    """
    fields = _mapping(response)
    if len(fields) == 1:
        ((key, value),) = fields.items()
        if isinstance(value, str):
            return (key,), value
    return (), json.dumps(response, ensure_ascii=False, default=str)


def _of_results(results: list[_Result], path: Path) -> Said:
    if len(results) == 1:
        (only,) = results
        content, place = _content(only.content, (*path, 0, *only.place))
        if only.place and only.place[-1] == "response":  # JSON that was made of it
            place = None
        return Said("tool", content, place, (), _text_or_none(only.tool_call_id), only.name)
    contents = [_content(each.content, ())[0] for each in results]
    return Said("tool", [block for content in contents for block in _blocks_of(content)])


def _content(content: object, place: Path) -> tuple[str | list[Any], Path | None]:
    """Return content as text or a list of blocks, with its place where it is the very same."""
    blocks = _list(content)
    if isinstance(content, str):
        return content, place
    if isinstance(content, Mapping):
        return [content], None
    if isinstance(content, (list, tuple)):
        return blocks, (place if isinstance(content, list) else None)
    return ("" if content is None else json.dumps(content, default=str)), None


def _blocks_of(content: str | list[Any]) -> list[Any]:
    return [content] if isinstance(content, str) else content


def _list(value: object) -> list[Any]:
    return list(cast("Sequence[Any]", value)) if isinstance(value, (list, tuple)) else []


def _mapping(value: object) -> Shape:
    return cast("Shape", value) if isinstance(value, Mapping) else {}


def _text_or_none(value: Any) -> str | None:
    return value if isinstance(value, str) else None
