"""What people run today, each in a process of its own: `python -m benchmarks.peers NAME INPUT OUTPUT URL IN_FLIGHT`.

Written as one would write them: each retries, and none survives a crash or looks at what an answer says.
"""

import asyncio
import json
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import aiohttp
import requests
from openai import AsyncOpenAI

from benchmarks import inputs

ATTEMPTS = 3


def threads(source: Path, target: Path, url: str, in_flight: int) -> None:
    """`requests` in a pool of threads, a session for each."""
    local, lock = threading.local(), threading.Lock()
    with target.open("w") as output, ThreadPoolExecutor(in_flight) as pool:

        def send(text: str) -> None:
            line = json.loads(text)
            if not hasattr(local, "session"):
                local.session = requests.Session()
            answer = local.session.post(url + inputs.ENDPOINT, json=line["body"], timeout=600)
            answer.raise_for_status()
            with lock:
                output.write(json.dumps({"custom_id": line["custom_id"], "response": answer.json()}) + "\n")

        list(pool.map(send, _lines(source)))


async def _script(source: Path, target: Path, url: str, in_flight: int) -> None:
    semaphore = asyncio.Semaphore(in_flight)

    async def send(session: aiohttp.ClientSession, line: dict[str, Any]) -> None:
        async with semaphore:
            for attempt in range(ATTEMPTS):
                try:
                    async with session.post(url + inputs.ENDPOINT, json=line["body"]) as answer:
                        answer.raise_for_status()
                        found = await answer.json()
                    break
                except aiohttp.ClientError:
                    await asyncio.sleep(2**attempt)
            else:
                found = {"error": "gave up"}
            with target.open("a") as output:
                output.write(json.dumps({"custom_id": line["custom_id"], "response": found}) + "\n")

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=in_flight)) as session:
        await asyncio.gather(*(send(session, json.loads(text)) for text in _lines(source)))


async def _openai(source: Path, target: Path, url: str, in_flight: int) -> None:
    semaphore = asyncio.Semaphore(in_flight)
    client = AsyncOpenAI(base_url=url + "/v1", api_key="none")

    async def send(line: dict[str, Any]) -> None:
        async with semaphore:
            answer = await client.chat.completions.create(**line["body"])
        with target.open("a") as output:
            output.write(json.dumps({"custom_id": line["custom_id"], "response": answer.model_dump()}) + "\n")

    await asyncio.gather(*(send(json.loads(text)) for text in _lines(source)))


def _lines(source: Path) -> Iterator[str]:
    with source.open() as file:
        yield from file


def script(source: Path, target: Path, url: str, in_flight: int) -> None:
    """asyncio and aiohttp as most write it: a task a line, a semaphore, retries, a file that is appended to."""
    asyncio.run(_script(source, target, url, in_flight))


def openai(source: Path, target: Path, url: str, in_flight: int) -> None:
    """The official SDK's asynchronous client."""
    asyncio.run(_openai(source, target, url, in_flight))


PEERS: dict[str, Callable[[Path, Path, str, int], None]] = {"threads": threads, "script": script, "openai": openai}


def main(name: str, source: str, target: str, url: str, in_flight: str) -> None:
    """Print the CPU seconds and wall seconds of the run as JSON, without those of the start and the imports."""
    Path(target).unlink(missing_ok=True)
    cpu, wall = time.process_time(), time.monotonic()
    PEERS[name](Path(source), Path(target), url, int(in_flight))
    print(json.dumps({"cpu": time.process_time() - cpu, "wall": time.monotonic() - wall}))


if __name__ == "__main__":
    main(*sys.argv[1:])
