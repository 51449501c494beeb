"""Upload and download beside nginx, which gets and gives the same bytes."""

import math
import os
import time
from pathlib import Path
from statistics import median

import orjson

from benchmarks import client, inputs, servers, traffic
from benchmarks.table import Row
from benchmarks.traffic import Target

LINES, FILE_BYTES = 20_000, 100_000_000
SPREAD = 0.5
RUNS = 7
MB = 1_000_000
BOUNDARY = "benchmark-boundary"
MULTIPART = f"multipart/form-data; boundary={BOUNDARY}"
HEAD = (
    f'--{BOUNDARY}\r\ncontent-disposition: form-data; name="purpose"\r\n\r\nbatch\r\n'
    f'--{BOUNDARY}\r\ncontent-disposition: form-data; name="file"; filename="input.jsonl"\r\n'
    "content-type: application/jsonl\r\n\r\n"
).encode()
TAIL = f"\r\n--{BOUNDARY}--\r\n".encode()


def measure(folder: Path) -> list[Row]:
    """nginx gets the multipart body as it is: what it would cost it to take the file out is not counted."""
    folder = folder / "transfers"
    folder.mkdir()
    content, body = folder / "input.jsonl", folder / "body"
    inputs.write_input(content, lines=LINES, total_bytes=FILE_BYTES, spread=SPREAD)
    body.write_bytes(HEAD + content.read_bytes() + TAIL)
    with servers.web(folder, {}) as web, servers.nginx(folder) as nginx:
        print(f"Uploading and downloading {FILE_BYTES // MB} MB", flush=True)
        api, files = client.connect(web.url, web.api_key), Target(f"{web.url}/files", web.api_key)
        kept = Target(f"{files.url}/{client.upload(api, content)}/content", web.api_key)
        ours, theirs, theirs_synced, down, their_down = [], [], [], [], []
        for _ in range(RUNS):
            seconds, answer = traffic.upload("POST", files, body, MULTIPART)
            api.files.delete(orjson.loads(answer)["id"])
            ours.append(seconds)
            down.append(traffic.download(kept))
            if nginx:
                sent, synced = _send_to_nginx(nginx, folder, body)
                theirs.append(sent)
                theirs_synced.append(sent + synced)
                their_down.append(traffic.download(Target(f"{nginx}/files/{content.name}")))
    return [
        _row("download", down, their_down),
        _row("upload, then fsync on both sides", ours, theirs_synced),
        _row("upload, fsync on ours only", ours, theirs),
    ]


def _send_to_nginx(nginx: str, folder: Path, body: Path) -> tuple[float, float]:
    """Seconds until it says that it has the file, and until the file is on disk after that."""
    sent, _ = traffic.upload("PUT", Target(f"{nginx}/received"), body, MULTIPART)
    (received,) = (folder / "received").iterdir()
    with received.open("rb") as file:
        start = time.perf_counter()
        os.fsync(file.fileno())
        synced = time.perf_counter() - start
    if received.stat().st_size != body.stat().st_size:
        raise ValueError("nginx has not stored what it was sent")
    received.unlink()
    return sent, synced


def _row(what: str, ours: list[float], theirs: list[float]) -> Row:
    what = f"{what}, {FILE_BYTES // MB} MB"
    if not theirs:
        return Row(what, _speed(ours), "no nginx on this machine", math.nan)
    return Row(what, _speed(ours), f"nginx {_speed(theirs)}", median(theirs) / median(ours))


def _speed(seconds: list[float]) -> str:
    return f"{FILE_BYTES / MB / median(seconds):.0f} MB/s"
