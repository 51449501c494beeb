"""The whole product as `make up` starts it, for tests that talk to it from outside."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import boto3
import psutil
import psycopg
import redis
import requests
from celery import Celery
from openai import OpenAI
from openai.types import Batch

from apps.devstack import pids, postgres, seaweed, tenant
from apps.devstack.tenant import Tenant
from zerobatch.routes import route

ROOT = Path(__file__).resolve().parents[1]
START_SECONDS = 120.0
LONGEST_PAUSE = 0.1
LEASE_SECONDS = 5
"""Short, so that a dead worker's chunks wait for seconds in tests, not for half a minute."""
OWN_SERVICES = {
    "DATABASE_URL": "",
    "REDIS_URL": "",
    "STORAGE_DIR": "",
    "S3_BUCKET": "",
    "PORT": "",
    "FLOWER": "off",
}
"""What the environment may name for the tests is not for the stack: drills kill its database."""
SLOTS = {"INFERENCE_MAX_IN_FLIGHT": "64"}
"""What the drills count with, for each worker. 128 for both, the default, once the workers share them."""
FULL_DISK_BYTES = 1_000
"""A file may grow so far on a disk that is full: writes do fail, but not the first byte's."""
TERMINAL = {"completed", "failed", "expired", "cancelled"}
WORKERS = ("worker-1", "worker-2")
CONSUMERS = (*WORKERS, "control", "sweeps", "webhooks")

Message = tuple[Any, ...]
"""A task's name and its arguments."""
DECOYS: dict[str, list[Message]] = {
    "worker": [("batches.run_chunk", "nobody", 0)] * len(WORKERS),
    "control": [("batches.finalize", "batch_nobody")],
    "sweeps": [("batches.expire",)],
}
"""Messages that change nothing, one for each process that may wait for one."""


def wait_until(holds: Callable[[], Any], what: str, seconds: float = 60.0) -> Any:
    """The first true value of `holds()`; fails with `what` when there is none in time.

    Looks less often the longer it takes: a look may cost a web process ten milliseconds, and test processes that look
    without a pause leave nothing for what they wait for.
    """
    end, pause = time.monotonic() + seconds, 0.01
    while not (value := holds()):
        assert time.monotonic() < end, f"not within {seconds} s: {what}"
        time.sleep(pause)  # between two looks, never instead of one
        pause = min(pause * 1.3, LONGEST_PAUSE)
    return value


class Stack:
    """A running dev stack: its address, its key, and the pids of its processes."""

    storage: ClassVar[str] = "folder"
    """What a stack stores into unless it is told: `pytest --storage s3` runs every drill on a bucket."""

    def __init__(self, var_dir: Path, environ: Mapping[str, str]) -> None:
        self.var_dir = var_dir
        self._clients: list[Any] = []
        with (var_dir / "devstack.log").open("w") as output:
            self._process = subprocess.Popen(
                [sys.executable, ROOT / "manage.py", "devstack"],
                env={
                    **os.environ,
                    **OWN_SERVICES,
                    **SLOTS,
                    "STORAGE": self.storage,
                    "VAR_DIR": str(var_dir),
                    **environ,
                },
                cwd=var_dir,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        try:
            wait_until(self._is_up, f"the stack is up; see {var_dir}", START_SECONDS)
        except BaseException:
            self.stop()
            raise
        self.env = dict(row.split("=", 1) for row in (var_dir / "dev.env").read_text().splitlines())
        self.base_url = self.env["ZEROBATCH_BASE_URL"]
        self.api_key = self.env["ZEROBATCH_API_KEY"]

    def _is_up(self) -> bool:
        assert self._process.poll() is None, (self.var_dir / "devstack.log").read_text()
        return (self.var_dir / "dev.env").exists()

    def stop(self) -> None:
        for client in self._clients:
            client.close()
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(60)

    def pid(self, name: str) -> int:
        """The pid of a process; one that is just being restarted has none for a moment."""
        path = self.var_dir / "pids" / f"{name}.pid"
        return int(wait_until(lambda: path.exists() and path.read_text().strip(), f"{name} has a pid"))

    def kill(self, name: str, with_signal: signal.Signals) -> None:
        """Signals a process and waits until the supervisor has started it anew."""
        before = self.pid(name)
        os.kill(before, with_signal)
        wait_until(lambda: self.pid(name) != before, f"{name} is restarted")

    @contextmanager
    def frozen(self, *names: str) -> Iterator[None]:
        """Stops every thread of these processes while the block lasts, as a machine that is suspended does."""
        pids = [self.pid(name) for name in names]
        try:
            for pid in pids:
                os.kill(pid, signal.SIGSTOP)
            wait_until(lambda: all(_is_stopped(pid) for pid in pids), f"{names} stand still")
            yield
        finally:
            for pid in pids:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)

    @contextmanager
    def silenced(self, *names: str) -> Iterator[None]:
        """Frozen, and messages stay in their queues: all processes of the kind must be frozen in the block.

        A consumer that waited for a message when it was frozen is handed the next one all the same: let it be a decoy.
        """
        with self.frozen(*names):
            for kind in sorted({_kind(name) for name in names}):
                self.send_all(DECOYS[kind])
            yield

    def spec(self, name: str) -> dict[str, Any]:
        """How the supervisor starts a process: `argv`, `env`, `cwd` and more."""
        specs: dict[str, dict[str, Any]] = json.loads((self.var_dir / "run" / "processes.json").read_text())
        return specs[name]

    @contextmanager
    def one_more(self, name: str, log_folder: Path, **changes: Any) -> Iterator[subprocess.Popen[bytes]]:
        """One more process of the kind, not the supervisor's, with `changes` of its `spec`; killed at the end."""
        spec = self.spec(name) | changes
        with (log_folder / f"{name}.log").open("w") as output:
            process = subprocess.Popen(
                spec["argv"], env=spec["env"], cwd=spec["cwd"], stdout=output, stderr=subprocess.STDOUT
            )
        try:
            yield process
        finally:
            process.kill()
            process.wait()

    def pids(self) -> dict[str, int]:
        """Process name → pid, of all there are. A process that ends gets another one from the supervisor."""
        return pids.read(self.var_dir / "pids")

    @contextmanager
    def away(self, *names: str, with_signal: signal.Signals = signal.SIGKILL) -> Iterator[None]:
        """These processes are gone while the block lasts; afterwards services take connections again."""
        with self._held_back(*names):
            before = {name: self.pid(name) for name in names}
            for pid in before.values():
                os.kill(pid, with_signal)
            wait_until(lambda: not any(map(pids.alive, before.values())), f"{names} have ended")
            wait_until(lambda: all(self.pid(name) != before[name] for name in names), f"{names} wait for their turn")
            yield
        wait_until(lambda: all(self._serves(name) for name in names), f"{names} are back")

    @contextmanager
    def _held_back(self, *names: str) -> Iterator[None]:
        """Whatever of these is started anew waits for the end of the block.

        The supervisor itself goes on: were it frozen, nobody would read the logs, and every process would soon hang on
        a full pipe.
        """
        specs, go = self.var_dir / "run" / "processes.json", self.var_dir / "run" / f"go-{time.monotonic_ns()}"
        original = specs.read_text()
        changed = json.loads(original)
        for name in names:
            changed[name]["wait_for"] = str(go)
        specs.write_text(json.dumps(changed))
        try:
            yield
        finally:
            specs.write_text(original)
            go.touch()

    def _serves(self, name: str) -> bool:
        match name:
            case "postgres":
                return postgres.accepts(self.env["DATABASE_URL"])
            case "redis":
                return self._redis_answers()
            case "s3":
                return seaweed.answers(self.env)
        return True

    def _redis_answers(self) -> bool:
        try:
            with redis.Redis.from_url(self.env["REDIS_URL"]) as broker:
                return bool(broker.ping())
        except redis.ConnectionError:  # also while it loads its data
            return False

    @contextmanager
    def hanging(self, name: str) -> Iterator[None]:
        """The process and its children stand still while the block lasts: who asks them waits instead of failing."""
        process = psutil.Process(self.pid(name))
        process.suspend()  # first, so that it has no more children from here on
        family = _with_children(process.pid)
        try:
            for each in family:
                each.suspend()
            yield
        finally:
            for each in reversed(family):
                each.resume()

    def forget_redis(self) -> None:
        """Removes what Redis has on disk; while it is away, so that it comes back empty."""
        shutil.rmtree(self.var_dir / "redis" / "appendonlydir")

    @cached_property
    def bucket(self) -> Any:
        """boto3's, or None if a folder is the storage."""
        if self.env.get("STORAGE") != "s3":
            return None
        keys = {name.lower(): self.env[name] for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")}
        s3 = boto3.resource("s3", endpoint_url=self.env["S3_ENDPOINT_URL"], region_name=self.env["S3_REGION"], **keys)
        self._clients.append(s3.meta.client)
        return s3.Bucket(self.env["S3_BUCKET"])

    def objects(self, folder: str) -> set[str]:
        """The keys below a folder of the storage."""
        if self.bucket:
            return {found.key for found in self.bucket.objects.filter(Prefix=f"{folder}/") if found.key[-1] != "/"}
        root = self.var_dir / "storage"
        return {str(path.relative_to(root)) for path in (root / folder).rglob("*") if path.is_file()}

    def all_objects(self) -> set[str]:
        """The keys of everything that uploads, files and batches have in the storage."""
        return self.objects("batches") | self.objects("files") | self.objects("uploads")

    def unfinished_objects(self) -> list[Any]:
        """What was begun in several parts and neither completed nor dropped."""
        return list(self.bucket.multipart_uploads.all()) if self.bucket else []

    def plant(self, key: str) -> None:
        """Puts an object where nobody knows of it."""
        if self.bucket:
            self.bucket.put_object(Key=key, Body=b"{}")
        else:
            path = self.var_dir / "storage" / key
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"{}")

    @contextmanager
    def storage_away(self) -> Iterator[None]:
        """S3 is gone while the block lasts; or a plain file stands where the folder was: to root too, nothing can be
        opened in it.
        """
        if self.bucket:
            with self.away("s3"):
                yield
            return
        storage, aside = self.var_dir / "storage", self.var_dir / "storage.aside"
        storage.rename(aside)
        try:
            storage.touch()
            yield
        finally:
            storage.unlink()
            aside.rename(storage)

    @contextmanager
    def full_disk(self, *names: str) -> Iterator[None]:
        """To these processes and their children the disk is full while the block lasts.

        The kernel's limit on the size of files: unlike a small file system it can be had without being root. Python
        ignores the signal that comes with it, so a write fails in the middle, with EFBIG instead of ENOSPC.
        """
        family = [process for name in names for process in _with_children(self.pid(name))]
        before = {process: process.rlimit(psutil.RLIMIT_FSIZE) for process in family}
        try:
            for process, (_, most) in before.items():
                process.rlimit(psutil.RLIMIT_FSIZE, (FULL_DISK_BYTES, most))
            yield
        finally:
            for process, limits in before.items():
                process.rlimit(psutil.RLIMIT_FSIZE, limits)

    def manage(self, *arguments: str) -> str:
        """What a manage.py command prints, run in the stack's environment."""
        done = subprocess.run(
            [sys.executable, ROOT / "manage.py", *arguments],
            env=self._command_env,
            check=True,
            capture_output=True,
            text=True,
        )
        return done.stdout.strip()

    @property
    def _command_env(self) -> dict[str, str]:
        return {**os.environ, "STORAGE_DIR": str(self.var_dir / "storage"), **self.env, "SECRET_KEY": "x"}

    def new_tenant(self, name: str) -> Tenant:
        """A new project, and a key to it."""
        return tenant.new(name, self._command_env)

    def sdk(self, api_key: str | None = None, **options: Any) -> OpenAI:
        client = OpenAI(base_url=self.base_url, api_key=api_key or self.api_key, max_retries=0, **options)
        self._clients.append(client)
        return client

    def get(self, path: str, **headers: str) -> requests.Response:
        return requests.get(self.base_url.removesuffix("/v1") + path, headers=headers, timeout=30)

    def ask_postgres(self, query: str, *values: Any) -> Any:
        """The first column of the first row."""
        return next(iter(self.all_of_postgres(query, *values)), None)

    def all_of_postgres(self, query: str, *values: Any) -> list[Any]:
        """The first column of every row."""
        with psycopg.connect(self.env["DATABASE_URL"]) as connection:
            return [row[0] for row in connection.execute(query, values)]

    def execute(self, statement: str, *values: Any) -> None:
        """Changes what Postgres holds, as time or an operator would."""
        with psycopg.connect(self.env["DATABASE_URL"]) as connection:
            connection.execute(statement, values)

    def send(self, task: str, *arguments: Any) -> None:
        """Puts a message for a worker into its queue, as a sweep or a doubled delivery would."""
        self.send_all([(task, *arguments)])

    def send_all(self, messages: Iterable[Message]) -> None:
        with Celery(broker=self.env["REDIS_URL"], set_as_current=False) as app:
            for task, *arguments in messages:
                queue = route(task, tuple(arguments))["queue"]
                app.send_task(task, arguments, queue=queue, ignore_result=True)

    def handle(self, messages: Iterable[Message]) -> None:
        """Sends, and waits until the workers have taken up as many."""
        messages = list(messages)
        due = self._taken_up() + Counter(task for task, *_ in messages)
        self.send_all(messages)
        wait_until(lambda: self._taken_up() >= due, "the messages are taken up")

    def _taken_up(self) -> Counter[str]:
        """Task → how many of its messages the workers have begun, ever."""
        stats = self.ask_workers("stats", *CONSUMERS).values()
        return sum((Counter(each["total"]) for each in stats), Counter())

    def is_busy(self, *names: str) -> bool:
        """Some of these processes run a task, or do not say."""
        tasks = self.ask_workers("active", *names)
        return len(tasks) < len(names) or any(tasks.values())

    def ask_workers(self, what: str, *names: str) -> dict[str, Any]:
        """Node → answer to a Celery inspection, of those that answer within a second."""
        return self.ask_nodes(what, *(node(name, self.pid(name)) for name in names))

    def ask_nodes(self, what: str, *nodes: str) -> dict[str, Any]:
        with (
            Celery(broker=self.env["REDIS_URL"], set_as_current=False) as app,
            app.connection_for_write() as connection,  # its own: a pooled one may be from before Redis was away
        ):
            inspect = app.control.inspect(destination=list(nodes), connection=connection)
            answers: dict[str, Any] | None = getattr(inspect, what)()
            return answers or {}

    def queue_of(self, task: str, *arguments: Any) -> str:
        """The Redis list in which a message waits."""
        return str(route(task, arguments)["queue"])

    def queued(self, queue: str, about: str) -> int:
        """How many messages wait there that have this text in their arguments."""
        with redis.Redis.from_url(self.env["REDIS_URL"]) as broker:
            messages: list[Any] = broker.lrange(queue, 0, -1)
        return sum(about in json.loads(message)["headers"]["argsrepr"] for message in messages)

    def lose(self, queue: str) -> None:
        """Drops every message that waits there, as a broker does that forgets."""
        with redis.Redis.from_url(self.env["REDIS_URL"]) as broker:
            assert broker.delete(queue) == 1


def node(name: str, pid: int) -> str:
    """What Celery calls a process (see the Procfile)."""
    return f"{_kind(name)}-{pid}@{socket.gethostname()}"


def _kind(name: str) -> str:
    return name.partition("-")[0]


def _is_stopped(pid: int) -> bool:
    stats = [path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/stat")]
    return all(stat.rpartition(")")[2].split()[0] == "T" for stat in stats)


def _with_children(pid: int) -> list[Any]:
    process = psutil.Process(pid)
    return [process, *process.children(recursive=True)]


def submit(sdk: OpenAI, content: bytes) -> Batch:
    """A batch made of these lines."""
    stored = sdk.files.create(file=("input.jsonl", content), purpose="batch")
    return sdk.batches.create(input_file_id=stored.id, endpoint="/v1/chat/completions", completion_window="24h")


def wait_for_cancel_to_be_seen(stack: Stack, batch: Batch) -> None:
    """Until every worker knows of the cancel and has stopped."""
    wait_for_heartbeats(stack, batch, since="cancelling_at")


def wait_for_heartbeats(stack: Stack, batch: Batch, *, since: str) -> None:
    """Until every worker has had two since that time: by the first it learns what happened, at the second it obeys."""
    seen = f"""
        SELECT bool_and(chunk.lease_expires_at > batch.{since} + %s * interval '1 second')
          FROM batches_chunk AS chunk JOIN batches_batch AS batch ON batch.id = chunk.batch_id
         WHERE batch.id = %s AND chunk.state = 'running'
    """
    wait_until(lambda: stack.ask_postgres(seen, LEASE_SECONDS + 2.1, batch.id), f"{since} is heard of", 20)


def finished(sdk: OpenAI, batch: Batch, seconds: float = 60.0) -> Batch:
    """The batch when it has ended."""

    def look() -> Batch | None:
        now = sdk.batches.retrieve(batch.id)
        return now if now.status in TERMINAL else None

    ended: Batch = wait_until(look, f"{batch.id} has ended", seconds)
    return ended
