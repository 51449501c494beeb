"""What creating a batch of 50,000 lines and 200 MB costs the web process: `make bench-validate`."""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from apps.devstack import spawn, throwaway
from apps.devstack.layout import PROJECT_ROOT
from apps.files.storage import upload_key
from benchmarks import client, inputs, machine, processes, servers
from benchmarks.servers import Web

LINES = 50_000
TOTAL_BYTES = 209_715_200  # both as wire.md §3 limits them
SPREAD = 0.6
WARM_UP_RUNS, WARM_UP_LINES, WARM_UP_BYTES = 3, 100, 100_000
TEXTS = {"mixed text": inputs.MIXED, "plain ASCII": inputs.PLAIN}
MOST_RATIO = 2.0
MOST_GROWTH_MB = 64
MB = 1_000_000


@dataclass(frozen=True)
class Pass:
    """One pass in a fresh process: CPU seconds, and growth of its peak memory in bytes."""

    cpu: float
    growth: int


@dataclass(frozen=True)
class Request:
    """One request to the web process: CPU seconds, wall seconds, and its worker's peak memory during it, in bytes."""

    cpu: float
    wall: float
    peak: int


@dataclass
class Measured:
    """All that was measured with the file of one kind of text, run by run."""

    upload: Request
    bare: list[Pass] = field(default_factory=list)
    validation: list[Pass] = field(default_factory=list)
    create: list[Request] = field(default_factory=list)

    @property
    def ratios(self) -> list[float]:
        pairs = zip(self.validation, self.bare, strict=True)
        return [ours.cpu / least.cpu for ours, least in pairs]


class Bench:
    """A web process that has served a few small batches, and the large files put into it."""

    def __init__(self, folder: Path, web: Web) -> None:
        self._folder, self._web = folder, web
        self._api = client.connect(web.url, web.api_key)
        self._file_ids: dict[str, str] = {}
        self.measured: dict[str, Measured] = {}
        for _ in range(WARM_UP_RUNS):
            client.create(self._api, client.upload(self._api, self._write(WARM_UP_LINES, WARM_UP_BYTES, inputs.MIXED)))
        self.base = processes.resident_bytes(processes.only_child(web.pid))
        """Bytes that the worker held before it had seen a large file."""

    def upload(self, text: str) -> None:
        """Put the large file of this text into the API; the one on this side is removed."""
        path = self._write(LINES, TOTAL_BYTES, TEXTS[text])
        watch = _Watch(self._web)
        self._file_ids[text] = client.upload_in_parts(self._api, path)
        self.measured[text] = Measured(watch.stop())
        path.unlink()

    def run(self, text: str) -> None:
        """Each side once: bare pass, validation, POST /v1/batches."""
        key, measured = upload_key(self._file_ids[text]), self.measured[text]
        measured.bare.append(self._pass("bare", str(Path(self._web.env["STORAGE_DIR"], key))))
        measured.validation.append(self._pass("validation", key))
        measured.create.append(self._create(self._file_ids[text]))

    def _create(self, file_id: str) -> Request:
        watch = _Watch(self._web)
        batch = client.create(self._api, file_id)
        request = watch.stop()
        if batch.request_counts is None or batch.request_counts.total != LINES:
            raise ValueError(f"{batch.id}: {batch.request_counts}")
        return request

    def _pass(self, name: str, argument: str) -> Pass:
        command = [sys.executable, "-m", "benchmarks.passes", name, argument]
        done = spawn.run(command, cwd=PROJECT_ROOT, env=self._web.env)
        if done.returncode != 0:
            raise subprocess.CalledProcessError(done.returncode, command, done.stdout, done.stderr)
        return Pass(**json.loads(done.stdout))

    def _write(self, lines: int, total_bytes: int, words: Sequence[str]) -> Path:
        path = self._folder / "input.jsonl"
        inputs.write_input(path, lines=lines, total_bytes=total_bytes, spread=SPREAD, words=words)
        return path


class _Watch:
    """Counts what a request costs gunicorn and its worker, from here to `stop`."""

    def __init__(self, web: Web) -> None:
        self._master, self._worker = web.pid, processes.only_child(web.pid)
        processes.forget_peak(self._worker)
        self._cpu, self._wall = processes.cpu_seconds(self._master), time.monotonic()

    def stop(self) -> Request:
        wall = time.monotonic() - self._wall
        cpu = processes.cpu_seconds(self._master) - self._cpu
        return Request(cpu, wall, processes.peak_bytes(self._worker))


def measure(folder: Path, runs: int) -> Bench:
    """Both texts take turns, and for each text all that is compared."""
    with servers.web(folder, {}) as web:
        bench = Bench(folder, web)
        for text in TEXTS:
            bench.upload(text)
        for _ in range(runs):
            for text in TEXTS:
                bench.run(text)
    return bench


def report(bench: Bench, runs: int) -> None:
    """Print the tables and whether the goals are met."""
    print(f"Create-batch of {LINES:,} lines, {TOTAL_BYTES:,} bytes\n\n{machine.describe()}")
    columns = ["", *machine.run_columns(runs)]
    cpu, memory, wall = [], [], []
    for text, measured in bench.measured.items():
        cpu += _cpu_rows(text, measured)
        memory += _memory_rows(text, measured, bench.base)
        wall += [[f"{text}: POST /v1/batches", *machine.runs([each.wall for each in measured.create], 2)]]
    machine.print_table("CPU seconds, user + system", columns, cpu)
    machine.print_table("Growth of peak memory, MB", columns, memory)
    machine.print_table("Answer time, wall seconds; for orientation only, the machine is shared", columns, wall)
    print()
    _judge(bench)


def _cpu_rows(text: str, measured: Measured) -> list[list[str]]:
    return [
        [f"{text}: bare streamed orjson pass", *machine.runs([each.cpu for each in measured.bare], 3)],
        [f"{text}: validation and plan", *machine.runs([each.cpu for each in measured.validation], 3)],
        [f"{text}: web process, whole POST /v1/batches", *machine.runs([each.cpu for each in measured.create], 2)],
        [f"{text}: validation / bare", *machine.runs(measured.ratios, 2)],
    ]


def _memory_rows(text: str, measured: Measured, base: int) -> list[list[str]]:
    peaks = [(each.peak - base) / MB for each in measured.create]
    return [
        [f"{text}: bare pass, fresh process", *machine.runs([each.growth / MB for each in measured.bare], 1)],
        [f"{text}: validation, fresh process", *machine.runs([each.growth / MB for each in measured.validation], 1)],
        [f"{text}: web worker during POST /v1/batches", *machine.runs(peaks, 1)],
    ]


def _judge(bench: Bench) -> None:
    peaks = []
    for text, measured in bench.measured.items():
        upload, ratio = measured.upload, median(measured.ratios)
        growth = (upload.peak - bench.base) / MB
        print(f"- {text}: upload {upload.cpu:.2f} CPU s, {upload.wall:.1f} s, peak memory + {growth:.1f} MB")
        met = machine.verdict(ratio <= MOST_RATIO)
        print(f"- {text}: goal: validation at most {MOST_RATIO:g} × bare: {ratio:.2f}, {met}")
        peaks += [growth, *((each.peak - bench.base) / MB for each in measured.create)]
    met = machine.verdict(max(peaks) < MOST_GROWTH_MB)
    print(f"- goal: web process grows by under {MOST_GROWTH_MB} MB: at most {max(peaks):.1f} MB, {met}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    report(measure(throwaway.folder("zerobatch-bench-"), options.runs), options.runs)


if __name__ == "__main__":
    main()
