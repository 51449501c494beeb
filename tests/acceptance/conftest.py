"""A drill, and the stack that it happens to."""

from collections.abc import Iterator

import pytest

from tests.acceptance.drill import Drill, Ended, assert_unchanged
from tests.fakes.upstream import FakeUpstream
from tests.stack import Stack

LONGEST = ("test_away", "test_outages", "test_crashes", "test_hosts", "test_defaults", "test_storages")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files first: each goes to one test process as a whole, and the others would wait for a late one."""
    ranks = {stem: rank for rank, stem in enumerate(LONGEST)}
    items.sort(key=lambda item: ranks.get(item.path.stem, len(LONGEST)))


@pytest.fixture(scope="module")
def ended() -> Iterator[list[Ended]]:
    """The batches that the module's drills are through with; none of them may change any more."""
    batches: list[Ended] = []
    yield batches
    assert_unchanged(batches)


@pytest.fixture(scope="module")
def defaults(witness: FakeUpstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A stack of the module's own, with nothing set but its upstream, where an outcome depends on time."""
    running = Stack(tmp_path_factory.mktemp("defaults"), {"INFERENCE_BASE_URL": witness.base_url, "LEASE_SECONDS": ""})
    yield running
    running.stop()


@pytest.fixture
def drill(stack: Stack, witness: FakeUpstream, ended: list[Ended]) -> Drill:
    """A drill on the stack that all tests share."""
    return Drill(stack, witness, ended)


@pytest.fixture
def _in_a_folder() -> None:
    if Stack.storage == "s3":
        pytest.skip("only a folder shares its disk with our processes")


@pytest.fixture
def held(witness: FakeUpstream) -> Iterator[FakeUpstream]:
    """The upstream, holding back its answers until a test opens the gate."""
    witness.gate.close()
    yield witness
    witness.gate.open()
