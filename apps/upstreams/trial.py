"""Asks upstreams for their models, once and now, and says in a sentence what came of it."""

import asyncio
import time
from collections.abc import Iterable
from enum import Enum, auto
from http import HTTPStatus
from typing import NamedTuple

import aiohttp

from apps.inference.documents import parse_object
from apps.inference.upstream import MODELS_PATH, Upstream

TRIAL_SECONDS = 10.0
"""For everything together, names looked up and body read: an operator is waiting in front of a browser."""
MAX_ANSWER_BYTES = 1 << 20
MAX_NAMES = 20
MAX_QUOTE = 200


class Verdict(Enum):
    GOOD = auto()
    DOUBTFUL = auto()  # it answers, but not as a server does that will answer lines
    BAD = auto()


class Trial(NamedTuple):
    """What came of one upstream. `text` is for people, and never holds the key, even if the upstream repeats it."""

    verdict: Verdict
    text: str


class Answer(NamedTuple):
    """`body` is None when it was over MAX_ANSWER_BYTES."""

    status: int
    body: bytes | None


def ask(upstreams: Iterable[Upstream]) -> list[Trial]:
    """One trial for each, all at once, so together they take TRIAL_SECONDS at most. Raises nothing of its own.

    Much as workers do: the same trusted certificates, no proxies, no `.netrc`, no redirects.
    """
    return asyncio.run(_ask_all(list(upstreams)))


async def _ask_all(upstreams: list[Upstream]) -> list[Trial]:
    async with aiohttp.ClientSession(
        timeout=aiohttp.ClientTimeout(total=TRIAL_SECONDS), cookie_jar=aiohttp.DummyCookieJar()
    ) as session:
        return await asyncio.gather(*(_ask(session, upstream) for upstream in upstreams))


async def _ask(session: aiohttp.ClientSession, upstream: Upstream) -> Trial:
    started = time.monotonic()
    try:
        answer = await _get(session, upstream)
    except TimeoutError:
        return _trial(upstream, Verdict.BAD, f"gave no whole answer within {TRIAL_SECONDS:g} s")
    except Exception as error:  # aiohttp also lets ValueError, UnicodeError and more through
        return _trial(upstream, Verdict.BAD, f"gave no answer: {_quoted(str(error) or type(error).__name__, upstream)}")
    verdict, meaning = _judge(upstream, answer)
    took = f"{(time.monotonic() - started) * 1000:.0f} ms"
    return _trial(upstream, verdict, f"answered {answer.status} in {took}{meaning}")


async def _get(session: aiohttp.ClientSession, upstream: Upstream) -> Answer:
    headers = {"accept": "application/json", "accept-encoding": "identity"}
    if upstream.api_key:
        headers["authorization"] = f"Bearer {upstream.api_key}"
    async with session.get(upstream.url(MODELS_PATH), headers=headers, allow_redirects=False) as response:
        body = bytearray()
        async for piece in response.content.iter_any():
            body += piece
            if len(body) > MAX_ANSWER_BYTES:
                return Answer(response.status, None)
        return Answer(response.status, bytes(body))


def _judge(upstream: Upstream, answer: Answer) -> tuple[Verdict, str]:
    """What the answer means, and how the sentence that began with its status goes on."""
    if answer.body is None:
        return Verdict.DOUBTFUL, f" with more than {MAX_ANSWER_BYTES >> 20} MB, which was not read to its end"
    if answer.status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
        return Verdict.BAD, f", so it does not accept the API key: {_complaint(answer.body, upstream)}"
    if answer.status != HTTPStatus.OK:
        return Verdict.DOUBTFUL, f": {_complaint(answer.body, upstream)}"
    models = _models_in(answer.body)
    if models is None:
        return Verdict.DOUBTFUL, ", but not with a list of models"
    if not models:
        return Verdict.DOUBTFUL, " and lists no models"
    served = sum(map(upstream.serves, models))
    verdict = Verdict.GOOD if served else Verdict.DOUBTFUL
    return verdict, f"; the patterns match {served} of its {len(models)} models: {_names(models, upstream)}"


def _models_in(body: bytes) -> list[str] | None:
    """The ids of `{"data": [{"id": ...}]}`; None if the body is something else."""
    document = parse_object(body)
    rows = document.get("data") if document else None
    if not isinstance(rows, list):
        return None
    return [row["id"] for row in rows if isinstance(row, dict) and isinstance(row.get("id"), str)]


def _complaint(body: bytes, upstream: Upstream) -> str:
    """The message of an OpenAI error body, or the body's beginning."""
    document = parse_object(body)
    error = document.get("error") if document else None
    message = error.get("message") if isinstance(error, dict) else None
    return _quoted(message if isinstance(message, str) else body.decode(errors="replace"), upstream)


def _names(models: list[str], upstream: Upstream) -> str:
    more = f" and {len(models) - MAX_NAMES} more" if len(models) > MAX_NAMES else ""
    return ", ".join(_quoted(name, upstream) for name in models[:MAX_NAMES]) + more


def _quoted(text: str, upstream: Upstream) -> str:
    """What somebody else said, on one line, short and without the key, which some servers repeat in their errors."""
    if upstream.api_key:
        text = text.replace(upstream.api_key, "[the key]")  # before it is cut, or a part of the key would stay
    return " ".join(text.split())[:MAX_QUOTE] or "nothing"


def _trial(upstream: Upstream, verdict: Verdict, text: str) -> Trial:
    return Trial(verdict, f"“{upstream.name}” {text}")
