"""Reads a request body that must be one JSON object."""

import json
import math
from typing import Any, NoReturn

from rest_framework.request import Request

from apps.api.errors import InvalidRequest, TooLarge
from apps.api.nesting import nests_deeper

MAX_BODY_BYTES = 1_048_576
MAX_LEVELS = 100  # of what we echo to clients, whose parsers have limits too


def json_body(request: Request, *, empty: dict[str, Any] | None = None) -> dict[str, Any]:
    """The request's JSON object, whatever its Content-Type: a curl without `-H` sends JSON labelled as a form.

    Raises InvalidRequest `invalid_json` (for an empty body too, unless `empty` is what it means), or TooLarge beyond
    1 MB.
    """
    # Past DRF's parsers, which take an empty body for an empty form.
    raw = request._request.read(MAX_BODY_BYTES + 1)
    if len(raw) > MAX_BODY_BYTES:
        raise TooLarge(f"The request body exceeds {MAX_BODY_BYTES} bytes")
    if not raw and empty is not None:
        return empty
    return json_object(raw)


def json_object(raw: bytes) -> dict[str, Any]:
    """`raw` as a JSON object; raises InvalidRequest with the code `invalid_json` (wire.md §2)."""
    try:
        value = json.loads(raw.decode("utf-8"), parse_constant=_refuse, parse_float=_finite)
    except (ValueError, RecursionError):
        raise InvalidRequest("The request body is not valid JSON", code="invalid_json") from None
    if not isinstance(value, dict):
        raise InvalidRequest("The request body must be a JSON object", code="invalid_json")
    if nests_deeper(value, MAX_LEVELS):
        raise InvalidRequest(f"The request body nests deeper than {MAX_LEVELS} levels", code="invalid_json")
    return value


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")


def _finite(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise ValueError(f"{digits[:20]} is beyond a double's range")
    return number
