"""What whoever is woken at night looks at, on a stack with four workers: metrics, logs and traces of one batch."""

import json
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import redis
import requests
from openai import BadRequestError
from openai.types import Batch
from prometheus_client.parser import text_string_to_metric_families

from apps.observability import metrics
from tests.conftest import jsonl
from tests.fakes.collector import FakeCollector, attributes
from tests.fakes.upstream import FakeUpstream
from tests.integration.conftest import ask
from tests.stack import Stack, finished, submit, wait_until

WORKERS = 4
LINES = 1_200
BODY, CUSTOM_ID, UPSTREAM_KEY = "MARKER-OF-A-BODY", "MARKER-OF-A-CUSTOM-ID", "MARKER-OF-AN-UPSTREAM-KEY"
Samples = defaultdict[tuple[str, ...], float]
"""(name without the prefix, label values in the order of the labels' names) → sum over what was scraped."""


@dataclass
class Night:
    """A stack, the upstream behind it, who collects its traces, and a batch that ran while it was looked at."""

    stack: Stack
    upstream: FakeUpstream
    collector: FakeCollector
    batch: Batch

    def scrape(self, *names: str) -> Samples:
        """Of these processes, or of all that tell any."""
        targets = json.loads((self.stack.var_dir / "metrics.json").read_text())
        token = {"Authorization": f"Bearer {self.stack.env['METRICS_TOKEN']}"}
        found: Samples = defaultdict(float)
        for target in targets:
            if not names or target["labels"]["process"] in names:
                page = requests.get(f"http://{target['targets'][0]}/metrics", headers=token, timeout=10)
                assert page.status_code == 200
                add(page.text, found)
        return found

    def logged(self) -> Iterator[str]:
        for path in (self.stack.var_dir / "log").glob("*.log"):
            yield from path.read_text(errors="replace").splitlines()

    def events(self) -> Iterator[dict[str, Any]]:
        for text in self.logged():
            if text.startswith("{"):
                event: dict[str, Any] = json.loads(text)
                yield event

    def count(self, query: str) -> int:
        return int(self.stack.ask_postgres(query))


def add(page: str, found: Samples) -> None:
    for family in text_string_to_metric_families(page):
        found["family", family.name] += 1
        for sample in family.samples:
            labels = [value for _, value in sorted(sample.labels.items())]
            found[sample.name.removeprefix(metrics.PREFIX), *labels] += sample.value


@pytest.fixture(scope="module")
def night(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Night]:
    """The batch waits for its first answers."""
    with FakeUpstream() as upstream, FakeCollector() as collector:
        environ = {
            "INFERENCE_BASE_URL": upstream.base_url,
            "INFERENCE_API_KEY": UPSTREAM_KEY,
            "OTEL_EXPORTER_OTLP_ENDPOINT": collector.endpoint,
            "OTEL_BSP_SCHEDULE_DELAY": "200",
            "LOG_LEVEL": "DEBUG",
            "WORKERS": str(WORKERS),
        }
        stack = Stack(tmp_path_factory.mktemp("night"), environ)
        upstream.gate.close()
        models = ["status-400", "flaky-1", *["echo"] * (LINES - 2)]
        lines = [ask(model, f"{CUSTOM_ID} {BODY} {number}") for number, model in enumerate(models)]
        yield Night(stack, upstream, collector, submit(stack.sdk(), jsonl(lines)))
        upstream.gate.open()
        stack.stop()


@pytest.fixture(scope="module")
def morning(night: Night) -> Night:
    """The batch has ended."""
    night.upstream.gate.open()
    ended = finished(night.stack.sdk(), night.batch)
    assert ended.status == "completed"
    return night


def test_under_load_every_declared_metric_is_there_and_agrees_with_postgres(night: Night) -> None:
    wait_until(lambda: night.upstream.in_flight >= 64, "every slot is used")
    states = {
        state: night.count(f"SELECT count(*) FROM batches_chunk WHERE state = '{state}'")
        for state in ("pending", "running")
    }
    assert states["running"] > 0

    told = wait_until(lambda: (seen := night.scrape())["chunks", "running"] == states["running"] and seen, "it is told")

    families = {name for kind, *names in told if kind == "family" for name in names}
    assert {metrics.PREFIX + name.removesuffix("_total") for name in metrics.declared} <= families
    assert told["chunks", "pending"] == states["pending"]
    assert told["batches", "in_progress"] == 1
    assert told["workers",] == WORKERS
    assert told["upstream_in_flight", "default"] == night.upstream.in_flight
    assert 0 < told["upstream_limit", "default"] <= 64
    assert told["upstream_up", "default"] >= 1
    assert 0 < told["oldest_pending_seconds",] < 300 or not states["pending"]
    assert 86_000 < told["deadline_margin_seconds",] < 86_400
    with redis.Redis.from_url(night.stack.env["REDIS_URL"]) as broker:
        waiting = sum(int(broker.llen(f"chunks.{shard}")) for shard in range(8))
    assert sum(told["queue_depth", f"chunks.{shard}"] for shard in range(8)) == waiting


def test_all_web_processes_tell_the_same(night: Night) -> None:
    """They count into one place: whichever answers, no number is smaller than the last one that was told."""
    before = 0.0
    for _ in range(12):
        now = night.scrape("web")["http_request_seconds_count", "GET", "2xx"]
        assert now > before
        before = now


def test_afterwards_counters_agree_with_postgres_and_the_upstream(morning: Night) -> None:
    wait_until(lambda: morning.scrape("sweeps")["sweep_runs_total", "ok", "resume"] >= 1, "a sweep has run")

    told = morning.scrape()

    assert told["lines_total", "completed", "default"] == morning.count("SELECT sum(completed) FROM batches_batch")
    assert told["lines_total", "failed", "default"] == morning.count("SELECT sum(failed) FROM batches_batch") == 1
    assert told["upstream_attempts_total", "retried", "default"] == 1
    answered = sum(
        told["upstream_attempts_total", outcome, "default"] for outcome in ("completed", "failed", "retried")
    )
    assert answered == told["upstream_seconds_count", "default"] == morning.upstream.request_count == LINES + 1
    assert told["chunk_runs_total", "done"] == morning.count("SELECT count(*) FROM batches_chunk WHERE state = 'done'")
    assert told["batches_moved_total", "in_progress"] == told["batches_moved_total", "completed"] == 1
    assert told["journal_flushes_total", "written"] > 0
    assert told["upstream_in_flight", "default"] == 0


def test_workers_answer_probes(morning: Night) -> None:
    for target in json.loads((morning.stack.var_dir / "metrics.json").read_text()):
        ready = requests.get(f"http://{target['targets'][0]}/readyz", timeout=10)
        assert ready.json() == {"status": "ok", "dependencies": {"postgres": "ok", "redis": "ok", "storage": "ok"}}
        assert requests.get(f"http://{target['targets'][0]}/healthz", timeout=10).status_code == 200


def test_no_body_no_answer_and_no_key_is_in_any_log(morning: Night) -> None:
    """At LOG_LEVEL=DEBUG; also of an input that is refused."""
    with pytest.raises(BadRequestError):
        submit(morning.stack.sdk(), f'{{"custom_id": "{CUSTOM_ID}", "body": "{BODY}"'.encode())
    secrets = {BODY, CUSTOM_ID, UPSTREAM_KEY, morning.stack.api_key, morning.stack.env["METRICS_TOKEN"]}

    def refusal() -> bool:
        return any(event["event"] == "batch rejected" for event in morning.events())

    wait_until(refusal, "the refusal is logged")

    assert [text for text in morning.logged() if any(secret in text for secret in secrets)] == []


def test_each_event_is_one_line_and_says_what_it_is_about(morning: Night) -> None:
    about: dict[str, set[str]] = {}
    for event in morning.events():
        assert {"event", "level", "timestamp"} <= event.keys()
        about.setdefault(event["event"], set()).update(event)

    assert {"request_id", "project_id", "batch_id"} <= about["batch created"]
    assert {"project_id", "batch_id", "chunk", "epoch", "task", "task_id"} <= about["chunk done"]
    assert {"project_id", "batch_id", "chunk", "task_id", "line_id", "upstream"} <= about["line set back"]
    assert {"batch_id", "task", "task_id"} <= about["batch moved"]


def test_one_trace_leads_from_the_request_over_the_chunks_to_the_upstream(morning: Night) -> None:
    def spans() -> dict[str, list[Any]]:
        found: dict[str, list[Any]] = {}
        for span in morning.collector.spans_of(morning.batch.id):
            found.setdefault(span.name, []).append(span)
        return found

    chunks = morning.count("SELECT count(*) FROM batches_chunk")
    wait_until(lambda: len(spans()) == 4 and len(spans()["chunk"]) == chunks, "all have told the collector", 20)
    found = spans()

    (root,) = found.pop("batch")
    assert root.parent_span_id == b""
    below = [span for each in found.values() for span in each]
    assert {span.trace_id for span in below} == {root.trace_id}
    assert {span.parent_span_id for span in below} == {root.span_id}
    assert sum(attributes(span)["completed"] for span in found["chunk"]) == LINES - 1
    told_upstream = {request.headers["traceparent"] for request in morning.upstream.requests}
    assert told_upstream == {f"00-{root.trace_id.hex()}-{span.span_id.hex()}-01" for span in found["chunk"]}
