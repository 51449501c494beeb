"""Reads the lines of output and error files, as ours and as other servers write them."""

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from apps.batches.codes import PASSING
from apps.cli.exits import CliError, Exit
from apps.inference.faults import NOT_THE_LINE


class _Response(msgspec.Struct):
    status_code: int = 200


class _Error(msgspec.Struct):
    code: str | None = None


class _Line(msgspec.Struct):
    custom_id: str
    response: _Response | None = None
    error: _Error | None = None


_DECODER = msgspec.json.Decoder(_Line)


class Head(NamedTuple):
    """A result line but for its answer: whose it is, and the code of its error, None for an answer."""

    custom_id: str
    code: str | None
    start: int


def heads(path: Path) -> Iterator[Head]:
    """The lines of a result file with where each starts. Raises OSError, and CliError for a line that is no result."""
    start = 0
    with path.open("rb") as stream:
        for number, raw in enumerate(stream, start=1):
            if raw.strip():
                line = _decoded(raw)
                if line is None:
                    text = f"{path}, line {number}: not a line of a batch's results"
                    raise CliError(text, Exit.INVALID_INPUT)
                yield Head(line.custom_id, _code(line), start)
            start += len(raw)


def _decoded(raw: bytes) -> _Line | None:
    """None for what is no result. msgspec refuses the halves of characters that models produce; json takes them."""
    try:
        return _DECODER.decode(raw)
    except msgspec.MsgspecError:
        try:
            return msgspec.convert(json.loads(raw), _Line)
        except (ValueError, RecursionError):
            return None


def _code(line: _Line) -> str | None:
    """Ours has no response where it has an error; others' error files may hold the upstream's refusal as a response."""
    if line.error is not None:
        return line.error.code or "unknown"
    if line.response is None:
        return "unknown"
    return None if 200 <= line.response.status_code < 300 else f"http_{line.response.status_code}"


def is_passing(code: str) -> bool:
    """Whether another try may not meet it."""
    status = int(code.removeprefix("http_")) if code.startswith("http_") else 0
    return code in PASSING or status in NOT_THE_LINE or status >= 500


def codes(path: Path | None) -> Counter[str]:
    """Error code → lines."""
    return Counter(head.code for head in heads(path) if head.code) if path else Counter()


def answer_of(result: dict[str, Any]) -> str:
    """The text of an answer; what is no text is JSON."""
    body = (result.get("response") or {}).get("body")
    for read in (_chat, _completion, _response_output, _embedding):
        try:
            found = read(body)
        except (KeyError, IndexError, TypeError, AttributeError):
            continue
        if isinstance(found, str):
            return found
    return msgspec.json.encode(body).decode()


def _chat(body: Any) -> Any:
    return body["choices"][0]["message"]["content"]


def _completion(body: Any) -> Any:
    return body["choices"][0]["text"]


def _response_output(body: Any) -> str:
    """All texts of an answer of /v1/responses."""
    parts = [part for item in body["output"] for part in item.get("content") or ()]
    return "".join(part["text"] for part in parts if part.get("type") == "output_text")


def _embedding(body: Any) -> str:
    return msgspec.json.encode(body["data"][0]["embedding"]).decode()


def error_of(result: dict[str, Any]) -> str:
    """`code: message`."""
    error = result.get("error")
    if not isinstance(error, dict):
        response = result.get("response") or {}
        body = response.get("body")
        inner = body.get("error") if isinstance(body, dict) else None
        said = inner if isinstance(inner, dict) else {}
        error = {"code": said.get("code") or f"http_{response.get('status_code')}", "message": said.get("message")}
    return ": ".join(str(error[name]) for name in ("code", "message") if error.get(name))
