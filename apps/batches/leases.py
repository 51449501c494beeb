"""Who works on a chunk: claims that run out by themselves, told apart by an epoch. All times are Postgres' own."""

import random
import time
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, NamedTuple
from uuid import uuid4

from django.conf import settings
from django.db import connection, transaction
from django.db.models import DateTimeField, ExpressionWrapper, F, Q
from django.db.models.functions import Now

from apps.batches import usage
from apps.batches.models import Batch, Chunk, Tally
from apps.batches.states import ASSEMBLABLE, RUNNABLE, ChunkState
from apps.batches.usage import Spent
from apps.inference.usage import NO_USAGE, Usage

CLAIM_ROUNDS = 10
CLAIM_PAUSE_SECONDS = 0.01
RUN_COLUMNS = (
    *("batch_id", "index", "first_line", "start", "end", "lines", "epoch"),
    *("batch__project_id", "batch__created_at", "batch__model", "batch__endpoint", "batch__input_file__object_key"),
)
"""What a run needs to know: all columns of the three rows would cost a claim twice as much."""


@dataclass(frozen=True)
class Claim:
    """One worker's hold on one chunk. The epoch fences it: a later claim makes every act of this one a no-op."""

    chunk: Chunk
    epoch: int


class Beat(NamedTuple):
    """What a heartbeat says of one claim: how many lines have ended so far, a WaitingReason if none is sent, and what
    the answers have cost."""

    chunk_id: int
    epoch: int
    completed: int
    failed: int
    waiting: str = ""
    usage: Usage = NO_USAGE


class Renewal(NamedTuple):
    """What a heartbeat learns of one claim that still holds."""

    chunk_id: int
    status: str
    overdue: bool
    key_revoked: bool  # or gone, and no member submitted it


def claim(chunk_id: int) -> Claim | None:
    """Takes the chunk if it is pending or its lease ran out, and its batch may run; None if somebody else has it.

    The counts of an earlier claim stand until the first heartbeat, so that a client does not see them drop to nothing.
    """
    status = Batch.objects.filter(chunks=chunk_id).values_list("status", flat=True).first()
    if status not in RUNNABLE:
        return None
    free = Q(state=ChunkState.PENDING) | Q(state=ChunkState.RUNNING, lease_expires_at__lt=Now())
    owner = uuid4().hex
    # Guarded by this chunk's own row only: with a join, a second claimer could pass on a stale copy of it.
    taken = Chunk.objects.filter(free, pk=chunk_id).update(
        state=ChunkState.RUNNING,
        epoch=F("epoch") + 1,
        owner=owner,
        lease_expires_at=_lease_end(),
        error="",
    )
    if not taken:
        return None
    chunk = (
        Chunk.objects.select_related("batch__input_file").only(*RUN_COLUMNS).filter(pk=chunk_id, owner=owner).first()
    )
    return Claim(chunk, chunk.epoch) if chunk else None


def claim_next() -> Claim | None:
    """Takes a pending chunk of whoever has the fewest running, and there of the oldest batch; None if none is pending.

    So messages are but permissions to run a chunk, and whose chunk it is gets decided when a worker is free for it. A
    chunk without a message of its own is left alone: one that fails again and again would eat everybody's.
    """
    for attempt in range(CLAIM_ROUNDS):
        if not (open_batches := _open_batches()):
            return None
        if taken := next(filter(None, map(_claim_first_pending, open_batches)), None):
            return taken
        # Others claim at the same moment, and what they are about to take still looks free.
        time.sleep(random.uniform(0.5, 1.5) * CLAIM_PAUSE_SECONDS * (attempt + 1))
    return None


def starving_projects() -> list[str]:
    """Projects that have pending chunks and none running, anywhere."""
    with connection.cursor() as cursor:
        cursor.execute(STARVING)
        return [str(project_id) for (project_id,) in cursor.fetchall()]


def _open_batches() -> list[str]:
    with connection.cursor() as cursor:
        cursor.execute(OPEN_BATCHES)
        return [batch_id for (batch_id,) in cursor.fetchall()]


@transaction.atomic
def _claim_first_pending(batch_id: str) -> Claim | None:
    pending = Chunk.objects.filter(batch=batch_id, state=ChunkState.PENDING, enqueued_at__isnull=False)
    first = pending.order_by("index").select_for_update(skip_locked=True).values_list("pk", flat=True).first()
    return None if first is None else claim(first)


IN_TURN = """
SELECT batch.id, batch.created_at
  FROM batches_batch AS batch
 WHERE batch.project_id = project.id AND batch.status IN ('in_progress', 'cancelling')
   AND EXISTS (SELECT FROM batches_chunk AS chunk WHERE chunk.batch_id = batch.id AND chunk.state = 'pending'
                                                AND chunk.enqueued_at IS NOT NULL)
"""
RUNNING_BY_PROJECT = """
SELECT batch.project_id, count(*) AS chunks
  FROM batches_chunk AS chunk JOIN batches_batch AS batch ON batch.id = chunk.batch_id
 WHERE chunk.state = 'running' AND chunk.lease_expires_at > statement_timestamp()
 GROUP BY batch.project_id
"""
# Project by project, each one's oldest batches in the order of the index: a claim must cost the same however many
# batches wait. Both are asked all the time.
OPEN_BATCHES = f"""
SELECT open.id
  FROM projects_project AS project
       LEFT JOIN ({RUNNING_BY_PROJECT}) AS running ON running.project_id = project.id
       CROSS JOIN LATERAL ({IN_TURN} ORDER BY batch.created_at, batch.id LIMIT 20) AS open
 ORDER BY coalesce(running.chunks, 0), open.created_at, open.id
 LIMIT 20
"""  # noqa: S608  made of constants
STARVING = f"""
SELECT project.id
  FROM projects_project AS project
       CROSS JOIN LATERAL ({IN_TURN} ORDER BY batch.created_at, batch.id LIMIT 1) AS open
 WHERE project.id NOT IN (SELECT running.project_id FROM ({RUNNING_BY_PROJECT}) AS running)
"""  # noqa: S608


def renew(beats: Sequence[Beat]) -> list[Renewal]:
    """Prolongs the claims' leases and stores their counts, in one UPDATE; a claim missing in the answer was lost."""
    with connection.cursor() as cursor:
        rows = ((*beat[:-1], *beat.usage) for beat in beats)
        cursor.execute(RENEW, [settings.LEASE_SECONDS, *(list(column) for column in zip(*rows, strict=True))])
        return [Renewal(*row) for row in cursor.fetchall()]


RENEW = """
UPDATE batches_chunk AS chunk
   SET lease_expires_at = statement_timestamp() + %s * interval '1 second',
       completed = beat.completed,
       failed = beat.failed,
       waiting = beat.waiting,
       input_tokens = beat.input_tokens,
       cached_tokens = beat.cached_tokens,
       output_tokens = beat.output_tokens,
       reasoning_tokens = beat.reasoning_tokens,
       total_tokens = beat.total_tokens
  FROM unnest(%s::bigint[], %s::int[], %s::int[], %s::int[], %s::text[],
              %s::bigint[], %s::bigint[], %s::bigint[], %s::bigint[], %s::bigint[])
       AS beat (id, epoch, completed, failed, waiting,
                input_tokens, cached_tokens, output_tokens, reasoning_tokens, total_tokens),
       batches_batch AS batch
       LEFT JOIN projects_apikey AS api_key ON api_key.id = batch.api_key_id
 WHERE chunk.id = beat.id AND chunk.epoch = beat.epoch AND chunk.state = 'running' AND batch.id = chunk.batch_id
RETURNING chunk.id, batch.status, batch.expires_at <= statement_timestamp(),
          (api_key.id IS NULL AND batch.submitted_by_id IS NULL) OR api_key.revoked_at IS NOT NULL
"""


def commit(
    held: Claim, tally: Tally, spent: Iterable[Spent], *, halted: str, output_bytes: int, error_bytes: int
) -> bool:
    """Makes the claim's parts the chunk's result, and counts what they cost; False if the claim was lost, and the
    parts are nobody's.

    May be repeated: a commit whose answer was lost with the connection counts as made.
    """
    facts = {
        **tally._asdict(),
        **usage.columns(spent),
        "id": held.chunk.pk,
        "epoch": held.epoch,
        "halted": halted,
        "output_bytes": output_bytes,
        "error_bytes": error_bytes,
    }
    with connection.cursor() as cursor:
        cursor.execute(COMMIT, facts)
        (done,) = cursor.fetchone()
    return bool(done) or Chunk.objects.filter(pk=held.chunk.pk, epoch=held.epoch, state=ChunkState.DONE).exists()


# One statement and not a transaction of two: a worker that is frozen between them would keep the rows locked, and all
# heartbeats and sweeps that want them would wait for it.
COMMIT = f"""
WITH done AS (
    UPDATE batches_chunk
       SET state = 'done', done_at = statement_timestamp(), lease_expires_at = NULL, owner = '', waiting = '',
           completed = %(completed)s, failed = %(failed)s, input_tokens = %(input_tokens)s,
           cached_tokens = %(cached_tokens)s, output_tokens = %(output_tokens)s,
           reasoning_tokens = %(reasoning_tokens)s, total_tokens = %(total_tokens)s, halted = %(halted)s,
           output_bytes = %(output_bytes)s, error_bytes = %(error_bytes)s
     WHERE id = %(id)s AND epoch = %(epoch)s AND state = 'running'
    RETURNING batch_id
), counted AS ({usage.ADD})
SELECT count(*) FROM done
"""  # noqa: S608  made of constants


def release(held: Claim, error: str = "") -> bool:
    """Lets go without a result, for somebody else to start over; `error` tells an operator why."""
    return _leave(held, state=ChunkState.PENDING, enqueued_at=None, owner="", error=error[:2000])


def take_back(chunk_ids: Collection[int]) -> int:
    """Puts chunks back to pending, whoever has them and whatever somebody wrote into them; how many there were.

    For an operator. Whoever ran one loses its lease, can commit no more, and stops with the next heartbeat; what it had
    in flight is sent again. A chunk that is done is left alone: its answers are paid for. What was taken back has not
    failed: why its last run let go is forgotten.
    """
    back: dict[str, Any] = {"lease_expires_at": None, "enqueued_at": None, "owner": "", "waiting": "", "error": ""}
    taken = Chunk.objects.filter(~Q(state=ChunkState.DONE), pk__in=chunk_ids)
    return taken.update(state=ChunkState.PENDING, **back)


def _leave(held: Claim, **columns: Any) -> bool:
    mine = Chunk.objects.filter(pk=held.chunk.pk, epoch=held.epoch, state=ChunkState.RUNNING)
    return mine.update(lease_expires_at=None, waiting="", **columns) == 1


def claim_assembly(batch_id: str) -> bool:
    """Takes the assembly of a batch that is to be assembled; False if somebody is at it, or it has ended."""
    free = Q(assembling_until=None) | Q(assembling_until__lt=Now())
    mine = Batch.objects.filter(free, pk=batch_id, status__in=ASSEMBLABLE)
    return mine.update(assembling_until=_lease_end()) == 1


def renew_assemblies(batch_ids: Collection[str]) -> None:
    """Says that these assemblies go on."""
    Batch.objects.filter(pk__in=batch_ids, status__in=ASSEMBLABLE).update(assembling_until=_lease_end())


def release_assembly(batch_id: str) -> None:
    """Lets somebody else assemble."""
    Batch.objects.filter(pk=batch_id, status__in=ASSEMBLABLE).update(assembling_until=None)


def _lease_end() -> "ExpressionWrapper[Any]":
    return ExpressionWrapper(Now() + timedelta(seconds=settings.LEASE_SECONDS), output_field=DateTimeField())
