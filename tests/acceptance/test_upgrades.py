"""An upgrade of a running fleet: on the new schema processes of the previous release go on beside those of this one."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests

from apps.devstack import ports
from tests.acceptance.drill import Drill
from tests.conftest import jsonl
from tests.fakes.upstream import FakeUpstream
from tests.integration.conftest import ask
from tests.stack import ROOT, WORKERS, Stack, finished, node, submit, wait_until

PREVIOUS_RELEASE = "6e4d47247d3001c042d998ebd317fb90bb5d844d"
"""Whose processes may still run while those of this one start; moved on with each release (docs/operations.md)."""
SLOTS = 64
# counts_usage=False: the previous release's workers do not count usage yet; to go when it is moved on.


@pytest.fixture(scope="module")
def previous(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The previous release's code; it runs with the packages of this one, which are what an image would bring along."""
    if Stack.storage == "s3":
        pytest.skip("the previous release knows no S3")
    if subprocess.run(["git", "cat-file", "-e", PREVIOUS_RELEASE], cwd=ROOT, check=False).returncode != 0:
        pytest.skip("the previous release is not in this clone: fetch its history (git fetch --unshallow)")
    folder = tmp_path_factory.mktemp("previous")
    archive = subprocess.run(["git", "archive", PREVIOUS_RELEASE], cwd=ROOT, check=True, stdout=subprocess.PIPE)
    subprocess.run(["tar", "-x"], cwd=folder, input=archive.stdout, check=True)
    return folder


@pytest.fixture
def drill(drill: Drill, stack: Stack) -> Drill:
    """In a project of its own: the previous release counts no tokens, so no recount agrees with its limits any more."""
    drill.sdk = stack.sdk(stack.new_tenant("upgrades").api_key)
    return drill


@contextmanager
def old(stack: Stack, name: str, previous: Path, tmp_path: Path, **env: str) -> Iterator[subprocess.Popen[bytes]]:
    """One more process of the kind, with the previous release's code; it ends as the supervisor would have it end."""
    spec = stack.spec(name)
    own = {**spec["env"], **env, "PYTHONPATH": str(previous)}
    where = [sys.executable, "-c", "import apps.batches; print(apps.batches.__file__)"]
    found = subprocess.run(where, cwd=previous, env=own, check=True, stdout=subprocess.PIPE, text=True).stdout
    assert found.startswith(str(previous))
    with stack.one_more(name, tmp_path, env=own, cwd=previous) as process:
        yield process
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0


@contextmanager
def old_consumer(stack: Stack, name: str, previous: Path, tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    with old(stack, name, previous, tmp_path) as process:
        wait_until(lambda: stack.ask_nodes("ping", node(name, process.pid)), f"an old {name} is up")
        yield process


def test_workers_of_the_previous_release_run_a_batch_of_this_one(drill: Drill, previous: Path, tmp_path: Path) -> None:
    with drill.stack.silenced(*WORKERS), old_consumer(drill.stack, "worker-1", previous, tmp_path):
        drill.begin(300)
        drill.check(allowed_again=0, counts_usage=False)


def test_the_previous_release_s_control_and_sweeps_work_for_workers_of_this_one(
    drill: Drill, previous: Path, tmp_path: Path
) -> None:
    stack = drill.stack
    with (
        stack.silenced("control", "sweeps"),
        old_consumer(stack, "control", previous, tmp_path),
        old_consumer(stack, "sweeps", previous, tmp_path),
    ):
        drill.begin(300)
        drill.check(allowed_again=0, counts_usage=False)


def test_a_worker_of_this_release_goes_on_with_what_one_of_the_previous_has_begun(
    drill: Drill, held: FakeUpstream, previous: Path, tmp_path: Path
) -> None:
    """Its journal, its leases and its messages are understood: the lines it has finished are not sent again."""
    stack = drill.stack
    with stack.silenced(*WORKERS), old_consumer(stack, "worker-1", previous, tmp_path):
        drill.begin(300)
        drill.wait_for_sent(SLOTS)
        held.gate.open()
        drill.wait_for_sent(SLOTS + 1)
    drill.check(allowed_again=0, counts_usage=False)


def test_the_previous_release_s_web_takes_batches_on_the_new_schema(
    stack: Stack, previous: Path, tmp_path: Path
) -> None:
    port = ports.claim_any()
    ports.release(port)
    url = f"http://127.0.0.1:{port}"
    with old(stack, "web", previous, tmp_path, PORT=str(port)):
        wait_until(lambda: _is_ready(url), "an old web is up")
        sdk = stack.sdk().with_options(base_url=f"{url}/v1")
        batch = submit(sdk, jsonl([ask("echo", f"{n}") for n in range(10)]))
        endpoint = sdk.webhooks.create(name="old", url="http://127.0.0.1:1025/", event_types=["batch.failed"])
        sdk.webhooks.delete(endpoint.id)
        ended = finished(sdk, batch)
        assert ended.output_file_id is not None
        assert len(sdk.files.content(ended.output_file_id).content.splitlines()) == 10
    project_id = _old_command(stack, previous, "create_project", "made by an old command")
    key = _old_command(stack, previous, "create_api_key", project_id)
    assert stack.sdk(key).files.list().data == []


def _old_command(stack: Stack, previous: Path, *arguments: str) -> str:
    env = {**os.environ, **stack.spec("web")["env"], "PYTHONPATH": str(previous)}
    command = [sys.executable, "manage.py", *arguments]
    done = subprocess.run(command, cwd=previous, env=env, check=True, stdout=subprocess.PIPE, text=True)
    return done.stdout.strip()


def _is_ready(url: str) -> bool:
    try:
        return requests.get(f"{url}/readyz", timeout=5).status_code == 200
    except requests.RequestException:
        return False
