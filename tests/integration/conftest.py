"""An upstream that answers as asked, batches that run in this process, and a member who looks at the console."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from django import test
from django.contrib.auth.models import User

from apps.batches import tasks
from apps.batches.models import Batch, Chunk
from apps.batches.pipeline import assemble, run
from apps.inference.client import Client
from apps.inference.loop import shared_loop
from apps.inference.pool import Pool
from apps.upstreams import live
from tests.conftest import Person, create_batch, jsonl, line, uploaded
from tests.fakes.upstream import FakeUpstream


@pytest.fixture(autouse=True)
def _quick_passwords(settings: Any) -> None:
    """Hashing one as in production takes half a second, by intent, and hundreds of tests have a member who signs in."""
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


@pytest.fixture
def upstream(settings: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeUpstream]:
    """The fake inference server, which this process's client asks; it has all slots to itself."""
    with FakeUpstream() as fake:
        settings.INFERENCE_BASE_URL = fake.base_url
        new_client(monkeypatch)
        yield fake
        shared_loop().run(_close_client())


def new_client(monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on the upstreams are what settings and rows say now."""
    client = Client(Pool(live._endpoint))
    monkeypatch.setattr(live, "client", lambda: client)
    monkeypatch.setattr(live, "endpoints", lambda: client.pool.endpoints)
    monkeypatch.setattr(live, "follower", live.Follower())


async def _close_client() -> None:
    for endpoint in live.client().pool.endpoints:
        await endpoint._transport.close()


def ask(model: str, custom_id: str | None = None) -> dict[str, Any]:
    """A line that makes the fake upstream behave as `model` says."""
    name = custom_id or model
    return line(name, body={"model": model, "messages": [{"role": "user", "content": f"I am {name}"}]})


def new_batch(person: Person, lines: list[dict[str, Any]], **changes: Any) -> Batch:
    response = create_batch(person, uploaded(person, jsonl(lines)), **changes)
    assert response.status_code == 200, response.content
    return Batch.objects.get(pk=response.json()["id"])


def run_chunks(batch: Batch) -> None:
    for chunk_id in Chunk.objects.filter(batch=batch).order_by("index").values_list("pk", flat=True):
        run.run(chunk_id)


def run_batch(batch: Batch) -> Batch:
    """Every chunk, then the assembly; as the tasks would, in this thread."""
    run_chunks(batch)
    assemble.assemble(batch.pk)
    return Batch.objects.get(pk=batch.pk)


def results(person: Person, file_id: str | None) -> dict[str, Any]:
    """custom_id → line of a result file, in the file's order; each custom_id at most once."""
    if file_id is None:
        return {}
    content = person.client.get(f"/v1/files/{file_id}/content").getvalue()
    rows = [json.loads(row) for row in content.splitlines()]
    found = {row["custom_id"]: row for row in rows}
    assert len(found) == len(rows), "a custom_id stands in a file twice"
    return found


@pytest.fixture
def ada(alice: Person) -> User:
    """A member of Alice's project."""
    user = User.objects.create_user("ada", password="correct horse")
    alice.project.members.add(user)
    return user


@pytest.fixture
def member(ada: User) -> test.Client:
    client = test.Client()
    client.force_login(ada)
    return client


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The ids of batches whose work was sent for."""
    ids: list[str] = []
    monkeypatch.setattr(tasks.start, "delay", ids.append)
    monkeypatch.setattr(tasks.write_off, "delay", ids.append)
    return ids


def text_of(client: test.Client, path: str) -> str:
    response = client.get(path)
    assert response.status_code == 200, response.content
    return response.content.decode()


def holder(person: Person) -> test.Client:
    client = test.Client()
    assert client.post("/console/sign-in", {"api_key": person.secret}).status_code == 302
    return client
