"""Several machines: what docs/deployment.md brings up on three hosts, and packets that are lost between them."""

import time
from collections.abc import Iterator

import pytest

from apps.devstack import throwaway
from tests.acceptance.drill import Drill, Ended
from tests.fakes.upstream import FakeUpstream
from tests.hosts import Lab, NotPermitted, inside
from tests.installation import GPU_PORT, OURS, THEIRS, Installation

LINES = 3_000


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    try:
        made = Lab(throwaway.folder("zerobatch-hosts-"), [*OURS, *THEIRS])
    except NotPermitted as error:
        pytest.skip(f"no network namespaces here: {error}")
    yield made
    made.stop()


@pytest.fixture(scope="module")
def witness(lab: Lab) -> Iterator[FakeUpstream]:
    with inside(lab["gpu"]):
        fake = FakeUpstream(host=lab["gpu"].address, port=GPU_PORT).start()
    yield fake
    fake.stop()


@pytest.fixture(scope="module")
def stack(lab: Lab, witness: FakeUpstream) -> Iterator[Installation]:
    running = Installation(throwaway.folder("zerobatch-installed-"), lab)
    yield running
    running.stop()


def test_a_batch_runs(drill: Drill) -> None:
    drill.begin(LINES, "slow-50")
    drill.check()
