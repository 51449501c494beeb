"""A fake Batch API of another make, to see the command line in trouble that the real one does not make.

Every upload becomes a batch's input; a batch has ended as soon as it is there, with `output` as its answers.
"""

import hashlib
import json
import re
import threading
from collections.abc import Callable
from email.parser import BytesHeaderParser
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import urlsplit

Answer = tuple[int, str, bytes]
"""Status, content type, body."""
BLOCK = 1024 * 1024


class FakeBatchApi:
    """The server, on a thread of its own, as a context manager; what stands here tells it how to behave."""

    def __init__(self) -> None:
        self.output = b'{"custom_id": "a", "response": {"status_code": 200, "body": {}}, "error": null}\n'
        self.errors = b""
        self.inputs: bytes | None = None
        self.batch: dict[str, Any] = {}  # members that differ from the usual batch
        self.answers: list[Answer] = []  # for the next requests, instead of what they ask for
        self.takes_parts = True
        self.knows_ranges = True
        self.cuts_downloads_at: list[int] = []  # each download so many bytes; afterwards whole ones
        self.requests: list[tuple[str, str, dict[str, str]]] = []  # method, path, headers
        self.created: dict[str, Any] = {}  # the body of the last create call
        self.received_bytes = 0
        self.received = b""  # the first block of the last upload
        self.parts: dict[str, bytes] = {}
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (_Exchange,), {"fake": self}))
        self.base_url = f"http://127.0.0.1:{self._server.server_port}/v1"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def ended(self) -> dict[str, Any]:
        counts = {"total": 1, "completed": 1, "failed": 0}
        files = {
            "output_file_id": "file-out" if self.output else None,
            "error_file_id": "file-err" if self.errors else None,
        }
        usual = {"id": "batch_1", "status": "completed", "input_file_id": "file-in", "endpoint": "/v1/chat/completions"}
        return usual | {"request_counts": counts} | files | self.batch

    def paths(self, method: str) -> list[str]:
        return [path for each, path, _ in self.requests if each == method]


class _Exchange(BaseHTTPRequestHandler):
    """One request being answered."""

    fake: FakeBatchApi
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._answer(self._get)

    def do_POST(self) -> None:
        self._answer(self._post)

    def log_message(self, *_: Any) -> None:
        pass

    def _answer(self, usual: Callable[[str], None]) -> None:
        path = urlsplit(self.path).path.removeprefix("/v1")
        self.fake.requests.append((self.command, path, {name.lower(): value for name, value in self.headers.items()}))
        if self.fake.answers:
            self.rfile.read(int(self.headers.get("content-length") or 0))
            self._send(*self.fake.answers.pop(0))
        else:
            usual(path)

    def _get(self, path: str) -> None:
        named = {"file-out": self.fake.output, "file-err": self.fake.errors, "file-in": self.fake.inputs}
        contents = {file_id: content for file_id, content in named.items() if content is not None}
        match path.split("/")[1:]:
            case ["batches", _]:
                self._json(self.fake.ended())
            case ["files", file_id] if file_id in contents:
                self._json({"id": file_id, "object": "file", "bytes": len(contents[file_id])})
            case ["files", file_id, "content"] if file_id in contents:
                self._content(contents[file_id])
            case _:
                self._refuse(404, "not there")

    def _content(self, content: bytes) -> None:
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("range", ""))
        start = int(asked[1]) if asked and self.fake.knows_ranges else 0
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        if self.fake.cuts_downloads_at:
            self.wfile.write(content[start : start + self.fake.cuts_downloads_at.pop(0)])
            self.close_connection = True
        else:
            for position in range(start, len(content), BLOCK):
                self.wfile.write(memoryview(content)[position : position + BLOCK])

    def _post(self, path: str) -> None:
        match path.split("/")[1:]:
            case ["files"]:
                self._receive()
                self._json({"id": "file-in", "object": "file"})
            case ["uploads", *rest] if self.fake.takes_parts:
                self._upload(rest)
            case ["batches", _, "cancel"]:
                self._json(self.fake.ended())
            case ["batches"]:
                self.fake.created = json.loads(self._body())
                self._json(self.fake.ended())
            case _:
                self._body()
                self._send(404, "text/html", b"<h1>Not found</h1>")

    def _upload(self, rest: list[str]) -> None:
        body = self._body()
        match rest:
            case [_, "parts"]:
                part_id = f"part_{len(self.fake.parts)}"
                self.fake.parts[part_id] = _only_field(self.headers["content-type"], body)
                self._json({"id": part_id})
            case [_, "complete"]:
                asked = json.loads(body)
                digest = hashlib.md5(b"".join(self.fake.parts[part_id] for part_id in asked["part_ids"]))
                is_whole = digest.hexdigest() == asked["md5"]
                self._json({"file": {"id": "file-in"}}) if is_whole else self._refuse(400, "the md5 differs")
            case [_, "cancel"]:
                self._json({"id": "upload_1", "status": "cancelled"})
            case _:
                self._json({"id": "upload_1", "status": "pending"})

    def _receive(self) -> None:
        """Reads a body that may be big, and keeps only its beginning."""
        self.fake.received = b""
        left = int(self.headers["content-length"])
        while left:
            block = self.rfile.read(min(left, BLOCK))
            self.fake.received_bytes += len(block)
            self.fake.received = self.fake.received or block
            left -= len(block)

    def _body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("content-length") or 0))

    def _json(self, document: Any) -> None:
        self._send(200, "application/json", json.dumps(document).encode())

    def _refuse(self, status: int, message: str) -> None:
        error = {"message": message, "type": "invalid_request_error", "code": None, "param": None}
        self._send(status, "application/json", json.dumps({"error": error}).encode())

    def _send(self, status: int, content_type: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        if 300 <= status < 400:
            self.send_header("Location", "https://elsewhere.example/v1")
        self.end_headers()
        self.wfile.write(body)


def _only_field(content_type: str, body: bytes) -> bytes:
    """The content of a multipart body with one field."""
    boundary = BytesHeaderParser().parsebytes(b"Content-Type: " + content_type.encode() + b"\n\n").get_boundary()
    head, _, content = body.partition(b"\r\n\r\n")
    assert head.startswith(f"--{boundary}".encode())
    return content.removesuffix(f"\r\n--{boundary}--\r\n".encode())
