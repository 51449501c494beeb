"""Prompt templates: `Classify: {text}`, where a name in braces is a column and doubled braces are braces."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from apps.cli.exits import CliError, Exit
from apps.cli.rows import text_of

PIECE = re.compile(r"\{\{|\}\}|\{([^{}]+)\}")


class Template:
    """A text with holes. Raises CliError if it names a column that is not among `columns`."""

    def __init__(self, text: str, columns: Sequence[str]) -> None:
        self._text = text
        for name in filter(None, PIECE.findall(text)):
            if name not in columns:
                raise CliError(
                    f"the template names {{{name}}}, but the columns are {', '.join(columns)}; "
                    "braces that are meant as such are doubled: {{ }}",
                    Exit.USAGE,
                )

    def fill(self, row: Mapping[str, Any]) -> str:
        """A row that lacks the column fills in nothing."""

        def piece(match: re.Match[str]) -> str:
            return text_of(row.get(match[1])) if match[1] else match[0][0]

        return PIECE.sub(piece, self._text)
