"""Single-range requests (RFC 9110 §14), as a download that resumes sends them."""

import re

from apps.api.errors import RangeNotSatisfiable

_SINGLE_RANGE = re.compile(r"bytes=([0-9]{0,18})-([0-9]{0,18})")


def parse_range(header: str | None, length: int) -> tuple[int, int] | None:
    """[start, end) of what to send, or None for the whole file: no header, several ranges, or not a byte range.

    Raises RangeNotSatisfiable when the range begins behind the end.
    """
    match = _SINGLE_RANGE.fullmatch((header or "").replace(" ", ""))
    if match is None or match.groups() == ("", ""):
        return None
    first, last = match.groups()
    if first == "":
        start, end = max(length - int(last), 0), length
    else:
        start, end = int(first), min(int(last) + 1, length) if last else length
        if last and int(last) < start:
            return None
    if start >= length or start >= end:
        headers = {"Content-Range": f"bytes */{length}"}
        raise RangeNotSatisfiable(f"The file has {length} bytes", headers=headers)
    return start, end
