"""Whether size costs more than it must: lines in a batch, worker processes, memory, how a batch begins and ends."""

from contextlib import ExitStack
from pathlib import Path
from statistics import median

from apps.devstack import throwaway
from benchmarks import machine, moments, processes, running, table
from benchmarks.running import Running, Source
from benchmarks.table import Row

ROUNDS = 3
SIZES = {1_000: 10, 10_000: 2, 50_000: 1}
"""Lines of a batch → batches in a row, so that none is lost in the 10 ms in which the kernel counts."""
MOST_RATIO = 1.0
FLEETS, FLEET_LINES = (1, 2, 4), 20_000
SMALL, LARGE, LARGE_BYTES = 1_000, 50_000, 209_715_200
MOST_GROWTH_MB = 64
MB = 1_000_000


def measure(folder: Path) -> list[Row]:
    rows = []
    for number, area in enumerate((_cost_by_size, _cost_by_fleet, _memory, moments.measure), start=1):
        own = folder / str(number)
        own.mkdir()
        rows += area(own)
    return rows


def _cost_by_size(folder: Path) -> list[Row]:
    costs: dict[int, list[float]] = {lines: [] for lines in SIZES}
    sources = [running.source(folder, lines) for lines in SIZES]
    with running.started(folder) as stack:
        for number in range(1, ROUNDS + 1):
            print(f"Batches of {', '.join(f'{lines:,}' for lines in SIZES)} lines: round {number}", flush=True)
            for source in sources:
                costs[source.lines].append(_per_thousand(stack, source, SIZES[source.lines]))
    least, *others = SIZES
    return [_cost_row(f"{lines:,} lines", costs[lines], f"{least:,}", costs[least], MOST_RATIO) for lines in others]


def _cost_by_fleet(folder: Path) -> list[Row]:
    """All fleets stand there all the time, and take turns."""
    costs: dict[int, list[float]] = {workers: [] for workers in FLEETS}
    source = running.source(folder, FLEET_LINES)
    with ExitStack() as programs:
        stacks = {
            workers: programs.enter_context(running.started(folder / str(workers), workers=workers))
            for workers in FLEETS
        }
        for number in range(1, ROUNDS + 1):
            print(f"{FLEET_LINES:,} lines with {FLEETS} workers: round {number}", flush=True)
            for workers, stack in stacks.items():
                costs[workers].append(_per_thousand(stack, source, 1))
    least, *others = FLEETS
    return [_cost_row(f"{workers} workers", costs[workers], f"{least}", costs[least]) for workers in others]


def _per_thousand(stack: Running, source: Source, count: int) -> float:
    """CPU milliseconds per 1,000 lines."""
    return stack.batch(source, count=count).total * 1e6 / (source.lines * count)


def _cost_row(what: str, ours: list[float], beside_what: str, beside: list[float], most: float | None = None) -> Row:
    """The ratio is the median of the rounds' ratios."""
    ratio = median(far / near for far, near in zip(ours, beside, strict=True))
    goal = table.at_most(round(ratio, 2), most) if most else None
    near = f"{beside_what}: {median(beside):.0f} ms"
    return Row(f"{what}: CPU per 1,000 lines", f"{median(ours):.0f} ms", near, ratio, goal)


def _memory(folder: Path) -> list[Row]:
    """On a stack that has seen nothing large yet: what a worker took once it may keep."""
    small = running.source(folder, SMALL, line_bytes=LARGE_BYTES // LARGE)
    large = running.source(folder, LARGE, line_bytes=LARGE_BYTES // LARGE)
    with running.started(folder, {"MAX_UPLOAD_BYTES": str(LARGE_BYTES)}) as stack:
        print("Memory of the workers", flush=True)
        near, far = _peaks(stack, small), _peaks(stack, large)
    growth = max(after - before for after, before in zip(far, near, strict=True)) / MB
    goal = table.at_most(growth, MOST_GROWTH_MB, f"+ ≤ {MOST_GROWTH_MB} MB")
    what = f"peak of a worker, {LARGE:,} lines of {LARGE_BYTES // MB} MB"
    ours, beside = f"{max(far) / MB:.0f} MB (+ {growth:.0f})", f"{SMALL:,}: {max(near) / MB:.0f} MB"
    return [Row(what, ours, beside, max(far) / max(near), goal)]


def _peaks(stack: Running, source: Source) -> list[int]:
    """By worker, the most bytes that it held during the batch."""
    pids = stack.worker_pids()
    for pid in pids:
        processes.forget_peak(pid)
    stack.batch(source)
    return [processes.peak_bytes(pid) for pid in pids]


def main() -> None:
    print(f"{machine.describe()}\n", flush=True)
    table.show(measure(throwaway.folder("zerobatch-bench-")))


if __name__ == "__main__":
    main()
