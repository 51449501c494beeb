"""`zerobatch`: the commands put together, and the one place where an error becomes a sentence and an exit code."""

import sys
from collections.abc import Callable, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Annotated

import orjson
import typer

from apps.cli.commands import cancel, download, list, make, merge, retry, run, status, validate
from apps.cli.exits import MEANINGS, CliError, Exit

EXIT_CODES = "\b\nExit codes:\n" + "\n".join(f"{code:>5d}  {meaning}" for code, meaning in MEANINGS.items())
COMMANDS: dict[str, Callable[..., None]] = {
    "run": run.run,
    "validate": validate.validate,
    "make": make.make,
    "status": status.status,
    "list": list.list_,
    "cancel": cancel.cancel,
    "download": download.download,
    "merge": merge.merge,
    "retry": retry.retry,
}

app = typer.Typer(
    name="zerobatch",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=EXIT_CODES,
    rich_markup_mode="rich" if sys.stdout.isatty() else None,
)
for _name, _command in COMMANDS.items():
    app.command(_name)(_command)


def _show_version(wanted: bool) -> None:
    if wanted:
        try:
            typer.echo(version("zerobatch"))
        except PackageNotFoundError:
            typer.echo("not installed")
        raise typer.Exit


@app.callback()
def _zerobatch(
    _: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Batches of LLM requests, from a file of lines to a file of answers, on any server with OpenAI's Batch API.

    The server and the key come from --base-url and --api-key, ZEROBATCH_BASE_URL and ZEROBATCH_API_KEY,
    ~/.config/zerobatch/config.toml, or a `make up` in this folder.
    """


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code."""
    arguments = sys.argv[1:] if arguments is None else arguments
    try:
        app(args=[*arguments], prog_name="zerobatch")
    except SystemExit as done:
        return done.code if isinstance(done.code, int) else Exit.USAGE
    except CliError as error:
        return _tell(error, as_json="--json" in arguments)
    return Exit.OK


def _tell(error: CliError, *, as_json: bool) -> int:
    typer.echo(f"zerobatch: {error}", err=True)
    if as_json:
        document = {"error": {"message": str(error), "exit_code": int(error.exit)}}
        typer.echo(orjson.dumps(document, option=orjson.OPT_INDENT_2))
    return error.exit
