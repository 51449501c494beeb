"""CPU seconds and memory of running processes, as Linux counts them in /proc."""

import os
import re
from collections import defaultdict
from pathlib import Path

TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
PPID, UTIME, CSTIME = 1, 11, 14  # counted from the state, the field after the command's name; see proc(5)


def cpu_seconds(pid: int) -> float:
    """User + system seconds of a process and all its descendants, ended ones included.

    When a child ends, its seconds pass to its parent's account of reaped children, so the sum never falls while `pid`
    lives. Read it when no process is just ending: /proc is not read in one moment.
    """
    stats = _stats()
    ticks = sum(sum(stats[each][UTIME : CSTIME + 1]) for each in _family(pid, stats))
    return ticks / TICKS_PER_SECOND


def only_child(pid: int) -> int:
    """The one child of `pid`; ValueError when there are none or several."""
    (child,) = (each for each, fields in _stats().items() if fields[PPID] == pid)
    return child


def resident_bytes(pid: int) -> int:
    """Memory that the process holds now."""
    return _status_bytes(pid, "VmRSS")


def peak_bytes(pid: int) -> int:
    """The most memory the process held since it started, or since `forget_peak`."""
    return _status_bytes(pid, "VmHWM")


def forget_peak(pid: int) -> None:
    """From now on the peak is what the process holds now; without this an earlier peak would hide a later one."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")


def _stats() -> dict[int, list[int]]:
    """The numbers of /proc/<pid>/stat of every process, from the state (given as 0) on."""
    found = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            text = path.read_text()
        except OSError:  # it ended meanwhile
            continue
        fields = text.rpartition(")")[2].split()
        found[int(path.parent.name)] = [0, *map(int, fields[1:])]
    return found


def _family(pid: int, stats: dict[int, list[int]]) -> list[int]:
    """The process and its live descendants; KeyError if it has ended."""
    children = defaultdict(list)
    for each, fields in stats.items():
        children[fields[PPID]].append(each)
    family, unseen = [], [pid]
    while unseen:
        family.append(unseen.pop())
        unseen += children[family[-1]]
    return family


def _status_bytes(pid: int, name: str) -> int:
    match = re.search(rf"^{name}:\s+(\d+) kB$", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    if match is None:
        raise ValueError(f"process {pid} has no {name}")
    return int(match[1]) * 1024
