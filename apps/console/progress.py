"""How far a batch is, as people ask: how much, how fast, how long still."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from django.utils import timezone

from apps.batches import reasons
from apps.batches.models import Batch, Chunk, Tally
from apps.batches.states import BatchStatus, ChunkState, WaitingReason
from apps.projects.models import Project

HALTED = frozenset({BatchStatus.CANCELLING, BatchStatus.CANCELLED, BatchStatus.EXPIRED})
WIDTH, HEIGHT = 600, 120
"""Of a curve's drawing, in its own units."""


class Moment(NamedTuple):
    """A station of a batch's way, and the seconds since the one before."""

    label: str
    at: datetime
    after: float | None = None


@dataclass(frozen=True)
class Progress:
    """A batch, its live counts, and why it waits, if it does, all as of `now`."""

    batch: Batch
    tally: Tally
    reason: str
    now: datetime

    @property
    def name(self) -> str:
        """What its maker called it in the metadata, or its input's file name."""
        metadata = self.batch.metadata
        name = metadata.get("name") if isinstance(metadata, dict) else None
        return name if isinstance(name, str) and name.strip() else self.batch.input_file.filename

    @property
    def done(self) -> int:
        return self.tally.completed + self.tally.failed

    @property
    def left(self) -> int:
        return max(self.batch.total - self.done, 0)

    @property
    def percent(self) -> float:
        """Of lines that have ended, rounded down: 100 is said only when none is left."""
        return int(1000 * self.done / self.batch.total) / 10 if self.batch.total else 0.0

    @property
    def completed_percent(self) -> float:
        return 100 * self.tally.completed / self.batch.total if self.batch.total else 0.0

    @property
    def failed_percent(self) -> float:
        return 100 * self.tally.failed / self.batch.total if self.batch.total else 0.0

    @property
    def ended_at(self) -> datetime | None:
        return getattr(self.batch, f"{self.batch.status}_at") if self.batch.is_terminal else None

    @property
    def age(self) -> float:
        return (self.now - self.batch.created_at).total_seconds()

    @property
    def seconds(self) -> float:
        """How long it has run, or ran."""
        began = self.batch.in_progress_at
        return ((self.ended_at or self.now) - began).total_seconds() if began else 0.0

    @property
    def rate(self) -> float:
        """Lines a second, on the average since it began; 0 when many were written off instead of sent."""
        was_halted = self.batch.status in HALTED
        return self.done / self.seconds if self.seconds > 0 and not was_halted else 0.0

    @property
    def seconds_left(self) -> float | None:
        """As it went so far; None when nobody can say."""
        runs = self.batch.status == BatchStatus.IN_PROGRESS and not self.reason
        return self.left / self.rate if runs and self.rate else None

    @property
    def waits_because(self) -> str:
        return str(WaitingReason(self.reason).label) if self.reason else ""

    @property
    def moments(self) -> list[Moment]:
        """The states that the batch has been in, in the order of time."""
        stamps = {"Created": self.batch.created_at} | {
            str(status.label): getattr(self.batch, f"{status.value}_at", None) for status in BatchStatus
        }
        known = sorted(((at, label) for label, at in stamps.items() if at), key=lambda pair: pair[0])
        before = [None, *(at for at, _ in known)]
        return [
            Moment(label, at, round((at - then).total_seconds(), 1) if then else None)
            for (at, label), then in zip(known, before, strict=False)
        ]


def last_model(project: Project) -> str | None:
    """The model of the project's newest batch that has one: a good guess at what the next one wants."""
    named = Batch.objects.filter(project=project, model__isnull=False).order_by("-created_at", "-id")
    return named.values_list("model", flat=True).first()


def of(batches: Iterable[Batch]) -> list[Progress]:
    """Two queries for any number of batches: the live counts of those that run, and why some of these wait."""
    batches, now = list(batches), timezone.now()
    live = Chunk.objects.tallies(batch for batch in batches if not batch.is_terminal)
    waiting = reasons.of(batches)
    return [Progress(batch, live.get(batch.pk, batch.tally), waiting.get(batch.pk, ""), now) for batch in batches]


def curve(progress: Progress) -> str | None:
    """Lines done over time, as an SVG path in WIDTH × HEIGHT; None when the chunks that tell of it are gone.

    It has a point for each chunk that was done, and one for the live counts.
    """
    batch, seconds = progress.batch, progress.seconds
    if batch.in_progress_at is None or not batch.total or seconds <= 0:
        return None
    ends = Chunk.objects.filter(batch=batch, state=ChunkState.DONE, done_at__isnull=False).order_by("done_at")
    steps: list[Any] = list(ends.values_list("done_at", "lines"))
    if batch.is_terminal and not steps:
        return None
    points, sent = [(0.0, 0)], 0
    for at, lines in steps:
        sent += lines
        points.append(((at - batch.in_progress_at).total_seconds(), sent))
    points.append((seconds, max(progress.done, sent)))
    scaled = (f"{WIDTH * at / seconds:.1f},{HEIGHT - HEIGHT * lines / batch.total:.1f}" for at, lines in points)
    return "M" + " L".join(scaled)
