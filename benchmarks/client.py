"""The API as a user's program sees it, through the official SDK."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import requests
from openai import OpenAI
from openai.types import Batch

from benchmarks import inputs

POLL_SECONDS = 0.5
UNFINISHED = {"validating", "in_progress", "finalizing", "cancelling"}


def connect(base_url: str, api_key: str) -> OpenAI:
    """A client that never repeats a request by itself: a repetition would be measured as well."""
    return OpenAI(base_url=base_url, api_key=api_key, max_retries=0)


def upload(api: OpenAI, path: Path) -> str:
    """The new file's id."""
    with path.open("rb") as file:
        return api.files.create(file=file, purpose="batch").id


def upload_in_parts(api: OpenAI, path: Path) -> str:
    """The new file's id; for files beyond what one upload may be."""
    upload = api.uploads.upload_file_chunked(file=path, mime_type="application/jsonl", purpose="batch")
    if upload.file is None:
        raise ValueError(f"{upload.id} is {upload.status}, without a file")
    return upload.file.id


def create(api: OpenAI, file_id: str) -> Batch:
    return api.batches.create(input_file_id=file_id, endpoint=inputs.ENDPOINT, completion_window="24h")


def wait(api: OpenAI, batch: Batch, *, every: float = POLL_SECONDS) -> Batch:
    """The batch once it has ended; asks `every` so many seconds."""
    while batch.status in UNFINISHED:
        time.sleep(every)
        batch = api.batches.retrieve(batch.id)
    return batch


def check_whole(api: OpenAI, batch: Batch, lines: int) -> None:
    """Raises ValueError unless every line of the input stands in the output file once, answered."""
    counts = batch.request_counts
    if batch.status != "completed" or batch.output_file_id is None or batch.error_file_id is not None:
        raise ValueError(f"{batch.id} is {batch.status}, {counts}")
    found = list(_custom_ids(api, batch.output_file_id))
    if len(found) != lines or set(found) != {inputs.custom_id(number) for number in range(1, lines + 1)}:
        raise ValueError(f"{batch.id}: {len(found)} lines, {len(set(found))} custom_ids for {lines} lines")


def _custom_ids(api: OpenAI, file_id: str) -> Iterator[str]:
    content = api.files.content(file_id).content
    for text in content.splitlines():
        line = orjson.loads(text)
        if line["response"]["status_code"] == 200:
            yield line["custom_id"]


def seen(upstream: str, path: str = "/stats") -> dict[str, Any]:
    """What the benchmarks' inference server says at `path`; see benchmarks.upstream."""
    found: dict[str, Any] = requests.get(upstream.removesuffix("/v1") + path, timeout=10).json()
    return found
