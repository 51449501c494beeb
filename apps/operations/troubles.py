"""What is wrong, in sentences with the page that mends it: what somebody woken at night reads first."""

from collections.abc import Iterator
from datetime import timedelta
from typing import NamedTuple

from django.urls import reverse
from django.utils import timezone

from apps.batches.overview import FINALIZING_SLOW
from apps.batches.sweeps import EVERY
from apps.operations.board import Board

QUEUE_LONG = 100


class Trouble(NamedTuple):
    """One thing that is wrong. `is_grave`: it does not get better by itself."""

    text: str
    url: str
    is_grave: bool = True


def of(board: Board) -> list[Trouble]:
    """The grave ones first."""
    found = [*_dependencies(board), *_batches(board), *_fleet(board), *_upstreams(board), *_projects(board)]
    return sorted(found, key=lambda trouble: not trouble.is_grave)


def _dependencies(board: Board) -> Iterator[Trouble]:
    for name, state in board.dependencies.items():
        if state != "ok":
            yield Trouble(f"{name} is away ({state}).", "")
    if board.problem and board.dependencies["postgres"] == "ok":
        yield Trouble(board.problem, "")


def _batches(board: Board) -> Iterator[Trouble]:
    chunks, batches = reverse("admin:batches_chunk_changelist"), reverse("admin:batches_batch_changelist")
    if board.broken:
        text = f"{_many(board.broken, 'chunk')} broken by hand: no sweep will mend that. Resume the batch."
        yield Trouble(text, f"{chunks}?trouble=broken")
    if board.overdue:
        text = f"{_many(board.overdue, 'batch', 'batches')} past the deadline for long."
        yield Trouble(text, f"{batches}?trouble=overdue")
    if board.slow:
        minutes = FINALIZING_SLOW // timedelta(minutes=1)
        text = f"{_many(board.slow, 'batch', 'batches')} finalizing for more than {minutes} minutes."
        yield Trouble(text, f"{batches}?trouble=slow")


def _fleet(board: Board) -> Iterator[Trouble]:
    if board.fleet is not None and not board.fleet.alive:
        yield Trouble("No worker was seen in the last 30 s.", reverse("admin:batches_worker_changelist"))
    for name, length in (board.queues or {}).items():
        if name != "chunks" and length > QUEUE_LONG:
            yield Trouble(f"{length} messages wait in {name}: is its process there?", "")
    for sweep in board.sweeps:
        url = reverse("admin:batches_sweep_changelist")
        late = timezone.now() - sweep.ended_at > timedelta(seconds=3 * EVERY.get(sweep.name, 3600) + 30)
        if late:
            yield Trouble(f"{sweep.name} has not run since {sweep.ended_at:%H:%M}: look at sweeps and beat.", url)
        if sweep.error:
            yield Trouble(f"{sweep.name} fails: {sweep.error[:100]}", url)


def _upstreams(board: Board) -> Iterator[Trouble]:
    for line in board.upstreams:
        if line.is_well or (board.fleet is not None and not board.fleet.alive):
            continue
        url = reverse("admin:upstreams_upstream_changelist") if line.pk is None else _change(line.pk)
        yield Trouble(f"Upstream “{line.name}”: {line.state}{line.seen.because}.", url, is_grave=not line.is_throttled)


def _change(pk: int) -> str:
    return reverse("admin:upstreams_upstream_change", args=[pk])


def _projects(board: Board) -> Iterator[Trouble]:
    for line in board.projects:
        if line.is_over and len(board.projects) > 1:
            name, fair = line.share.name, line.fair_percent
            text = f"Project “{name}” has {line.percent} % of what runs; even would be {fair} %."
            url = reverse("admin:projects_project_change", args=[line.share.project_id])
            yield Trouble(text, url, is_grave=False)


def _many(number: int, one: str, many: str = "") -> str:
    return f"1 {one} is" if number == 1 else f"{number:,} {many or one + 's'} are"
