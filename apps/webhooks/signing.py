"""Signs what we send the Standard Webhooks way, so that any of its libraries can tell that it was us (wire.md §9)."""

import base64
import secrets
from collections.abc import Iterable
from datetime import UTC, datetime

from standardwebhooks import Webhook

PREFIX = "whsec_"
SECRET_BYTES = 32
HINT_CHARACTERS = 4


def new_secret() -> str:
    """`whsec_` and 32 random bytes in base64, which is the HMAC's key."""
    return PREFIX + base64.b64encode(secrets.token_bytes(SECRET_BYTES)).decode()


def hint_of(secret: str) -> str:
    """Enough to tell two secrets apart, and nothing that helps to guess one."""
    return f"{PREFIX}…{secret.rstrip('=')[-HINT_CHARACTERS:]}"


def headers_for(
    event_id: str, body: str, signing_secrets: Iterable[str], now: datetime | None = None
) -> dict[str, str]:
    """The three headers. The id is the event's, the same on each retry; the time is this attempt's.

    With several secrets, while one is being rotated, there is a signature for each: a receiver accepts any.
    """
    at = now or datetime.now(UTC)
    signatures = [Webhook(secret).sign(event_id, at, body) for secret in signing_secrets]
    return {
        "webhook-id": event_id,
        "webhook-timestamp": str(int(at.timestamp())),
        "webhook-signature": " ".join(signatures),
    }
