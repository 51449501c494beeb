"""The error codes of lines (wire.md §8) by which somebody decides; plain Python, for the command line decides too."""

CANCELLED = "batch_cancelled"
EXPIRED = "batch_expired"
KEY_REVOKED = "authentication_error"
QUOTA_USED_UP = "insufficient_quota"
PASSING = frozenset({"timeout", "internal_error", "rate_limit_exceeded", EXPIRED})
"""Lines with these may well succeed next time; a cancelled line was not wanted, unless somebody says so."""
