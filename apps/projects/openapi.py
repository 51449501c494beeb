"""What calls that a limit may refuse say of it in the OpenAPI document."""

from apps.api.errors import QuotaExceeded
from apps.projects.limits import Limit


def over(limit: Limit, *, used: int, most: int, needed: int) -> QuotaExceeded:
    """The error of a call that needs more than is left of this limit."""
    return QuotaExceeded(limit.value, limit.label, used=used, limit=most, needed=needed)


LINES_USED_UP = over(Limit.ENQUEUED_LINES, used=49_990, most=50_000, needed=100)
BYTES_USED_UP = over(Limit.STORED_BYTES, used=9_999_000, most=10_000_000, needed=20_000)
