"""An inference server that answers at once and costs little: `python -m benchmarks.upstream` prints its URL."""

import asyncio
import re
from typing import Any

import orjson
import uvloop

ANSWER_BYTES = 1024
_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*(\d+)[ \t]*\r\n", re.IGNORECASE)
_NO_LENGTH = b"HTTP/1.1 411 Length Required\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"


def _completion() -> bytes:
    """A chat.completion of ANSWER_BYTES bytes, the same for every request."""
    message: dict[str, Any] = {"role": "assistant", "content": "@@", "refusal": None, "annotations": []}
    document = {
        "id": "chatcmpl-9f2c64a1d0b84f0e8a6b7c5d4e3f2a10",
        "object": "chat.completion",
        "created": 1_795_000_000,
        "model": "benchmark",
        "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}],
        "usage": {
            "prompt_tokens": 212,
            "completion_tokens": 96,
            "total_tokens": 308,
            "prompt_tokens_details": {"cached_tokens": 64},
        },
        "system_fingerprint": "fp_benchmark",
    }
    frame = orjson.dumps(document)
    text = b"La livraison a pris une semaine, mais la lampe est tr\xc3\xa8s belle. " * 16
    filled = text[: ANSWER_BYTES - len(frame) + len(b"@@")].decode(errors="ignore").encode()
    return frame.replace(b"@@", filled)


def _response(body: bytes) -> bytes:
    head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nx-request-id: req_benchmark\r\ncontent-length: "
    return head.encode() + str(len(body)).encode() + b"\r\n\r\n" + body


class Answering(asyncio.Protocol):
    """One connection. Every request that is there to its last byte is answered; pipelined ones in order."""

    _response = _response(_completion())

    def __init__(self) -> None:
        self._received = bytearray()
        self._transport: Any = None  # uvloop's transports are not of asyncio's types

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._received += data
        try:
            whole = self._take_whole_requests()
        except ValueError:
            self._transport.write(_NO_LENGTH)
            self._transport.close()
            return
        if whole:
            self._transport.write(self._response * whole)

    def _take_whole_requests(self) -> int:
        """Drop the requests that are complete and count them. ValueError for one without a Content-Length."""
        whole, start = 0, 0
        while (head_end := self._received.find(b"\r\n\r\n", start)) >= 0:
            length = _LENGTH.search(self._received, start, head_end + 2)
            if length is None:
                raise ValueError("a request without Content-Length")
            end = head_end + 4 + int(length[1])
            if end > len(self._received):
                break
            whole, start = whole + 1, end
        del self._received[:start]
        return whole


async def _serve() -> None:
    server = await asyncio.get_running_loop().create_server(Answering, "127.0.0.1", 0, backlog=1024)
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(_serve())
