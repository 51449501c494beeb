"""The demo: a stack of its own, one real batch with the official SDK, the answers, and nothing left behind."""

import json
import logging
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from apps.devstack import announce, packages, passing, private
from apps.devstack.errors import DevstackError
from apps.devstack.layout import PROJECT_ROOT, Layout

if TYPE_CHECKING:
    from openai import OpenAI
    from openai.types import Batch

EXAMPLE = PROJECT_ROOT / "examples" / "reviews.jsonl"
TERMINAL = {"completed", "failed", "expired", "cancelled"}
STARTING = "Starting PostgreSQL, Valkey, a small model, the API and its workers ..."
# One batch of few lines: fewer processes are up sooner, and few lines at once find each other's prompts in the
# model's cache, which on a CPU saves a third of the time.
SMALL = {"WORKERS": "1", "WEB_PROCESSES": "1", "INFERENCE_MAX_IN_FLIGHT": "2", "FLOWER": "off"}
POLL_SECONDS = 0.25


@dataclass(frozen=True)
class Result:
    """The finished batch with its two files' texts."""

    batch: "Batch"
    output: str
    errors: str


def run(environ: Mapping[str, str]) -> bool:
    """Show one batch from upload to answers; true when every line was answered. Raises DevstackError."""
    packages.folder_of("openai", instead="talk to the API with curl")
    console = Console()
    logging.disable(logging.INFO)  # each of the SDK's requests would be a line
    questions = _questions(EXAMPLE.read_text())
    env = {**SMALL, **passing.without_somebodys_own(environ)}
    with passing.stack("zerobatch-demo-", env, starting=STARTING, during=partial(_status, console)) as stack:
        result = _work(stack.layout, console)
    answers = _answers(result.output)
    _show_answers(console, questions, answers)
    _show_failures(console, result.errors)
    path = _save(Layout.of(environ.get("VAR_DIR")).root / "demo", result)
    counts = result.batch.request_counts
    completed, total = (counts.completed, counts.total) if counts else (0, 0)
    console.print(f"{result.batch.status}: {completed} of {total} lines answered", markup=False, highlight=False)
    announce.say(f"Output file: {path}")
    return result.batch.status == "completed" and answers.keys() == questions.keys()


@contextmanager
def _status(console: Console, text: str) -> Iterator[None]:
    """A spinner while this lasts; one line where there is no terminal."""
    if not console.is_terminal:
        announce.say(text)
        yield
        return
    with console.status(text):
        yield


def _client(dev: Mapping[str, str]) -> "OpenAI":
    from openai import OpenAI  # noqa: PLC0415  takes a second to import: the stack starts meanwhile

    key = dev["ZEROBATCH_API_KEY"]
    return OpenAI(base_url=dev["ZEROBATCH_BASE_URL"], api_key=key, default_headers={"x-api-key": key})


def _work(layout: Layout, console: Console) -> Result:
    from openai import OpenAIError  # noqa: PLC0415  see _client

    try:
        return _batch(_client(private.read_env(layout.dev_env)), console)
    except OpenAIError as error:
        log = announce.tail(layout.log / "web.log")
        raise DevstackError(f"the API answered {error}; the end of its log:{log}") from None


def _batch(client: "OpenAI", console: Console) -> Result:
    with EXAMPLE.open("rb") as lines:
        file = client.files.create(file=lines, purpose="batch")
    batch = client.batches.create(input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h")
    announce.say(f"Uploaded {EXAMPLE.name} as {file.id}, created {batch.id}")
    batch = _poll(client, batch, console)
    return Result(batch, _content(client, batch.output_file_id), _content(client, batch.error_file_id))


def _poll(client: "OpenAI", batch: "Batch", console: Console) -> "Batch":
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        bar, shown = progress.add_task(batch.status, total=None), 0
        while batch.status not in TERMINAL:
            time.sleep(POLL_SECONDS)
            batch = client.batches.retrieve(batch.id)
            if counts := batch.request_counts:
                done = counts.completed + counts.failed
                if not console.is_terminal and done != shown:
                    announce.say(f"{batch.status}: {done} of {counts.total} lines")
                shown = done
                progress.update(bar, description=batch.status, completed=done, total=counts.total)
    return batch


def _content(client: "OpenAI", file_id: str | None) -> str:
    return client.files.content(file_id).text if file_id else ""


def _questions(lines: str) -> dict[str, str]:
    """custom_id → the last message, which is the question."""
    return {line["custom_id"]: line["body"]["messages"][-1]["content"] for line in _objects(lines)}


def _answers(lines: str) -> dict[str, str]:
    """custom_id → the answer."""
    return {line["custom_id"]: line["response"]["body"]["choices"][0]["message"]["content"] for line in _objects(lines)}


def _objects(lines: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in lines.split("\n") if line.strip()]


def _show_answers(console: Console, questions: Mapping[str, str], answers: Mapping[str, str]) -> None:
    table = Table("custom_id", "question", "answer")
    for custom_id, question in questions.items():
        table.add_row(custom_id, _plain(question), _plain(answers.get(custom_id, "-")))
    console.print(table, markup=False)


def _show_failures(console: Console, lines: str) -> None:
    for line in _objects(lines):
        error = line.get("error") or {}
        text = f"{line['custom_id']}: {error.get('code')}: {error.get('message')}"
        console.print(text, style="red", markup=False)


def _plain(text: str) -> str:
    """One line, and no brackets that rich would take for markup."""
    return " ".join(text.split()).replace("[", r"\[")


def _save(folder: Path, result: Result) -> Path:
    """Write the files for the reader to keep; the output file's path."""
    folder.mkdir(parents=True, exist_ok=True)
    output = folder / f"{result.batch.id}.output.jsonl"
    output.write_text(result.output)
    if result.errors:
        output.with_name(f"{result.batch.id}.error.jsonl").write_text(result.errors)
    return Path(os.path.relpath(output)) if output.is_relative_to(Path.cwd()) else output
