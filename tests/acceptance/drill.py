"""What every drill begins with, a batch that the witness can tell from all others, and ends with: our promises."""

import json
import os
import time
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import psycopg
import redis
from openai import OpenAI
from openai.types import Batch

from apps.api.ids import line_id
from tests.conftest import jsonl
from tests.fakes.upstream import FakeUpstream, Gate
from tests.integration.conftest import ask
from tests.stack import TERMINAL, Message, Stack, finished, submit, wait_until

UNCHANGED_SECONDS = 5.0
"""An ended batch is looked at again this long after."""


AGE_AN_HOUR = (
    """
    UPDATE batches_batch
       SET created_at = created_at - interval '1 hour', in_progress_at = in_progress_at - interval '1 hour',
           expires_at = expires_at - interval '1 hour'
     WHERE id = %s
    """,
    """
    UPDATE batches_chunk
       SET enqueued_at = enqueued_at - interval '1 hour', lease_expires_at = lease_expires_at - interval '1 hour'
     WHERE batch_id = %s
    """,
)


class Ended(NamedTuple):
    """How a batch looked when a drill was through with it, on the clock of `time.monotonic()`."""

    sdk: OpenAI
    batch: Batch
    at: float


RECOUNTED = ("batches_in_progress", "enqueued_lines", "stored_bytes", "tokens")
RECOUNT = """
WITH mine AS (
    SELECT *, status IN ('completed', 'failed', 'expired', 'cancelled') AS has_ended
      FROM batches_batch WHERE project_id = (SELECT project_id FROM batches_batch WHERE id = %s)
)
SELECT ARRAY[
         count(*) FILTER (WHERE NOT has_ended),
         coalesce(sum(total) FILTER (WHERE NOT has_ended), 0),
         (SELECT coalesce(sum(bytes), 0) FROM files_file
           WHERE object_removed_at IS NULL AND project_id IN (SELECT project_id FROM mine))
         + (SELECT coalesce(sum(greatest(bytes, received_bytes)), 0) FROM files_upload
             WHERE status = 'pending' AND project_id IN (SELECT project_id FROM mine)),
         coalesce(sum(total_tokens) FILTER (WHERE has_ended), 0)
         + (SELECT coalesce(sum(chunk.total_tokens), 0) FROM batches_chunk AS chunk
              JOIN mine ON mine.id = chunk.batch_id AND NOT mine.has_ended AND chunk.state <> 'pending')
       ]::bigint[]
  FROM mine
"""


class Drill:
    """One batch that runs into a fault, and the promises that hold all the same."""

    def __init__(self, stack: Stack, witness: FakeUpstream, ended: list[Ended]) -> None:
        self.stack = stack
        self.witness = witness
        self.sdk = stack.sdk()
        self._ended = ended
        self._names: list[str] = []
        self.batch: Batch

    def begin(self, lines: int, model: str = "echo") -> Batch:
        """Creates the batch; every line asks for `model` (see FakeUpstream)."""
        self._names = [f"line {number}" for number in range(lines)]
        self.batch = submit(self.sdk, jsonl(ask(model, name) for name in self._names))
        return self.batch

    def adopt(self, batch: Batch, names: Sequence[str]) -> None:
        """Goes on with a batch that was created otherwise, with these custom_ids in the input's order."""
        self.batch, self._names = batch, list(names)

    def wait_for_sent(self, lines: int, seconds: float = 60.0) -> None:
        """Until the witness has seen this many of the batch's lines."""
        wait_until(lambda: len(self._seen()) >= lines, f"{lines} lines are sent", seconds)

    def chunks_in(self, state: str) -> int:
        """How many of the batch's chunks are in this state."""
        query = "SELECT count(*) FROM batches_chunk WHERE batch_id = %s AND state = %s"
        return int(self.stack.ask_postgres(query, self.batch.id, state))

    def age_an_hour(self) -> None:
        """Whatever Postgres knows of the batch's past is an hour longer ago, and its deadline an hour nearer."""
        for change in AGE_AN_HOUR:
            self.stack.execute(change, self.batch.id)

    def sent_again(self) -> int:
        """Requests beyond one a line, not counting those that the upstream turned away."""
        return sum(count - 1 for count in self._seen())

    def turned_away(self) -> int:
        """Requests that the upstream turned away without a look at them."""
        return sum(self.witness.turned_away[line_id(self.batch.id, number + 1)] for number in range(len(self._names)))

    def sent(self) -> int:
        """Requests for the batch's lines so far, repeated ones included."""
        return sum(self._seen())

    def chunks(self, column: str = "id") -> list[Any]:
        """A column of the batch's chunks, in order."""
        return self.stack.all_of_postgres(
            f"SELECT {column} FROM batches_chunk WHERE batch_id = %s ORDER BY index", self.batch.id
        )

    def chunk_messages(self) -> list[Message]:
        """What brings a worker to run each chunk."""
        project_id = self.stack.env["ZEROBATCH_PROJECT_ID"]
        return [("batches.run_chunk", project_id, chunk_id) for chunk_id in self.chunks()]

    def messages(self) -> list[Message]:
        """Every message that there is about the batch."""
        others = ("batches.start", "batches.finalize", "batches.write_off")
        return [*self.chunk_messages(), *((task, self.batch.id) for task in others)]

    def kept(self) -> int:
        """Finished lines that nobody needs to send again: in the journals of running chunks, or committed."""
        with redis.Redis.from_url(self.stack.env["REDIS_URL"]) as broker:
            flushed: list[Any] = [broker.lrange(f"journal:{chunk_id}", 0, -1) for chunk_id in self.chunks()]
        committed: list[int] = self.chunks("CASE WHEN state = 'done' THEN lines ELSE 0 END")
        return sum(committed) + sum(len(msgspec.msgpack.decode(entries)) for journal in flushed for entries in journal)

    def wait_for_chunks_done(self) -> None:
        wait_until(lambda: set(self.chunks("state")) == {"done"}, "every chunk is done")

    def wait_for_chunks_sent(self) -> str:
        """Until a message for each chunk waits for the silenced workers; the queue in which it does."""
        (_, project_id, _), *_ = messages = self.chunk_messages()
        queue = self.stack.queue_of(*messages[0])
        wait_until(lambda: self.stack.queued(queue, project_id) == len(messages), "the chunks' messages wait")
        return queue

    def lose_chunk_messages(self) -> None:
        """Drops those messages, and has it look as if they were sent a while ago. The workers must be silenced."""
        self.stack.lose(self.wait_for_chunks_sent())
        sent = "UPDATE batches_chunk SET enqueued_at = enqueued_at - interval '20 s' WHERE batch_id = %s RETURNING id"
        assert self.stack.ask_postgres(sent, self.batch.id)

    def resume(self) -> None:
        """Has the resume sweep run until the batch has ended; messages too close to each other are passed over."""

        def look() -> bool:
            self.stack.send("batches.resume")
            return self.column("status") in TERMINAL

        wait_until(look, "the sweep finds the batch")

    def column(self, column: str) -> Any:
        """A column of the batch."""
        return self.stack.ask_postgres(f"SELECT {column} FROM batches_batch WHERE id = %s", self.batch.id)

    def expire(self) -> None:
        """Its deadline is now."""
        self.change("expires_at", "statement_timestamp()")

    @contextmanager
    def held_in_finalizing(self, *, opening: Gate) -> Iterator[None]:
        """Opens the gate, and holds the assembly at its last step while the block lasts: no file can be registered."""
        waiting = "SELECT count(*) FROM pg_locks WHERE relation = 'files_file'::regclass AND NOT granted"
        with psycopg.connect(self.stack.env["DATABASE_URL"]) as connection:
            connection.execute("LOCK TABLE files_file IN SHARE MODE")
            opening.open()
            wait_until(lambda: self.stack.ask_postgres(waiting), "the assembly wants to register its files")
            assert self.column("status") == "finalizing"
            yield

    def change(self, column: str, to: str) -> None:
        """Sets a column of the batch to an SQL expression, by hand."""
        changed = f"UPDATE batches_batch SET {column} = {to} WHERE id = %s RETURNING id"
        assert self.stack.ask_postgres(changed, self.batch.id)

    def error_codes(self) -> Counter[str]:
        """Code → lines of the error file."""
        ended = self.sdk.batches.retrieve(self.batch.id)
        return Counter(row["error"]["code"] for row in self._rows(ended.error_file_id))

    def check(
        self,
        *,
        status: str | Collection[str] = "completed",
        allowed_again: int = 0,
        seconds: float = 90.0,
        killed: bool = False,
        counts_usage: bool = True,
    ) -> Batch:
        """Waits for the batch's end and holds every promise against it (the issue's "invariants").

        A process that was `killed` may leave the temporary file that it was writing, which nobody sees: that one is
        the purge's, a day later. Nothing else may run on the stack then.
        """
        ended = finished(self.sdk, self.batch, seconds)
        assert ended.status in ({status} if isinstance(status, str) else status)
        rows = {kind: self._rows(getattr(ended, f"{kind}_file_id")) for kind in ("output", "error")}
        found = {kind: [row["custom_id"] for row in rows[kind]] for kind in rows}
        assert sorted(found["output"] + found["error"]) == sorted(self._names)
        for kind in rows:
            kept = set(found[kind])
            assert found[kind] == [name for name in self._names if name in kept], f"{kind} is in the input's order"
        counts = ended.request_counts
        assert counts is not None
        assert (counts.completed, counts.failed, counts.total) == (*map(len, found.values()), len(self._names))
        assert self.sent_again() <= allowed_again
        assert len(self._seen()) >= counts.completed
        if ended.status == "completed":
            assert len(self._seen()) == len(self._names)
        if killed:
            wait_until(self._purged, "the dead process's temporary files are removed")
        wait_until(lambda: not list(self._left_behind()), f"nothing is left of {ended.id}", 20)
        wait_until(lambda: self._limits_agree(counts_usage), "the limits are what the tables say", 20)
        self._ended.append(Ended(self.sdk, ended, time.monotonic()))
        return ended

    def _seen(self) -> list[int]:
        """How often each of the batch's lines was sent, of those that were; what was turned away was not sent."""
        counts, away = self.witness.count_by_request_id, self.witness.turned_away
        names = (line_id(self.batch.id, number) for number in range(1, len(self._names) + 1))
        seen = (counts.get(name, 0) - away.get(name, 0) for name in names)
        return [count for count in seen if count]

    def _rows(self, file_id: str | None) -> list[dict[str, Any]]:
        """The file's lines; its `bytes` are those that a client gets."""
        if file_id is None:
            return []
        content = self.sdk.files.content(file_id).content
        assert self.sdk.files.retrieve(file_id).bytes == len(content)
        return [json.loads(row) for row in content.splitlines()]

    def _purged(self) -> bool:
        """No temporary file is left, as if a day had passed."""
        spools, a_day_ago = list(_files_in(self.stack.var_dir / "storage" / "tmp")), time.time() - 25 * 60 * 60
        for spool in spools:
            with suppress(FileNotFoundError):
                os.utime(spool, (a_day_ago, a_day_ago))
        if spools:
            self.stack.send("files.purge")
        return not spools

    def _limits_agree(self, counts_usage: bool) -> bool:
        """What the project is told of its limits is what a count of every row gives; batches beside this one go on."""
        most = len(RECOUNTED) if counts_usage else RECOUNTED.index("tokens")
        counted = self.stack.ask_postgres(RECOUNT, self.batch.id)
        told = self.stack.get("/v1/limits", **{"x-api-key": self.sdk.api_key}).json()
        return bool(counted[:most] == [told[name]["used"] for name in RECOUNTED[:most]])

    def _left_behind(self) -> Iterable[object]:
        """Parts and temporary objects in the storage, and journals in Redis."""
        yield from self.stack.objects(f"batches/{self.batch.id}/parts")
        yield from self.stack.unfinished_objects()
        yield from _files_in(self.stack.var_dir / "storage" / "tmp")
        chunk_ids = self.stack.all_of_postgres("SELECT id FROM batches_chunk WHERE batch_id = %s", self.batch.id)
        with redis.Redis.from_url(self.stack.env["REDIS_URL"]) as broker:
            yield from (key for key in (f"journal:{chunk_id}" for chunk_id in chunk_ids) if broker.exists(key))


def _files_in(folder: Path) -> Iterable[Path]:
    return (path for path in folder.rglob("*") if path.is_file()) if folder.is_dir() else ()


def assert_unchanged(ended: list[Ended]) -> None:
    """Each ended batch is, UNCHANGED_SECONDS after, what it was."""
    for sdk, batch, at in ended:
        # The promise is about time that passes, so time must pass.
        time.sleep(max(0.0, at + UNCHANGED_SECONDS - time.monotonic()))
        assert sdk.batches.retrieve(batch.id) == batch
