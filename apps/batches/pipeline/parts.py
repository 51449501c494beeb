"""Lines of the output and error files (wire.md §8), and the two part objects that a chunk writes."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import msgspec
import orjson

from apps.batches.leases import Claim
from apps.files import storage
from apps.files.jsonl import split_lines
from apps.inference.results import Completed, Failed

SYSTEM_ROLES = ("system", "developer")
OUTPUT, ERROR = "output", "error"
KINDS = (OUTPUT, ERROR)


class InputLine(msgspec.Struct):
    """The members of an input line that the run needs, as raw bytes: what goes through is never re-encoded."""

    custom_id: msgspec.Raw
    body: msgspec.Raw


class Modelled(msgspec.Struct):
    """The one member of a body that decides where it is sent."""

    model: Any = None


class Message(msgspec.Struct):
    """A chat message's role and content."""

    role: Any = None
    content: msgspec.Raw = msgspec.Raw(b"")


class Prefixed(msgspec.Struct):
    """The members of a body that an upstream's prompt begins with."""

    model: Any = None
    instructions: msgspec.Raw = msgspec.Raw(b"")
    messages: list[Message] = []


_decoder = msgspec.json.Decoder(InputLine)
_prefix_decoder = msgspec.json.Decoder(Prefixed)
_model_decoder = msgspec.json.Decoder(Modelled)


def parse_lines(data: bytes, first_line: int) -> list[tuple[int, InputLine]]:
    """(line number, line) of a chunk's bytes; they were validated when the batch was created."""
    return [(number, _decoder.decode(text)) for number, text in split_lines(data, first_line)]


def model_of(body: msgspec.Raw) -> str | None:
    """The model that a line's body names, for batches whose lines differ; None if it names none."""
    model = _model_decoder.decode(body).model
    return model if isinstance(model, str) else None


def prefix_of(body: msgspec.Raw) -> tuple[str, bytes]:
    """Model and system prompt: lines in which both are alike share what an upstream caches of a prompt's beginning.

    A body of another shape has none, which is its upstream's to judge.
    """
    try:
        found = _prefix_decoder.decode(body)
    except msgspec.ValidationError:
        return "", b""
    first = found.messages[0] if found.messages else Message()
    prompt = bytes(first.content) if first.role in SYSTEM_ROLES else bytes(found.instructions)
    return str(found.model), prompt


def output_line(line_id: str, custom_id: msgspec.Raw, answer: Completed) -> bytes:
    """The output file's line for a 2xx answer; the upstream's JSON stands in it byte for byte."""
    request_id = b"null" if answer.request_id is None else orjson.dumps(answer.request_id)
    return b'{"id":"%b","custom_id":%b,"response":{"status_code":%d,"request_id":%b,"body":%b},"error":null}\n' % (
        line_id.encode(),
        bytes(custom_id),
        answer.status_code,
        request_id,
        answer.body,
    )


def error_line(line_id: str, custom_id: msgspec.Raw, failed: Failed) -> bytes:
    """The error file's line."""
    error = orjson.dumps({"code": failed.code, "message": failed.message, "param": failed.param})
    return b'{"id":"%b","custom_id":%b,"response":null,"error":%b}\n' % (line_id.encode(), bytes(custom_id), error)


@dataclass
class Parts:
    """What a chunk has produced so far, by line number and kind; written in the input's order."""

    lines: dict[str, dict[int, bytes]] = field(default_factory=lambda: {kind: {} for kind in KINDS})

    def add(self, kind: str, number: int, line: bytes) -> None:
        self.lines[kind][number] = line

    def count(self, kind: str) -> int:
        return len(self.lines[kind])

    def write(self, claim: Claim) -> dict[str, int]:
        """Stores each kind that has lines and returns kind → bytes. Raises StorageError."""
        return {kind: _write(part_key(claim, kind), self._in_order(kind)) for kind in KINDS}

    def _in_order(self, kind: str) -> list[bytes]:
        lines = self.lines[kind]
        return [lines[number] for number in sorted(lines)]


def part_key(claim: Claim, kind: str) -> str:
    return storage.part_key(claim.chunk.batch_id, claim.chunk.index, claim.epoch, kind)


def _write(key: str, lines: Iterable[bytes]) -> int:
    data = b"".join(lines)
    if data:
        storage.store_bytes(key, data)
    return len(data)


def remove_parts(claim: Claim) -> None:
    """Removes what a claim wrote that could not commit."""
    for kind in KINDS:
        storage.remove(part_key(claim, kind))
