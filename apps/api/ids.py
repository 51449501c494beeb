"""Public ids: a prefix that says what it names, and a random token."""

import re
import secrets

TOKEN_BYTES = 12
_ID = re.compile(r"[a-z_]{1,16}[-_][0-9A-Za-z_]{1,64}")


def new_id(prefix: str) -> str:
    """`prefix` (with its separator, such as `file-` or `batch_`) followed by 24 hex digits."""
    return prefix + secrets.token_hex(TOKEN_BYTES)


def is_wellformed(value: object) -> bool:
    """True if `value` could be an id of ours; anything else (NULs, megabytes, numbers) never reaches the database."""
    return isinstance(value, str) and _ID.fullmatch(value) is not None


def line_id(batch_id: str, line: int) -> str:
    """The id of one line of a batch, the same however often the line is sent (wire.md §8)."""
    return f"batch_req_{batch_id.removeprefix('batch_')}_{line}"


def line_number(name: str) -> int:
    """The 1-based number in the input of the line with this id."""
    return int(name.rpartition("_")[2])
