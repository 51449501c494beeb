"""Lets a request be made twice and done once (the Idempotency-Key of wire.md §2)."""

import hashlib
import json
import re
from contextlib import suppress
from datetime import timedelta
from types import TracebackType
from typing import Any, Self
from uuid import uuid4

import structlog
from django.db import Error
from django.db.models.functions import Now

from apps.api.errors import Conflict, InvalidRequest
from apps.idempotency.models import IdempotencyKey
from apps.projects.models import Project

log = structlog.get_logger(__name__)

CLAIM_FOR = timedelta(seconds=30)
"""After so long the key of a request that died, or is slow, may be taken over; one that is slow then makes nothing."""
RETRY_AFTER_SECONDS = 2
_KEY = re.compile(r"[!-~]{1,255}")


class Once:
    """One request's hold on its key, for a `with` block. Without a key everything passes and nothing is remembered.

    1. Entering claims the key, or raises Conflict if another request with it is in flight.
    2. `earlier` says what the same request has made before, or raises Conflict if it was another request.
    3. `remember` notes what is made, in the transaction that makes it.
    4. Leaving gives a key back with which nothing was made.

    Raises InvalidRequest for what cannot be a key.
    """

    def __init__(self, project: Project, key: str | None) -> None:
        if key is not None and not _KEY.fullmatch(key):
            raise invalid_key()
        self.key = key
        self._project = project
        self._owner = uuid4().hex
        self._fingerprint = self._object_id = ""

    def __enter__(self) -> Self:
        if self.key is not None:
            row = self._claim()
            if row.owner != self._owner and not row.object_id:
                raise in_flight()
            self._fingerprint, self._object_id = row.fingerprint, row.object_id
        return self

    def _claim(self) -> IdempotencyKey:
        """The key's row; it is ours if it is new or was free."""
        ours = {
            "owner": self._owner,
            "claimed_until": Now() + CLAIM_FOR,
            "created_at": Now(),
            "fingerprint": "",
            "object_id": "",
        }
        named = {"project": self._project, "key": self.key}
        IdempotencyKey.objects.bulk_create([IdempotencyKey(**named, **ours)], ignore_conflicts=True)
        IdempotencyKey.objects.free().filter(**named).update(**ours)
        row = IdempotencyKey.objects.filter(**named).first()
        if row is None:
            raise in_flight()  # it was given back just now
        return row

    def earlier(self, *asked: Any) -> str | None:
        """The id of what the same request has made, or None: it is to be made now. `asked` is JSON.

        Raises Conflict `idempotency_key_reused` if that was another request.
        """
        if self.key is None:
            return None
        fingerprint = hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()
        if not self._object_id:
            self._fingerprint = fingerprint
            return None
        if fingerprint != self._fingerprint:
            raise reused()
        log.info("repeated request", object_id=self._object_id)
        return self._object_id

    def remember(self, object_id: str) -> None:
        """Notes what this request makes. Belongs into the transaction that makes it, and ends it by raising Conflict
        if the key was taken over meanwhile."""
        if self.key is None:
            return
        ours = self._ours()
        if not ours.update(object_id=object_id, fingerprint=self._fingerprint):
            raise in_flight()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.key is not None:
            with suppress(Error):  # Postgres may be what failed; then the claim runs out
                self._ours().delete()

    def _ours(self) -> Any:
        return IdempotencyKey.objects.filter(project=self._project, key=self.key, owner=self._owner, object_id="")


def invalid_key() -> InvalidRequest:
    """The error for what cannot be a key."""
    message = "Idempotency-Key must be 1 to 255 printable ASCII characters, without blanks"
    return InvalidRequest(message, code="invalid_idempotency_key", param="Idempotency-Key")


def in_flight() -> Conflict:
    """The error for a key whose first request has not ended: the same one may be made again in a moment."""
    return Conflict(
        "A request with this Idempotency-Key is in flight; try again",
        code="idempotency_key_in_flight",
        param="Idempotency-Key",
        headers={"Retry-After": str(RETRY_AFTER_SECONDS)},
    )


def reused() -> Conflict:
    """The error for a key that names another request.

    The SDKs repeat what got a 409, unless they are told that it is no use.
    """
    return Conflict(
        "This Idempotency-Key was used for another request",
        code="idempotency_key_reused",
        param="Idempotency-Key",
        headers={"x-should-retry": "false"},
    )
