"""How a project stands: each of its limits, and what is used of it."""

from typing import NamedTuple

from apps.batches import quota
from apps.files import quota as file_quota
from apps.projects import limits, throttling
from apps.projects.limits import Limit
from apps.projects.models import Project


class Standing(NamedTuple):
    """One limit. `most` is None where there is none, `used` where nobody counts (requests without a limit)."""

    limit: Limit
    used: int | None
    most: int | None

    @property
    def remaining(self) -> int | None:
        """What is left; None without a limit. Results are stored whatever the limit says, so it stops at nothing."""
        return None if self.most is None else max(self.most - (self.used or 0), 0)


def standings(project: Project) -> list[Standing]:
    """All limits, in the order in which they are named."""
    used: dict[Limit, int | None] = {
        Limit.REQUESTS_PER_MINUTE: throttling.used(project),
        Limit.STORED_BYTES: file_quota.stored_bytes(project),
        **quota.of_batches(project),
        **quota.of_tokens(project),
    }
    return [Standing(limit, used[limit], limits.most(project, limit)) for limit in Limit]
