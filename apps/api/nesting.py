"""How deep a JSON document nests."""

from typing import Any


def nests_deeper(document: Any, levels: int) -> bool:
    """Whether arrays and objects nest beyond `levels`; looks at them level by level, and most documents have four."""
    level = [document] if isinstance(document, dict | list) else []
    for _ in range(levels):
        children: list[Any] = []
        for container in level:
            children += container.values() if type(container) is dict else container
        level = [child for child in children if type(child) is dict or type(child) is list]
        if not level:
            return False
    return True
