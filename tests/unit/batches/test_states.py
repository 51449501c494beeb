"""The state machine as data."""

from apps.batches.models import Batch
from apps.batches.states import EDGES, TERMINAL, BatchStatus, sources


def test_the_terminal_states_are_those_of_the_wire() -> None:
    expected = {BatchStatus.COMPLETED, BatchStatus.FAILED, BatchStatus.EXPIRED, BatchStatus.CANCELLED}
    assert expected == TERMINAL


def test_no_edge_leaves_a_terminal_state() -> None:
    assert not TERMINAL & set(EDGES)


def test_every_state_but_the_first_can_be_reached_and_has_its_timestamp() -> None:
    columns = {column.name for column in Batch._meta.get_fields()}
    for status in set(BatchStatus) - {BatchStatus.VALIDATING}:
        assert sources(status)
        assert f"{status.value}_at" in columns
