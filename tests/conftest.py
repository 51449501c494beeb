"""Fixtures with meaning: Alice owns things, Bob works in her project, Charlie is a stranger."""

import json
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from django.core.files.storage import default_storage
from django.core.files.uploadedfile import SimpleUploadedFile
from rest_framework.test import APIClient

from apps.devstack import throwaway
from apps.projects.models import ApiKey, Project
from tests.fakes.upstream import FakeUpstream
from tests.stack import LEASE_SECONDS, Stack


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--screenshots", action="store_true", help="draw docs/img/ anew (tests/browser)")
    parser.addoption("--storage", choices=("folder", "s3"), default="folder", help="of every stack that tests start")


def pytest_configure(config: pytest.Config) -> None:
    Stack.storage = config.getoption("--storage")


class Person(NamedTuple):
    """Somebody with a key, and a client that sends it."""

    project: Project
    key: ApiKey
    secret: str
    client: APIClient


def person_of(project: Project, name: str) -> Person:
    key, secret = ApiKey.objects.create_for(project, name)
    client = APIClient(raise_request_exception=False)
    client.credentials(HTTP_X_API_KEY=secret)
    return Person(project, key, secret, client)


both_storages = pytest.mark.parametrize("_own_storage", ["folder", "s3"], indirect=True)
"""Runs a test twice; without a mark, tests store into a folder."""
in_a_bucket = pytest.mark.parametrize("_own_storage", ["s3"], indirect=True)


@pytest.fixture(scope="session")
def bucket() -> Iterator[Any]:
    """A bucket on a real S3 server, started for the first test that wants it."""
    from apps.files.bucket import Bucket  # noqa: PLC0415  needs the settings

    env = throwaway.start_s3(throwaway.folder("zerobatch-s3-"))
    found = Bucket(
        bucket_name=env["S3_BUCKET"],
        endpoint_url=env["S3_ENDPOINT_URL"],
        region_name=env["S3_REGION"],
        access_key=env["AWS_ACCESS_KEY_ID"],
        secret_key=env["AWS_SECRET_ACCESS_KEY"],
        addressing_style="auto",
        object_parameters={"ContentType": "application/jsonl"},
    )
    yield found
    found.client.close()


@pytest.fixture(autouse=True)
def _own_storage(request: pytest.FixtureRequest, settings: Any, tmp_path: Path) -> None:
    """Each test stores into a folder of its own, or below a prefix of its own."""
    folder = tmp_path / "storage"
    settings.STORAGE_DIR = folder
    settings.SPOOL_DIR = folder / "tmp"
    backend = settings.STORAGES["default"]
    settings.STORAGES = {
        **settings.STORAGES,
        "default": {**backend, "OPTIONS": {**backend["OPTIONS"], "location": folder}},
    }
    if getattr(request, "param", "folder") == "s3":
        settings.STORAGE = "s3"
        # One for all tests, with its client: to make one takes a tenth of a second.
        storage: Any = default_storage
        storage._wrapped = request.getfixturevalue("bucket")
        storage.location = uuid.uuid4().hex


@pytest.fixture(scope="session")
def witness() -> Iterator[FakeUpstream]:
    """The inference server behind the stack; it has seen every request."""
    with FakeUpstream() as fake:
        yield fake


@pytest.fixture(scope="session")
def stack(witness: FakeUpstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The whole product, once for all tests, on services of its own."""
    environ = {
        "INFERENCE_BASE_URL": witness.base_url,
        "LEASE_SECONDS": str(LEASE_SECONDS),
        "WEBHOOK_ALLOWED_NETWORKS": "127.0.0.1/32",  # where tests receive
        "MAX_WEBHOOK_ENDPOINTS": "1000",
    }
    running = Stack(tmp_path_factory.mktemp("stack"), environ)
    yield running
    running.stop()


@pytest.fixture
def alice(db: None) -> Person:
    return person_of(Project.objects.create(name="Alice's project"), "alice")


@pytest.fixture
def bob(alice: Person) -> Person:
    return person_of(alice.project, "bob")


@pytest.fixture
def charlie(db: None) -> Person:
    return person_of(Project.objects.create(name="Charlie's project"), "charlie")


def line(custom_id: Any = "request-1", /, **changes: Any) -> dict[str, Any]:
    """A valid line; `changes` replace members, and None removes one."""
    body = {"model": "echo", "messages": [{"role": "user", "content": custom_id}]}
    whole = {"custom_id": custom_id, "method": "POST", "url": "/v1/chat/completions", "body": body} | changes
    return {name: value for name, value in whole.items() if value is not None}


def jsonl(lines: Iterable[dict[str, Any]]) -> bytes:
    return b"".join(json.dumps(each).encode() + b"\n" for each in lines)


def upload(person: Person, content: bytes, filename: str = "input.jsonl", **form: Any) -> Any:
    """POST /v1/files; the response."""
    sent = {"purpose": "batch", "file": SimpleUploadedFile(filename, content)} | form
    return person.client.post("/v1/files", sent, format="multipart")


def uploaded(person: Person, content: bytes) -> str:
    """The id of a file that was uploaded."""
    response = upload(person, content)
    assert response.status_code == 200, response.content
    return str(response.json()["id"])


def create_batch(person: Person, file_id: Any, **changes: Any) -> Any:
    """POST /v1/batches; the response. A change to None leaves the member out."""
    wanted = {"input_file_id": file_id, "endpoint": "/v1/chat/completions", "completion_window": "24h"} | changes
    body = {name: value for name, value in wanted.items() if value is not None}
    return person.client.post("/v1/batches", body, format="json")


def error_of(response: Any) -> dict[str, Any]:
    """The `error` of an envelope, which every refusal must be."""
    body = response.json()
    assert set(body) == {"error"}, body
    assert {"message", "type", "code", "param"} <= set(body["error"]), body
    error: dict[str, Any] = body["error"]
    return error
