"""Keys that are revoked and projects that are erased while real workers run their batches."""

import subprocess
import uuid

import pytest
import redis

from apps.devstack.tenant import Tenant
from tests.acceptance.drill import Drill
from tests.conftest import jsonl
from tests.fakes.upstream import FakeUpstream
from tests.integration.conftest import ask
from tests.stack import LEASE_SECONDS, Stack, finished, submit, wait_until

SLOTS = 64
"""Lines that one worker has in flight at most."""


@pytest.fixture
def tenant(stack: Stack) -> Tenant:
    return stack.new_tenant(f"tenant {uuid.uuid4()}")


def objects(stack: Stack) -> set[str]:
    """All files and folders of the storage, but for the spools'."""
    if stack.bucket:
        return stack.all_objects()
    folder = stack.var_dir / "storage"
    found = {str(path.relative_to(folder)) for path in folder.rglob("*")}
    return {path for path in found if not path.startswith("tmp")} | {"batches", "files", "uploads"}


def test_a_revoked_keys_running_batch_ends_what_was_not_sent(drill: Drill, held: FakeUpstream) -> None:
    stack, project_id, own = drill.stack, drill.stack.env["ZEROBATCH_PROJECT_ID"], drill.sdk
    revoked = stack.manage("create_api_key", project_id, "--scope", "submit")
    drill.sdk = stack.sdk(revoked)
    drill.begin(400)
    drill.wait_for_sent(SLOTS)

    prefix = revoked.split("_")[1]
    assert stack.ask_postgres(
        "UPDATE projects_apikey SET revoked_at = statement_timestamp() WHERE prefix = %s RETURNING id", prefix
    )
    heard = """
        SELECT bool_and(chunk.lease_expires_at > key.revoked_at + %s * interval '1 second')
          FROM batches_chunk AS chunk, projects_apikey AS key
         WHERE chunk.batch_id = %s AND chunk.state = 'running' AND key.prefix = %s
    """
    wait_until(lambda: stack.ask_postgres(heard, LEASE_SECONDS + 2.1, drill.batch.id, prefix), "it is heard of", 20)
    in_flight = drill.sent()
    held.gate.open()

    drill.sdk = own
    ended = finished(own, drill.batch)
    assert ended.request_counts
    assert ended.request_counts.completed == in_flight == drill.sent()
    assert drill.error_codes() == {"authentication_error": 400 - in_flight}


def test_nothing_is_left_of_a_project_that_is_erased_while_a_worker_runs_its_batch(
    stack: Stack, tenant: Tenant, held: FakeUpstream
) -> None:
    held.gate.open()
    others = finished(stack.sdk(), submit(stack.sdk(), jsonl([ask("echo", "others")])))
    held.gate.close()
    before = objects(stack)
    seen = held.request_count
    batch = submit(stack.sdk(tenant.api_key), jsonl(ask("echo", f"line {number}") for number in range(400)))
    held.wait_for_requests(seen + SLOTS)
    chunks = stack.all_of_postgres("SELECT id FROM batches_chunk WHERE batch_id = %s", batch.id)

    with pytest.raises(subprocess.CalledProcessError) as refused:
        stack.manage("erase_project", tenant.project_id, "--yes", "--wait", "1")
    assert f"lines are still in flight of {batch.id}" in refused.value.stderr
    assert objects(stack) > before
    held.gate.open()
    said = stack.manage("erase_project", tenant.project_id, "--yes")

    assert said.endswith(f"erased {tenant.project_id}")
    assert objects(stack) == before
    assert others.output_file_id
    assert stack.sdk().files.content(others.output_file_id).content
    for table in ("batches_batch", "files_file", "projects_apikey", "projects_project"):
        assert not stack.ask_postgres(
            f"SELECT count(*) FROM {table} AS t WHERE t::text LIKE %s", f"%{tenant.project_id}%"
        )
    with redis.Redis.from_url(stack.env["REDIS_URL"]) as broker:
        assert not any(broker.exists(f"journal:{chunk_id}") for chunk_id in chunks)
