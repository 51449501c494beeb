"""Memory stays flat on big files: what a command needs for 200 MB is hardly more than for a few lines."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import jsonl, line
from tests.fakes.batch_api import FakeBatchApi

MEGABYTE = 1024 * 1024
LINES = 199
MOST_GROWTH_KB = 60 * 1024
ROOT = Path(__file__).resolve().parents[3]


# The kernel's own mark of this program; ru_maxrss would count what the test process held when it forked.
MEASURED = """
import re, sys
from pathlib import Path
from apps.cli.main import main
code = main(sys.argv[1:])
peak = re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]
Path("peak").write_text(peak)
sys.exit(code)
"""


def peak_kb(*arguments: str) -> int:
    """The most that a command held in memory; it must succeed."""
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", MEASURED, *arguments], env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return int(Path("peak").read_text())


@pytest.fixture
def big() -> Path:
    """An input of almost 200 MB, which goes up in parts."""
    path, text = Path("big.jsonl"), "x" * (MEGABYTE - 1000)
    with path.open("wb") as stream:
        for number in range(LINES):
            body = {"messages": [{"role": "user", "content": text}]}
            stream.write(jsonl([line(f"row-{number + 1}", body=body)]))
    return path


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is measured with /proc")
def test_two_hundred_megabytes_up_down_and_joined(server: FakeBatchApi, valid: Path, big: Path) -> None:
    content = "y" * (MEGABYTE - 1000)
    small = peak_kb("run", str(valid))
    server.output = b"".join(
        jsonl([{"custom_id": f"row-{number + 1}", "response": {"status_code": 200, "body": content}, "error": None}])
        for number in range(LINES)
    )

    there_and_back = peak_kb("run", str(big))
    joined = peak_kb("merge", str(big), "big.output.jsonl", "-o", "joined.jsonl")

    print(f"{small} kB for two lines; for 200 MB run {there_and_back} kB, merge {joined} kB")
    assert len(server.parts) > 10
    assert Path("big.output.jsonl").read_bytes() == server.output
    assert Path("joined.jsonl").stat().st_size > 390 * MEGABYTE * 0.99
    assert max(there_and_back, joined) - small < MOST_GROWTH_KB
