"""Reads a request body that must be one JSON object."""

import json
import math
from typing import IO, Any, NoReturn

from rest_framework.parsers import BaseParser

from apps.api.errors import InvalidRequest, TooLarge

MAX_BODY_BYTES = 1_048_576


class JsonObjectParser(BaseParser):
    """Takes any Content-Type: a curl without `-H` sends JSON labelled as a form, and it is JSON all the same."""

    media_type = "*/*"

    def parse(self, stream: IO[bytes], media_type: str | None = None, parser_context: Any = None) -> dict[str, Any]:
        """The object; raises InvalidRequest `invalid_json`, or TooLarge beyond 1 MB."""
        raw = stream.read(MAX_BODY_BYTES + 1)
        if len(raw) > MAX_BODY_BYTES:
            raise TooLarge(f"The request body exceeds {MAX_BODY_BYTES} bytes")
        return json_object(raw)


def json_object(raw: bytes) -> dict[str, Any]:
    """`raw` as a JSON object; raises InvalidRequest with the code `invalid_json` (wire.md §2)."""
    try:
        value = json.loads(raw.decode("utf-8"), parse_constant=_refuse, parse_float=_finite)
    except (ValueError, RecursionError):
        raise InvalidRequest("The request body is not valid JSON", code="invalid_json") from None
    if not isinstance(value, dict):
        raise InvalidRequest("The request body must be a JSON object", code="invalid_json")
    return value


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")


def _finite(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise ValueError(f"{digits[:20]} is beyond a double's range")
    return number
