"""Everything in one table: `make bench`, or some areas only: `python -m benchmarks cost fairness`."""

import argparse
import shutil

from apps.devstack import throwaway
from benchmarks import (
    api,
    cost,
    crowd,
    fairness,
    growth,
    limits,
    machine,
    objects,
    pages,
    saturation,
    sweeps,
    table,
    whole,
)
from benchmarks.table import Area, Row

AREAS: dict[str, Area] = {
    "cost": cost.measure,
    "saturation": saturation.measure,
    "fairness": fairness.measure,
    "crowd": crowd.measure,
    "limits": limits.measure,
    "growth": growth.measure,
    "whole": whole.measure,
    "s3": objects.measure,
    "api": api.measure,
    "scrape": api.measure_scrape,
    "admin": pages.measure,
    "sweeps": sweeps.measure,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("areas", nargs="*", choices=[[], *AREAS], default=[])
    options = parser.parse_args()
    rows: list[Row] = []
    for name in options.areas or AREAS:
        print(f"{name} ...", flush=True)
        folder = throwaway.folder("zerobatch-bench-")
        rows += AREAS[name](folder)
        shutil.rmtree(folder, ignore_errors=True)
    print(f"\n{machine.describe()}")
    table.show(rows)


if __name__ == "__main__":
    main()
