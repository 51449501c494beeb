"""The least a script can do with aiohttp and uvloop: `python -m benchmarks.bare INPUT OUTPUT URL IN_FLIGHT`."""

import asyncio
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import aiohttp
import orjson
import uvloop

HEADERS = {"content-type": "application/json", "accept": "application/json"}


async def _send(lines: Iterator[bytes], session: aiohttp.ClientSession, url: str, output: IO[bytes]) -> None:
    """Send lines until none is left. No retries, no limits, no resuming: that is the point."""
    for text in lines:
        line = orjson.loads(text)
        async with session.post(url, data=orjson.dumps(line["body"]), headers=HEADERS) as response:
            response.raise_for_status()
            body = await response.read()
        custom_id = orjson.dumps(line["custom_id"])
        output.write(b'{"custom_id":%b,"response":{"status_code":%d,"body":%b}}\n' % (custom_id, response.status, body))


async def _run(source: Path, target: Path, url: str, in_flight: int) -> None:
    with source.open("rb") as lines, target.open("wb") as output:
        connector = aiohttp.TCPConnector(limit=in_flight)
        async with aiohttp.ClientSession(connector=connector) as session:
            await asyncio.gather(*(_send(lines, session, url, output) for _ in range(in_flight)))


def main(source: str, target: str, url: str, in_flight: str) -> None:
    """Print the CPU seconds and wall seconds of the run as JSON, without those of the start and the imports."""
    cpu, wall = time.process_time(), time.monotonic()
    uvloop.run(_run(Path(source), Path(target), url, int(in_flight)))
    print(json.dumps({"cpu": time.process_time() - cpu, "wall": time.monotonic() - wall}))


if __name__ == "__main__":
    main(*sys.argv[1:])
