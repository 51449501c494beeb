"""Two inference servers for the operator's drill, in one: /good answers slowly, /hot takes few requests at once."""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

ANSWER_SECONDS = 1.0
MODELS = ("small", "hot-summaries", "reviewer")
HOT_SLOTS = 2
"""What /hot takes at once; it says 429 to the next one."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    slots = threading.BoundedSemaphore(HOT_SLOTS)

    def do_GET(self) -> None:
        self._answer(200, {"object": "list", "data": [{"id": each} for each in MODELS]})

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers.get("content-length", 0))))
        if not self.path.startswith("/hot/"):
            self._complete(asked)
        elif self.slots.acquire(blocking=False):
            try:
                self._complete(asked)
            finally:
                self.slots.release()
        else:
            self._answer(429, {"error": {"message": f"more than {HOT_SLOTS} requests at once", "code": "busy"}})

    def log_message(self, format: str, *args: object) -> None:
        """Nobody reads it."""

    def _complete(self, asked: dict[str, object]) -> None:
        time.sleep(ANSWER_SECONDS)
        message = {"role": "assistant", "content": "yes"}
        usage = {"prompt_tokens": 10, "completion_tokens": 1, "total_tokens": 11}
        choices = [{"index": 0, "message": message, "finish_reason": "stop"}]
        self._answer(200, {"object": "chat.completion", "model": asked["model"], "choices": choices, "usage": usage})

    def _answer(self, status: int, body: dict[str, object]) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128


@contextmanager
def serving() -> Iterator[str]:
    """The servers' common address, `http://127.0.0.1:port`, while the block lasts."""
    with Server(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, name="sham", daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
