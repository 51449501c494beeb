"""The exit codes, and the one exception that ends a command with a sentence instead of a traceback."""

from enum import IntEnum


class Exit(IntEnum):
    """What a script learns from `$?`; docs/cli.md says it to people."""

    OK = 0
    SOME_FAILED = 1
    USAGE = 2
    INVALID_INPUT = 3
    NOT_COMPLETED = 4
    NO_SERVER = 5
    BAD_KEY = 6
    REFUSED = 7
    LOCAL_FILE = 8
    INTERRUPTED = 130


MEANINGS = {
    Exit.OK: "done, and every line was answered",
    Exit.SOME_FAILED: "done, but some lines failed or have no result",
    Exit.USAGE: "wrong options, or no server or key is set",
    Exit.INVALID_INPUT: "bad lines or rows, found here or by the server",
    Exit.NOT_COMPLETED: "the batch expired, was cancelled, or has not ended yet",
    Exit.NO_SERVER: "the server cannot be reached, or does not speak this API",
    Exit.BAD_KEY: "the server refuses the key",
    Exit.REFUSED: "the server refuses the request, or does not know the batch or file",
    Exit.LOCAL_FILE: "a file here cannot be read or written, or the disk is full",
    Exit.INTERRUPTED: "Ctrl-C: what goes on, and how to come back, was printed",
}


class CliError(Exception):
    """The message is a sentence for the user; the exit code is for scripts."""

    exit = Exit.REFUSED

    def __init__(self, message: str, exit_code: Exit | None = None) -> None:
        super().__init__(message)
        self.exit = exit_code or type(self).exit


class Interrupted(CliError):
    """Ctrl-C; the message says what goes on and how to come back."""

    exit = Exit.INTERRUPTED


class FileTrouble(CliError):
    """A file of the user's cannot be read or written."""

    exit = Exit.LOCAL_FILE

    @classmethod
    def of(cls, error: OSError, doing: str, then: str = "") -> "FileTrouble":
        """`doing` is like "write out.jsonl"; `then` says how to go on."""
        return cls(f"cannot {doing}: {error.strerror or error}{then}")
