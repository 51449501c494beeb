"""What is asked of Postgres all the time, by the product's own code; needs Django."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

from apps.api import pagination
from apps.batches import figures, leases, lifecycle, sweeps
from apps.batches.leases import Beat
from apps.batches.lifecycle import BatchRequest
from apps.batches.models import Batch, Chunk
from apps.batches.pipeline import assemble
from apps.batches.serializers import batch_json, batches_json
from apps.batches.standing import standings
from apps.batches.states import TERMINAL, BatchStatus, ChunkState
from apps.files import sweeps as file_sweeps
from apps.files.models import File, Purpose
from apps.projects.models import ApiKey, Project

PAGE = 20
BEATS = 16
"""Chunks that one worker process runs at once, by default."""


@dataclass(frozen=True)
class Facts:
    """What the questions are about; found beforehand."""

    project: Project
    running: Batch
    ended: Batch
    half_way: Batch
    finalizing: Batch
    input: File
    key: ApiKey
    waiting: str
    beats: list[Beat]

    @classmethod
    def find(cls) -> Self:
        project = Project.objects.get(name="tenant 0")
        batches = Batch.objects.filter(project=project).order_by("-created_at", "-id")
        running = Chunk.objects.filter(state=ChunkState.RUNNING).order_by("pk")
        return cls(
            project=project,
            running=batches.filter(chunks__state=ChunkState.RUNNING)[0],
            ended=batches.filter(status__in=TERMINAL)[0],
            half_way=batches[batches.count() // 2],
            finalizing=Batch.objects.filter(status=BatchStatus.FINALIZING)[0],
            input=File.objects.live().filter(project=project, purpose=Purpose.BATCH)[0],
            key=ApiKey.objects.filter(project=project)[0],
            waiting=leases._open_batches()[0],
            beats=[Beat(chunk.pk, chunk.epoch, 50, 0) for chunk in running[:BEATS]],
        )


class Look(NamedTuple):
    """One question. `every` is how often it is asked, in seconds; None if whenever somebody needs to know."""

    name: str
    ask: Callable[[Facts], object]
    every: float | None
    because: str
    """Why its plan is good however many batches there are."""


def _page(facts: Facts, after: Batch | None) -> list[dict[str, Any]]:
    found, _ = pagination.page(Batch.objects.filter(project=facts.project), after=after, limit=PAGE)
    return batches_json(found)


def _files(facts: Facts) -> list[File]:
    return pagination.page(File.objects.live().filter(project=facts.project), after=None, limit=PAGE)[0]


def _create(facts: Facts) -> Batch:
    asked = BatchRequest(facts.project, facts.key, facts.input.pk, "/v1/chat/completions", {}, None)
    chunks = [
        Chunk(index=at, first_line=at * 100 + 1, start=at * 100, end=at * 100 + 99, lines=100) for at in range(100)
    ]
    return lifecycle.create(asked, facts.input, chunks=chunks, total=10_000, model="benchmark")


def _finalize(facts: Facts) -> bool:
    return assemble._end(facts.finalizing, BatchStatus.COMPLETED, {"output": 1_000, "error": 10})


LOOKS = (
    Look(
        "API: retrieve a batch in progress",
        lambda facts: batch_json(lifecycle.find(facts.project, facts.running.pk)),
        None,
        "Three questions, each by the batch's id: the row, the sum over its chunks, why it waits.",
    ),
    Look(
        "API: list 20 in progress",
        lambda facts: _page(facts, None),
        None,
        "The index has the project's batches in the order of the page; the chunks of these 20 are summed in one query.",
    ),
    Look(
        "API: list 20, half way down",
        lambda facts: _page(facts, facts.half_way),
        None,
        "The cursor says where in the index the page begins, so that nothing before it is read.",
    ),
    Look(
        "API: limits",
        lambda facts: standings(facts.project),
        None,
        "The project's unfinished batches and its stored files, each from an index that has no others; its pages of "
        "usage, one for each day and model. A create with limits asks for the first and the last of these, an upload "
        "for the files.",
    ),
    Look(
        "create: store a batch of 100 chunks",
        _create,
        None,
        "Rows are added, and their indexes are as deep as the logarithm of what is there.",
    ),
    Look(
        "finalize: sum 20 chunks and end the batch",
        _finalize,
        None,
        "By the batch's id, and then by its files' ids.",
    ),
    Look("API: list 20 files", _files, None, "The index has the project's files in the order of the page."),
    Look(
        "claim: whose turn it is",
        lambda _: leases._open_batches(),
        None,
        "Of each project its 20 oldest batches that wait, from an index of unfinished batches, and all chunks that run "
        "now: it does not grow with what waits.",
    ),
    Look(
        "claim: take the chunk",
        lambda facts: leases._claim_first_pending(facts.waiting),
        None,
        "The first entry of the batch in an index of claimable chunks; the rest is by id.",
    ),
    Look(
        "make way: who has none running",
        lambda _: leases.starving_projects(),
        0.5,
        "As whose turn it is, but one batch of each project that has no chunk running.",
    ),
    Look(
        f"heartbeat: {BEATS} leases",
        lambda facts: leases.renew(facts.beats),
        2,
        "By ids, and no index has the columns that change.",
    ),
    Look(
        "metrics: batches by status",
        lambda _: figures.batches(),
        figures.KEPT_SECONDS,
        "The index of unfinished batches has no others, and counting stops at 50,000 of them.",
    ),
    Look(
        "metrics: chunks by state",
        lambda _: figures.chunks_by_state(),
        figures.KEPT_SECONDS,
        "Indexes of pending and of running chunks have no others, and counting stops at 50,000 of them.",
    ),
    Look(
        "metrics: oldest pending, next deadline",
        lambda _: figures.ages(),
        figures.KEPT_SECONDS,
        "Of each project the first of its unfinished batches in the order of the index, and the first that waits.",
    ),
    Look(
        "resume: leases that ran out",
        lambda _: sweeps.reclaim_stalled(),
        10,
        "An index of running chunks only; there are as many as workers have threads.",
    ),
    Look(
        "resume: chunks without a message",
        lambda _: list(sweeps._unsent_chunks(lambda _: False)),
        10,
        "Reads the pending chunks of unfinished batches, through indexes that have no others.",
    ),
    Look(
        "resume: after Redis was emptied",
        lambda _: list(sweeps._unsent_chunks(lambda _: True)),
        10,
        "The same, and the first 5,000 to send again.",
    ),
    Look(
        "resume: batches to assemble",
        lambda _: sweeps._ready_batches(),
        10,
        "For each unfinished batch one look into the index of chunks that are not done.",
    ),
    Look(
        "expire: overdue or cancelling",
        lambda _: sweeps.overdue(),
        10,
        "Reads the unfinished batches; for each that is to end one look into the index of chunks that are not done.",
    ),
    Look(
        "purge: batches that ended an hour ago",
        lambda _: sweeps._ended_a_while_ago(),
        3600,
        "Once an hour it may read all batches; for each that ended long enough ago one look into the index of chunks.",
    ),
    Look(
        "purge: one batch's chunks",
        lambda facts: Chunk.objects.filter(batch=facts.ended).delete(),
        None,
        "By the batch's id.",
    ),
    Look(
        "purge: files without a reader",
        lambda _: file_sweeps._removable(),
        3600,
        "Once an hour it may read all files.",
    ),
)
