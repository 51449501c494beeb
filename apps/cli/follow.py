"""Follows a batch to its end: watches it, asks at Ctrl-C, fetches its files and sums them up."""

import shlex
import time
from collections import Counter
from pathlib import Path
from typing import Any

from apps.cli import download, results
from apps.cli.api import Api, Away, Refused
from apps.cli.batch import Batch
from apps.cli.display import Display, display
from apps.cli.download import Destinations, Fetched
from apps.cli.exits import Exit, FileTrouble, Interrupted
from apps.cli.terminal import Terminal, count

FIRST_PAUSE, LONGEST_PAUSE = 0.25, 5.0
PAUSE_SHARE = 0.05
"""Of the time that the batch was watched: a short one is seen closely, a long one costs few requests."""
QUESTION = "Leave {id} running (l), cancel it (c), or keep waiting (w)? [l] "


def follow(api: Api, batch: Batch, into: Destinations, terminal: Terminal) -> Exit:
    """Until the batch has ended and its files are here. Raises Interrupted, and CliError."""
    ended = _watch_and_ask(api, batch, into, terminal)
    return collect(api, ended, into, terminal)


def collect(api: Api, batch: Batch, into: Destinations, terminal: Terminal) -> Exit:
    """The files of a batch that has ended, and the sum of it."""
    fetched = download.fetch(api, batch, into, terminal)
    try:
        codes = results.codes(fetched.errors)
    except OSError as error:
        raise FileTrouble.of(error, f"read {fetched.errors}") from None
    terminal.result(summary(batch, fetched, codes), _document(batch, fetched, codes))
    return verdict(batch)


def verdict(batch: Batch) -> Exit:
    """The exit code of a batch that has ended."""
    match batch.status:
        case "completed":
            return Exit.SOME_FAILED if batch.failed else Exit.OK
        case "failed":
            return Exit.INVALID_INPUT
    return Exit.NOT_COMPLETED


def how_to_resume(batch: Batch, into: Destinations) -> str:
    return (
        f"  to come back to it: zerobatch run --resume {shlex.quote(batch.id)} {into.options()}\n"
        f"  to cancel it:       zerobatch cancel {shlex.quote(batch.id)}"
    )


def _watch_and_ask(api: Api, batch: Batch, into: Destinations, terminal: Terminal) -> Batch:
    while True:
        try:
            with display(terminal) as shown:
                return _watch(api, batch, shown)
        except KeyboardInterrupt:
            match _ask(batch, terminal):
                case "c":
                    batch = _cancel(api, batch, terminal)
                case "w":
                    continue
                case _:
                    raise Interrupted(f"{batch.id} goes on running.\n{how_to_resume(batch, into)}") from None


def _cancel(api: Api, batch: Batch, terminal: Terminal) -> Batch:
    """The batch after that; one that has ended meanwhile is as good."""
    try:
        batch = api.cancel(batch.id)
    except Refused as refused:
        if refused.status != 409:
            raise
        return batch
    terminal.say(f"Cancelling {batch.id}: lines that were sent finish, and what is done is kept.")
    return batch


def _ask(batch: Batch, terminal: Terminal) -> str:
    """l, c or w. Who cannot be asked, or presses Ctrl-C again, leaves the batch running: nothing is lost by that."""
    if not terminal.can_ask:
        return "l"
    try:
        answer = terminal.console.input(QUESTION.format(id=batch.id), markup=False)
    except (KeyboardInterrupt, EOFError):
        return "l"
    return answer.strip().lower()[:1]


def _watch(api: Api, batch: Batch, shown: Display) -> Batch:
    """The batch when it has ended. A server that is away is waited for: the batch does not need us."""
    began = time.monotonic()
    shown.show(batch)
    while not batch.is_terminal:
        time.sleep(min(FIRST_PAUSE + PAUSE_SHARE * (time.monotonic() - began), LONGEST_PAUSE))
        try:
            batch = api.batch(batch.id)
            shown.show(batch)
        except Away as away:
            shown.trouble(f"{away}; trying again")
    return batch


def summary(batch: Batch, fetched: Fetched, codes: Counter[str]) -> str:
    """What came of it, for people."""
    rows = [f"{batch.id} {batch.status}: {batch.completed:,} of {count(batch.total, 'line')} answered"]
    if batch.tokens:
        rows[0] += f", {batch.tokens:,} tokens"
    rows += [f"  {number:>7,}  {code}" for code, number in codes.most_common()]
    rows += [f"  {problem}" for problem in batch.problems]
    rows += [f"{name}: {path}" for name, path in _named(fetched).items() if path]
    passing = sum(number for code, number in codes.items() if results.is_passing(code))
    if passing:
        rows.append(f"{count(passing, 'line')} failed for a passing reason: zerobatch retry {batch.id}")
    return "\n".join(rows)


def _named(fetched: Fetched) -> dict[str, Path | None]:
    return {"Answers": fetched.output, "Errors": fetched.errors}


def _document(batch: Batch, fetched: Fetched, codes: Counter[str]) -> dict[str, Any]:
    paths = {"output": fetched.output, "errors": fetched.errors}
    return {
        "batch": batch.raw,
        **{name: str(path) if path else None for name, path in paths.items()},
        "error_codes": dict(codes),
    }
