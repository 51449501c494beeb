"""The Batch as the wire shows it (wire.md §7), and the request that creates one (wire.md §6)."""

import json
from collections.abc import Iterable
from datetime import datetime
from typing import Any

from django.contrib.auth.models import User

from apps.api.errors import InvalidRequest
from apps.batches import codes, reasons
from apps.batches.lifecycle import BatchRequest
from apps.batches.models import Batch, Chunk, Tally, TokenFields
from apps.batches.pipeline.parts import KINDS, OUTPUT
from apps.batches.pipeline.retry import Retry
from apps.files.serializers import expiry_of
from apps.files.uploads import Remember, do_not_remember
from apps.projects.models import ApiKey, Project

MOST_METADATA_BYTES = 16 * 1024
MOST_ENDPOINT_CHARACTERS = 200
MOST_CODES_SHOWN, MOST_CODE_CHARACTERS = 10, 60
TIMESTAMPS = (
    "created_at",
    "in_progress_at",
    "expires_at",
    "finalizing_at",
    "completed_at",
    "failed_at",
    "expired_at",
    "cancelling_at",
    "cancelled_at",
)


def batches_json(batches: Iterable[Batch]) -> list[dict[str, Any]]:
    """Batches with live counts; one query for all that have not ended yet, one for why those in progress wait."""
    batches = list(batches)
    live = Chunk.objects.tallies(batch for batch in batches if not batch.is_terminal)
    waiting = reasons.of(batches)
    return [_batch_json(batch, live.get(batch.pk, batch.tally), waiting.get(batch.pk)) for batch in batches]


def batch_json(batch: Batch) -> dict[str, Any]:
    return batches_json([batch])[0]


def _batch_json(batch: Batch, tally: Tally, reason: str | None) -> dict[str, Any]:
    return {
        "id": batch.id,
        "object": "batch",
        "endpoint": batch.endpoint,
        "errors": batch.errors,
        "input_file_id": batch.input_file_id,
        "completion_window": "24h",
        "status": batch.status,
        "status_reason": reason,
        "output_file_id": batch.output_file_id,
        "error_file_id": batch.error_file_id,
        "retry_of": batch.retry_of_id,
        **{name: _seconds(getattr(batch, name)) for name in TIMESTAMPS},
        "request_counts": {"total": batch.total, "completed": tally.completed, "failed": tally.failed},
        "model": batch.model,
        "usage": tokens_json(tally),
        "metadata": batch.metadata,
    }


def tokens_json(spent: Tally | TokenFields) -> dict[str, Any]:
    """What answers cost, in the words of the upstream's `usage`."""
    return {
        "input_tokens": spent.input_tokens,
        "input_tokens_details": {"cached_tokens": spent.cached_tokens},
        "output_tokens": spent.output_tokens,
        "output_tokens_details": {"reasoning_tokens": spent.reasoning_tokens},
        "total_tokens": spent.total_tokens,
    }


def _seconds(moment: datetime | None) -> int | None:
    return int(moment.timestamp()) if moment else None


def parse_create(
    data: dict[str, Any],
    project: Project,
    *,
    api_key: ApiKey | None,
    submitted_by: User | None = None,
    remember: Remember = do_not_remember,
) -> BatchRequest:
    """The checked request. Raises InvalidRequest with the messages of wire.md §6, rows 1–4, in that order."""
    for name in ("input_file_id", "endpoint"):
        if not isinstance(data.get(name), str) or not data[name]:
            raise InvalidRequest(f"{name} is required", param=name)
    if data.get("completion_window", "24h") != "24h":
        raise InvalidRequest('completion_window must be "24h"', param="completion_window")
    return BatchRequest(
        project=project,
        api_key=api_key,
        submitted_by=submitted_by,
        remember=remember,
        input_file_id=data["input_file_id"],
        endpoint=_storable(data["endpoint"]),
        metadata=_metadata(data.get("metadata", {})),
        output_expires_after=expiry_of(data.get("output_expires_after"), "output_expires_after"),
    )


def parse_retry(data: dict[str, Any], batch: Batch, *, api_key: ApiKey | None, remember: Remember) -> Retry:
    """The checked request; what it does not say is as in the original. Raises InvalidRequest."""
    return Retry(
        batch=batch,
        api_key=api_key,
        codes=_codes(data["codes"]) if "codes" in data else codes.PASSING,
        metadata=_metadata(data["metadata"]) if "metadata" in data else None,
        output_expires_after=expiry_of(data.get("output_expires_after"), "output_expires_after"),
        remember=remember,
    )


def _codes(value: Any) -> set[str]:
    if not isinstance(value, list) or not value or not all(isinstance(code, str) for code in value):
        raise InvalidRequest("codes must be a list of at least one error code", param="codes")
    unknown = [code for code in value if code not in codes.EVERY]
    if unknown:
        shown = ", ".join(f'"{code[:MOST_CODE_CHARACTERS]}"' for code in unknown[:MOST_CODES_SHOWN])
        known = ", ".join(sorted(codes.EVERY))
        raise InvalidRequest(f"Unknown error codes: {shown}; they are {known}", param="codes")
    return set(value)


def parse_kind(value: str | None) -> str:
    """Which of a batch's two files is meant. Raises InvalidRequest."""
    if value not in {None, "", *KINDS}:
        raise InvalidRequest('kind must be "output" or "error"', param="kind")
    return value or OUTPUT


def _storable(endpoint: str) -> str:
    """The endpoint as Postgres can keep it with a failed batch; no wrong endpoint becomes an allowed one by this."""
    return endpoint.encode("utf-8", "replace").decode().replace("\x00", "\ufffd")[:MOST_ENDPOINT_CHARACTERS]


def _metadata(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict) or _bytes_of(value) > MOST_METADATA_BYTES:
        raise InvalidRequest("metadata must be an object", param="metadata")
    return value


def _bytes_of(value: dict[str, Any]) -> int:
    """Its size as compact UTF-8 JSON, which is how a client would count it."""
    return len(json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass"))
