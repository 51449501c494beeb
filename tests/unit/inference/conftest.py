"""A fake upstream over real HTTP, and the transports that every transport test runs with."""

from collections.abc import Iterator

import pytest

from tests.fakes.upstream import FakeUpstream
from tests.unit.inference.transports import TRANSPORTS, Trial


@pytest.fixture
def fake() -> Iterator[FakeUpstream]:
    with FakeUpstream() as upstream:
        yield upstream


@pytest.fixture(params=TRANSPORTS)
def trial(request: pytest.FixtureRequest) -> Trial:
    return Trial(TRANSPORTS[request.param])
