"""Fetches a batch's files: what was interrupted goes on where it stopped, and nothing half-done bears the real name."""

import re
import shlex
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import requests

from apps.cli import transfer
from apps.cli.api import Api, Away, Refused
from apps.cli.batch import Batch
from apps.cli.exits import CliError, Exit, FileTrouble, Interrupted
from apps.cli.terminal import Terminal

BLOCK = 64 * 1024
TRIES = 5
"""Attempts in a row that bring not a byte."""
PAUSE_SECONDS = 0.5
STDOUT = Path("-")
Report = Callable[[int], None]


@dataclass(frozen=True)
class Destinations:
    """Where the two files go; the output may be `-`, stdout."""

    output: Path
    errors: Path

    def refuse_what_exists(self) -> None:
        """Answers that somebody has are not written over. Raises CliError."""
        for path in (self.output, self.errors):
            if path != STDOUT and path.exists():
                raise CliError(f"{path} exists: name another file (-o, --errors), or add --force", Exit.LOCAL_FILE)

    def options(self) -> str:
        """As one would type them."""
        return shlex.join(["-o", str(self.output), "--errors", str(self.errors)])


@dataclass(frozen=True)
class Fetched:
    """Where a batch's files are now; None for one that it does not have."""

    output: Path | None
    errors: Path | None


def fetch(api: Api, batch: Batch, into: Destinations, terminal: Terminal) -> Fetched:
    """Both files; they get their names when both are whole. Raises CliError, which says how to go on."""
    output_id, error_id = batch.files
    then = f"; to go on where it stopped: zerobatch download {batch.id} {into.options()}"
    try:
        _fetch([(error_id, into.errors), (output_id, into.output)], api, terminal)
    except Away as away:
        raise Away(f"{away}{then}") from None
    except KeyboardInterrupt:
        raise Interrupted(f"interrupted{then}") from None
    except BrokenPipeError:
        raise
    except OSError as error:
        raise FileTrouble.of(error, f"write {error.filename or into.output}", then) from None
    return Fetched(into.output if output_id else None, into.errors if error_id else None)


def fetch_one(api: Api, file_id: str, path: Path, terminal: Terminal) -> None:
    """One file, in place of whatever is there."""
    _to_part(api, file_id, path, terminal).replace(path)


def _fetch(wanted: list[tuple[str | None, Path]], api: Api, terminal: Terminal) -> None:
    parts = [(_to_part(api, file_id, path, terminal), path) for file_id, path in wanted if file_id and path != STDOUT]
    for file_id, path in wanted:
        if file_id and path == STDOUT:
            _stream(api, file_id, sys.stdout.buffer, 0, lambda _: None)
            sys.stdout.buffer.flush()
    for part, path in parts:
        part.replace(path)


def _to_part(api: Api, file_id: str, path: Path, terminal: Terminal) -> Path:
    """Fetches into a file beside `path`, named after it and the id of what it is a part of; that file."""
    part = path.with_name(f".{path.name}.{re.sub(r'[^A-Za-z0-9_-]', '_', file_id)}.part")
    total = api.file(file_id).get("bytes")
    with part.open("ab") as sink, transfer.bar(terminal, f"Downloading {path.name}", total) as report:
        if sink.tell() != total:
            _stream(api, file_id, sink, sink.tell(), report)
    return part


def _stream(api: Api, file_id: str, sink: BinaryIO, have: int, report: Report) -> None:
    """Appends to `sink`, which has the first `have` bytes. Goes on after breaks, as long as they let bytes through."""
    fruitless = 0
    while True:
        before = have
        try:
            with api.content(file_id, have) as response:
                for block in _blocks(response, have):
                    sink.write(block)
                    have += len(block)
                    report(have)
            return
        except (requests.RequestException, Away) as error:
            fruitless = 0 if have > before else fruitless + 1
            if fruitless == TRIES:
                raise api.away(error) if isinstance(error, requests.RequestException) else error from None
        except Refused as refused:
            if refused.status == 416:  # there is nothing from `have` on
                return
            raise
        time.sleep(fruitless * PAUSE_SECONDS)


def _blocks(response: requests.Response, have: int) -> Iterator[bytes]:
    """What lies from byte `have` on; a server that knows no ranges sends what lies before it too."""
    skip = 0 if response.status_code == 206 else have
    for block in response.iter_content(BLOCK):
        if skip >= len(block):
            skip -= len(block)
        else:
            yield block[skip:]
            skip = 0
