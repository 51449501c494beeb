"""A first batch with the official SDK: upload, create, poll, print the results.

`make up` must be running; see the README for the environment that this reads.
"""

import os
import sys
import time
from pathlib import Path

from openai import OpenAI

LINES = Path(__file__).with_name("reviews.jsonl")

client = OpenAI(base_url=os.environ["ZEROBATCH_BASE_URL"], api_key=os.environ["ZEROBATCH_API_KEY"])

with LINES.open("rb") as lines:
    file = client.files.create(file=lines, purpose="batch")
batch = client.batches.create(input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h")

while batch.status not in {"completed", "failed", "expired", "cancelled"}:
    time.sleep(1)
    batch = client.batches.retrieve(batch.id)
    sys.stderr.write(f"{batch.status} {batch.request_counts}\n")

if batch.output_file_id:
    sys.stdout.write(client.files.content(batch.output_file_id).text)
