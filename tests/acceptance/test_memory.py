"""Transfers are streams: the web process hardly grows with them (issue: under 40 MB for 100 MB)."""

import io
from pathlib import Path

import psutil
import requests

from tests.stack import Stack

MEGABYTE = 1_048_576
MOST_GROWTH = 40 * MEGABYTE


class Peak:
    """The highest resident memory of each web process since the last `reset`, from the kernel's own mark."""

    def __init__(self, stack: Stack) -> None:
        self.pids = [child.pid for child in psutil.Process(stack.pid("web")).children()]
        assert self.pids

    def reset(self) -> dict[int, int]:
        """Lowers the marks to what is resident now, and returns that."""
        for pid in self.pids:
            Path(f"/proc/{pid}/clear_refs").write_text("5")
        return self.read()

    def read(self) -> dict[int, int]:
        return {pid: self._mark(pid) for pid in self.pids}

    def _mark(self, pid: int) -> int:
        status = Path(f"/proc/{pid}/status").read_text()
        (row,) = (row for row in status.splitlines() if row.startswith("VmHWM"))
        return int(row.split()[1]) * 1024


def grown(before: dict[int, int], after: dict[int, int]) -> int:
    return max(after[pid] - before[pid] for pid in before)


def test_a_hundred_megabytes_up_and_down(stack: Stack, tmp_path: Path) -> None:
    sdk, peak = stack.sdk(), Peak(stack)
    big = tmp_path / "big.jsonl"
    with big.open("wb") as writing:
        for _ in range(100):
            writing.write(b"x" * (MEGABYTE - 1) + b"\n")
    for _ in range(4):  # each process has seen a request before it is measured
        sdk.files.create(file=("small.jsonl", io.BytesIO(b"{}")), purpose="batch")

    idle = peak.reset()
    stored = sdk.files.create(file=big, purpose="batch")
    up = grown(idle, peak.read())

    idle = peak.reset()
    url, key = f"{stack.base_url}/files/{stored.id}/content", {"x-api-key": stack.api_key}
    with requests.get(url, headers=key, stream=True, timeout=60) as download:
        received = sum(len(block) for block in download.iter_content(MEGABYTE))
    down = grown(idle, peak.read())

    print(f"web process grew by {up / MEGABYTE:.1f} MB for the upload, {down / MEGABYTE:.1f} MB for the download")
    assert received == stored.bytes == 100 * MEGABYTE
    assert up < MOST_GROWTH
    assert down < MOST_GROWTH


def test_a_hundred_megabytes_in_parts(stack: Stack, tmp_path: Path) -> None:
    sdk, peak = stack.sdk(), Peak(stack)
    big = tmp_path / "big.jsonl"
    with big.open("wb") as writing:
        for _ in range(100):
            writing.write(b"x" * (MEGABYTE - 1) + b"\n")

    idle = peak.reset()
    stored = sdk.uploads.upload_file_chunked(file=big, mime_type="application/jsonl", purpose="batch").file
    up = grown(idle, peak.read())

    print(f"web process grew by {up / MEGABYTE:.1f} MB for the upload in parts")
    assert stored is not None
    assert stored.bytes == 100 * MEGABYTE
    assert up < MOST_GROWTH


def test_a_big_upload_with_a_wrong_key_is_refused_with_an_answer(stack: Stack) -> None:
    refused = requests.post(
        f"{stack.base_url}/files",
        headers={"x-api-key": "zb_wrong"},
        data={"purpose": "batch"},
        files={"file": ("big.jsonl", io.BytesIO(b"x" * (20 * MEGABYTE)))},
        timeout=60,
    )

    assert refused.status_code == 403
    assert refused.json()["error"]["code"] == "invalid_credentials"


def test_one_byte_too_many_is_refused_with_an_answer(stack: Stack) -> None:
    body = io.BytesIO(b"x" * (100 * MEGABYTE + 1))

    refused = requests.post(
        f"{stack.base_url}/files",
        headers={"x-api-key": stack.api_key},
        data={"purpose": "batch"},
        files={"file": ("big.jsonl", body)},
        timeout=60,
    )

    assert refused.status_code == 413
    assert refused.json()["error"]["code"] == "file_too_large"
