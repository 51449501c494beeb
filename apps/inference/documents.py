"""JSON from an upstream: is it a whole object, and how does it fit on one line unchanged?"""

import json
from typing import Any, NoReturn

import orjson

_BOM = b"\xef\xbb\xbf"
_WHITESPACE = b" \t\r\n"
_NEWLINES_TO_BLANKS = bytes.maketrans(b"\r\n", b"  ")


def parse_object(body: bytes) -> dict[str, Any] | None:
    """The JSON object in `body` (a UTF-8 BOM in front is tolerated), or None when there is no whole, valid one."""
    text = body.removeprefix(_BOM)
    try:
        document = orjson.loads(text)
    except orjson.JSONDecodeError:
        document = _parse_tolerantly(text)
    return document if isinstance(document, dict) else None


def one_line(body: bytes) -> bytes:
    """A valid JSON `body` without surrounding white space or BOM, and on one line; other bytes are not touched.

    Inside valid JSON a raw newline can only be white space, so a blank is as good (field.md). Parse first: in an
    invalid document this would turn a raw newline within a string into a blank and make it valid.
    """
    line = body.removeprefix(_BOM).strip(_WHITESPACE)
    if b"\n" in line or b"\r" in line:
        return line.translate(_NEWLINES_TO_BLANKS)
    return line


def _parse_tolerantly(text: bytes) -> Any:
    """Take the valid JSON that orjson refuses, chiefly lone surrogates: an emoji cut in half is a paid answer too.

    Decoding here, strictly, is the point: given bytes, `json.loads` guesses at UTF-16 and lets broken UTF-8 through.
    """
    try:
        return json.loads(text.decode("utf-8"), parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        return None


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
