"""Batch and Chunk: what is known about a batch's work. Bodies and answers are never in the database."""

from collections.abc import Iterable
from datetime import timedelta
from functools import partial
from typing import Any, NamedTuple

from django.conf import settings
from django.db import models
from django.db.models import Q, Sum
from django.db.models.functions import Now
from django.utils import timezone

from apps.api.fields import JsonTextField
from apps.api.ids import new_id
from apps.batches.states import TERMINAL, UNFINISHED, BatchStatus, ChunkState
from apps.files.models import File
from apps.projects.models import ApiKey, Project


class Tally(NamedTuple):
    """How far a batch or a chunk has come: lines by outcome, and tokens as the upstream counted them."""

    completed: int = 0
    failed: int = 0
    input_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0
    total_tokens: int = 0


class TokenFields(models.Model):
    """The columns of a Usage."""

    input_tokens = models.BigIntegerField(default=0)
    cached_tokens = models.BigIntegerField(default=0)
    output_tokens = models.BigIntegerField(default=0)
    reasoning_tokens = models.BigIntegerField(default=0)
    total_tokens = models.BigIntegerField(default=0)

    class Meta:
        abstract = True


class TallyFields(TokenFields):
    """The columns of a Tally."""

    completed = models.PositiveIntegerField(default=0)
    failed = models.PositiveIntegerField(default=0)

    class Meta:
        abstract = True

    @property
    def tally(self) -> Tally:
        return Tally(*(getattr(self, field) for field in Tally._fields))


class Batch(TallyFields):
    """One batch of lines that all go to one endpoint.

    States and edges are in states.py; `lifecycle.move` is the only writer of `status`, and stamps `<status>_at` with
    it. A terminal row never changes again. The tally columns are filled when the batch ends; until then its chunks
    know.
    """

    id = models.CharField(primary_key=True, max_length=80, default=partial(new_id, "batch_"), editable=False)
    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="batches")
    api_key = models.ForeignKey(ApiKey, on_delete=models.SET_NULL, null=True, related_name="+")
    submitted_by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.SET_NULL,
        null=True,
        related_name="+",
        help_text="the member who submitted it in the console, without a key",
    )
    input_file = models.ForeignKey(File, on_delete=models.PROTECT, related_name="+")
    output_file = models.ForeignKey(File, on_delete=models.SET_NULL, null=True, related_name="+")
    error_file = models.ForeignKey(File, on_delete=models.SET_NULL, null=True, related_name="+")
    # Few batches retry one: its index is the partial one below.
    retry_of = models.ForeignKey("self", on_delete=models.SET_NULL, null=True, related_name="+", db_index=False)
    endpoint = models.CharField(max_length=200)
    model = models.CharField(max_length=256, null=True)  # noqa: DJ001  null is the wire's "lines differ"
    status = models.CharField(max_length=20, choices=BatchStatus, default=BatchStatus.VALIDATING)
    errors = JsonTextField(null=True)
    metadata = JsonTextField(default=dict)
    total = models.PositiveIntegerField(default=0)
    output_expires_after = models.PositiveIntegerField(null=True, help_text="seconds")
    created_at = models.DateTimeField(default=timezone.now)
    expires_at = models.DateTimeField()
    in_progress_at = models.DateTimeField(null=True)
    finalizing_at = models.DateTimeField(null=True)
    completed_at = models.DateTimeField(null=True)
    failed_at = models.DateTimeField(null=True)
    expired_at = models.DateTimeField(null=True)
    cancelling_at = models.DateTimeField(null=True)
    cancelled_at = models.DateTimeField(null=True)

    assembling_until = models.DateTimeField(null=True, help_text="the lease of whoever joins its files")

    class Meta:
        verbose_name_plural = "batches"
        indexes = (
            models.Index(fields=["project", "-created_at", "-id"], name="batch_newest_first"),
            # The admin's list, of all projects; and of one status, of which there may be few among many.
            models.Index(fields=["-created_at", "-id"], name="batch_newest_of_all"),
            models.Index(fields=["status", "-created_at", "-id"], name="batch_newest_by_status"),
            # Few rows of many: a claim looks for a project's oldest, the sweeps look at all.
            models.Index(
                fields=["project", "created_at", "id"],
                condition=Q(status__in=sorted(UNFINISHED)),
                name="batch_unfinished_in_turn",
            ),
            models.Index(fields=["retry_of"], condition=Q(retry_of__isnull=False), name="batch_retries"),
        )

    def __str__(self) -> str:
        return self.id

    @property
    def is_terminal(self) -> bool:
        return self.status in TERMINAL


class ChunkQuerySet(models.QuerySet["Chunk"]):
    def tallies(self, batches: Iterable[Batch]) -> dict[str, Tally]:
        """Batch id → live tally, in one query; heartbeats keep running chunks' counts fresh to two seconds."""
        sums: dict[str, Any] = {field: Sum(field) for field in Tally._fields}
        rows: Any = self.filter(batch__in=list(batches)).values("batch_id").annotate(**sums)
        return {row["batch_id"]: Tally(*(int(row[field]) for field in Tally._fields)) for row in rows}

    def stalled(self) -> "ChunkQuerySet":
        """Running by their state, but their lease ran out: the worker is gone."""
        return self.filter(state=ChunkState.RUNNING, lease_expires_at__lt=Now())

    def broken(self) -> "ChunkQuerySet":
        """As no code leaves them, and no sweep brings back: somebody wrote to the table by hand.

        Of no known state; running without a lease, or with one that ends later than any heartbeat would say.
        """
        beyond = Now() + timedelta(seconds=2 * settings.LEASE_SECONDS)
        odd = Chunk.objects.filter(~Q(state=ChunkState.DONE), ~Q(state__in=list(ChunkState)))
        held_by_nobody = Chunk.objects.filter(
            Q(lease_expires_at=None) | Q(lease_expires_at__gt=beyond), state=ChunkState.RUNNING
        )
        # Two searches, each in the index that is for it; as one condition, every open chunk would be looked at.
        return self.filter(pk__in=odd.values("pk").union(held_by_nobody.values("pk")))


class Chunk(TallyFields):
    """A planned range of a batch's lines: the unit that a worker claims, runs and commits.

    pending → running when a worker claims it: the epoch goes up by one, and the lease says until when the claim holds.
    running → pending when the lease ran out or the worker let go; running → done when the claim with the current epoch
    commits. Every transition is one guarded UPDATE in leases.py. The parts of a done chunk carry its final epoch.
    """

    # Its own index would be two more on the largest table: that of `chunk_once_per_batch` begins with the batch too.
    batch = models.ForeignKey(Batch, on_delete=models.CASCADE, related_name="chunks", db_index=False)
    index = models.PositiveIntegerField()
    first_line = models.PositiveIntegerField(help_text="1-based line number in the input file")
    start = models.BigIntegerField(help_text="byte range [start, end) in the input file")
    end = models.BigIntegerField()
    lines = models.PositiveIntegerField()
    state = models.CharField(max_length=10, choices=ChunkState, default=ChunkState.PENDING)
    epoch = models.PositiveIntegerField(default=0)
    owner = models.CharField(max_length=80, blank=True)
    lease_expires_at = models.DateTimeField(null=True)
    enqueued_at = models.DateTimeField(null=True, help_text="when a message for it was last sent")
    output_bytes = models.BigIntegerField(default=0)
    error_bytes = models.BigIntegerField(default=0)
    halted = models.CharField(max_length=40, blank=True, help_text="error code of the lines that were never sent")
    waiting = models.CharField(max_length=30, blank=True, help_text="a WaitingReason while its run sends nothing")
    error = models.TextField(blank=True, help_text="why the last claim let go")
    done_at = models.DateTimeField(null=True)

    objects = ChunkQuerySet.as_manager()

    class Meta:
        constraints = (
            models.UniqueConstraint(fields=["batch", "index"], name="chunk_once_per_batch"),
            models.CheckConstraint(condition=Q(end__gt=models.F("start"), lines__gt=0), name="chunk_has_lines"),
        )
        # The lease is in none of them, so that a heartbeat writes to no index.
        indexes = (
            models.Index(fields=["batch", "state"], condition=~Q(state="done"), name="chunk_not_done"),
            models.Index(fields=["batch"], condition=Q(state="running"), name="chunk_running"),
            models.Index(fields=["enqueued_at"], condition=Q(state="pending"), name="chunk_pending"),
            models.Index(
                fields=["batch", "index"],
                condition=Q(state="pending", enqueued_at__isnull=False),
                name="chunk_claimable",
            ),
        )

    def __str__(self) -> str:
        return f"{self.batch_id}/{self.index}"


class DailyUsage(TokenFields):
    """What a project's answered lines have cost on one day (UTC), by model; kept for good.

    Each chunk adds its own in the transaction that commits it (usage.py), so every answer is counted once.
    """

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="usage", db_index=False)
    day = models.DateField(help_text="when the chunks were committed, in UTC")
    model = models.CharField(max_length=256, blank=True, help_text="empty for lines that name none")
    requests = models.BigIntegerField(default=0, help_text="answered lines")

    class Meta:
        verbose_name_plural = "daily usage"
        constraints = (models.UniqueConstraint(fields=["project", "day", "model"], name="usage_once_a_day_and_model"),)

    def __str__(self) -> str:
        return f"{self.project_id} {self.day} {self.model}"


class Worker(models.Model):
    """A process that takes chunks, as its heartbeats tell. Nothing rests on it: it is there to be looked at."""

    id = models.CharField(primary_key=True, max_length=80, default=partial(new_id, "worker_"), editable=False)
    name = models.CharField(max_length=200, help_text="Celery's name of it: worker-<pid>@<host>")
    started_at = models.DateTimeField(default=timezone.now)
    seen_at = models.DateTimeField(default=timezone.now)
    report = JsonTextField(default=dict, help_text="what it says of itself (report.py)")

    def __str__(self) -> str:
        return self.name


class Sweep(models.Model):
    """When a sweep last ended, and how. Nothing rests on it: it is there to be looked at."""

    name = models.CharField(primary_key=True, max_length=80, help_text="the task's name")
    ended_at = models.DateTimeField(default=timezone.now)
    seconds = models.FloatField(default=0)
    error = models.TextField(blank=True, help_text="the exception that ended it; empty if none did")

    def __str__(self) -> str:
        return self.name
