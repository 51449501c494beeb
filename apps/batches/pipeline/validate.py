"""Checks every line of an input file, in one streamed pass (wire.md §6)."""

from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any, NoReturn

import orjson

from apps.api.nesting import nests_deeper
from apps.files.jsonl import Line, LineIndex, Readable, read_lines

MOST_ERRORS = 100
MOST_DEPTH = 1_000
SHOWN_CHARACTERS = 200
MOST_MODEL_CHARACTERS = 256


@dataclass(frozen=True)
class Limits:
    """What a validation obeys (wire.md §3); it goes on after `errors` bad lines, but lists no more."""

    lines: int
    line_bytes: int
    endpoints: frozenset[str]
    errors: int = MOST_ERRORS


@dataclass(frozen=True)
class Problem:
    """One thing wrong with an input: the message of wire.md §6, the 1-based line (None: the whole file), the field."""

    message: str
    line: int | None = None
    param: str | None = None

    def as_json(self) -> dict[str, Any]:
        return {"code": "invalid_request_error", "line": self.line, "message": self.message, "param": self.param}


class InvalidInput(Exception):
    """The input file cannot be run; `problems` holds the first bad lines, in file order."""

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__(problems[0].message)
        self.problems = problems


class _BadLine(Exception):
    def __init__(self, text: str, param: str | None = None) -> None:
        super().__init__(text)
        self.param = param


@dataclass
class Validation:
    """The pass over one file: what it has seen so far, and what it found wrong."""

    endpoint: str
    limits: Limits
    index: LineIndex = field(default_factory=LineIndex)
    model: str | None = None
    _models_differ: bool = False
    _custom_ids: set[str | bytes] = field(default_factory=set)
    _urls: set[str] = field(default_factory=set)
    _problems: list[Problem] = field(default_factory=list)
    _mismatches: list[Problem] = field(default_factory=list)

    def read(self, stream: Readable) -> None:
        """Checks the whole stream. Raises InvalidInput; afterwards `index` and `model` describe the valid input."""
        for line in read_lines(stream, max_line_bytes=self.limits.line_bytes):
            if len(self.index) == self.limits.lines:
                too_many = Problem(f"Input file exceeds maximum of {self.limits.lines} lines")
                self._refuse([too_many, *self._problems])
            self.index.add(line.number, line.start, line.end)
            try:
                self._check(line)
            except _BadLine as bad:
                self._note(self._problems, Problem(f"Line {line.number} {bad}", line.number, bad.param))
        if not len(self.index):
            self._refuse([Problem("Input file contains no JSONL lines")])
        self._judge()

    def _check(self, line: Line) -> None:
        request = self._parse(line.text)
        self._check_custom_id(request.get("custom_id"))
        method = request.get("method")
        if method != "POST" and not (isinstance(method, str) and method.upper() == "POST"):
            raise _BadLine('method must be "POST"', "method")
        self._check_url(request.get("url"), line.number)
        body = request.get("body")
        if not isinstance(body, dict) or not body:
            raise _BadLine("is missing body", "body")
        if body.get("stream") is True:
            raise _BadLine("has stream=true; streaming is not supported in batch mode", "body.stream")
        self._note_model(body.get("model"))

    def _parse(self, text: bytes | None) -> dict[str, Any]:
        if text is None:
            raise _BadLine(f"exceeds maximum size of {self.limits.line_bytes} bytes")
        try:
            # orjson refuses all that wire.md §6 lists, but nests to 1,024 levels.
            request = orjson.loads(text)
        except orjson.JSONDecodeError:
            raise _BadLine("is not valid JSON") from None
        if not isinstance(request, dict):
            raise _BadLine("must be a JSON object")
        if len(text) > 2 * MOST_DEPTH and nests_deeper(request, MOST_DEPTH):
            raise _BadLine("is not valid JSON")
        return request

    def _check_custom_id(self, custom_id: Any) -> None:
        if not isinstance(custom_id, str) or not custom_id:
            raise _BadLine("is missing custom_id", "custom_id")
        seen = short_id(custom_id)
        if seen in self._custom_ids:
            raise _BadLine(f'duplicates custom_id "{_shown(custom_id)}"', "custom_id")
        self._custom_ids.add(seen)

    def _check_url(self, url: Any, number: int) -> None:
        if not isinstance(url, str) or not url:
            raise _BadLine("is missing url", "url")
        if url not in self.limits.endpoints:
            raise _BadLine(f'url "{_shown(url)}" is not an allowed batch endpoint', "url")
        self._urls.add(url)
        if url != self.endpoint:
            message = f'Line {number} url "{url}" does not match the batch endpoint "{_shown(self.endpoint)}"'
            self._note(self._mismatches, Problem(message, number, "url"))

    def _note_model(self, model: Any) -> None:
        """Keeps the model while all lines agree; what Postgres cannot hold as text counts as no model."""
        known = isinstance(model, str) and len(model) <= MOST_MODEL_CHARACTERS and "\x00" not in model
        if not known or (self.model is not None and model != self.model):
            self._models_differ = True
        elif self.model is None:
            self.model = model

    def _note(self, problems: list[Problem], problem: Problem) -> None:
        if len(problems) < self.limits.errors:
            problems.append(problem)

    def _judge(self) -> None:
        problems = self._problems
        if len(self._urls) == 1 and self._mismatches:
            (url,) = self._urls
            shown = _shown(self.endpoint)
            message = f'endpoint "{shown}" does not match the url "{url}" used by the input file'
            problems = [*problems, Problem(message, None, "endpoint")]
        else:
            # The lines disagree: those that differ from the batch's endpoint are the bad ones.
            bad_already = {problem.line for problem in problems}
            problems = problems + [problem for problem in self._mismatches if problem.line not in bad_already]
            problems.sort(key=lambda problem: problem.line or 0)
        if problems:
            self._refuse(problems)
        if self._models_differ:
            self.model = None

    def _refuse(self, problems: list[Problem]) -> NoReturn:
        raise InvalidInput(problems[: self.limits.errors])


def short_id(custom_id: str) -> str | bytes:
    """What a custom_id is remembered by. A digest bounds the memory: 50,000 ids may be a megabyte long each."""
    return custom_id if len(custom_id) <= 64 else blake2b(custom_id.encode(), digest_size=16).digest()


def _shown(text: str) -> str:
    """`text` as a message quotes it: an id may be a megabyte long, a message must not."""
    return text if len(text) <= SHOWN_CHARACTERS else text[:SHOWN_CHARACTERS] + "…"
