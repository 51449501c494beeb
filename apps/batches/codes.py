"""The error codes of lines (wire.md §8) by which somebody decides; plain Python, for the command line decides too."""

CANCELLED = "batch_cancelled"
EXPIRED = "batch_expired"
KEY_REVOKED = "authentication_error"
QUOTA_USED_UP = "insufficient_quota"
PASSING = frozenset({"timeout", "internal_error", "rate_limit_exceeded", QUOTA_USED_UP, EXPIRED})
"""Lines with these may well succeed next time; a cancelled line was not wanted, unless somebody says so."""
LASTING = frozenset({"invalid_request_error", "context_length_exceeded", "not_found_error", "request_too_large"})
EVERY = PASSING | LASTING | {CANCELLED, KEY_REVOKED}
