"""Checks an input before it travels, with the server's own code and the limits of wire.md §3."""

from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import orjson

from apps.batches.pipeline.validate import InvalidInput, Limits, Problem, Validation
from apps.cli.exits import FileTrouble
from apps.files.jsonl import read_lines

LINES = 50_000
BYTES = 209_715_200
LINE_BYTES = 1_048_576
ENDPOINTS = (
    "/v1/chat/completions",
    "/v1/completions",
    "/v1/embeddings",
    "/v1/moderations",
    "/v1/responses",
)
"""What batches are for anywhere; which of them a server takes, it says itself."""


@dataclass(frozen=True)
class Checked:
    """An input as far as it is known: with no problems it can be sent."""

    endpoint: str
    lines: int
    bytes: int
    model: str | None
    problems: list[Problem]


def check(path: Path, endpoint: str | None = None) -> Checked:
    """Every bad line at once. `endpoint` defaults to the first line's url. Raises FileTrouble."""
    try:
        with path.open("rb") as stream:
            endpoint = endpoint or _endpoint_in(stream)
            return _checked(stream, path.stat().st_size, endpoint)
    except OSError as error:
        raise FileTrouble.of(error, f"read {path}") from None


def endpoint_of(path: Path) -> str:
    """What the first line is for. Raises FileTrouble."""
    try:
        with path.open("rb") as stream:
            return _endpoint_in(stream)
    except OSError as error:
        raise FileTrouble.of(error, f"read {path}") from None


def _checked(stream: BinaryIO, size: int, endpoint: str) -> Checked:
    limits = Limits(LINES, LINE_BYTES, frozenset({*ENDPOINTS, endpoint}), errors=LINES)
    validation, problems = Validation(endpoint, limits), []
    if size > BYTES:
        problems = [Problem(f"Input file exceeds maximum size of {BYTES} bytes")]
    else:
        try:
            validation.read(stream)
        except InvalidInput as invalid:
            problems = invalid.problems
    return Checked(endpoint, len(validation.index), size, validation.model, problems)


def _endpoint_in(stream: BinaryIO) -> str:
    """The url of the first line, if it is one that batches are for."""
    for line in read_lines(stream, max_line_bytes=LINE_BYTES):
        try:
            request = orjson.loads(line.text or b"")
        except orjson.JSONDecodeError:
            break
        url = request.get("url") if isinstance(request, dict) else None
        stream.seek(0)
        return url if url in ENDPOINTS else ENDPOINTS[0]
    stream.seek(0)
    return ENDPOINTS[0]
