"""All commands in the order of `regulens --help`, and how the program ends."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Sequence
from typing import Annotated, NoReturn

import typer

from regulens import __version__
from regulens.cli import kernels, looking, machine, measuring, numbers, planning, study
from regulens.cli.data import data_app
from regulens.cli.parsing import Command, plain_usage_error
from regulens.cli.terminal import console, errors, prepare_streams, print_no_more
from regulens.errors import RegulensError, UserError, one_line

app = typer.Typer(
    help="Which regularization helps here, is the difference real, and what did the network learn?",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
for _command in (
    study.run,
    study.audit,
    planning.plan,
    planning.init,
    study.status,
    study.report,
    study.results,
    numbers.analyze,
    measuring.inside,
    measuring.measures,
    kernels.kernels,
    looking.look,
    looking.explain,
    machine.doctor,
    machine.bench,
):
    app.command(cls=Command)(_command)
app.add_typer(data_app, name="data")


def _version(asked: bool) -> None:
    if asked:
        console.print(f"regulens {__version__}")
        raise typer.Exit


@app.callback()
def _main(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Which regularization helps here, is the difference real, and what did the network learn?"""


def main() -> None:
    """Run the command line: exit code 2 for a user's mistake, 1 for a failure, one line each."""
    prepare_streams()
    debug = "--debug" in sys.argv[1:]
    arguments = [argument for argument in sys.argv[1:] if argument != "--debug"]
    try:
        sys.exit(app(arguments, prog_name="regulens", standalone_mode=False))
    except UserError as error:
        _end(f"error: {error}", 2, debug, error.details)
    except RegulensError as error:
        _end(f"failed: {error}", 1, debug, error.details)
    except typer.Abort as abort:
        if isinstance(abort.__cause__, EOFError):  # of a file, which the parser takes for the end of what a user types
            _end(one_line(f"failed: a file ended too early: {abort.__cause__} (--debug shows where)"), 1, debug)
        _end("stopped", 130, debug)
    except BrokenPipeError:
        print_no_more(sys.stdout)
        sys.exit(1)
    except OSError as error:
        place = f"{error.filename}: " if error.filename else ""
        _end(one_line(f"failed: {place}{error.strerror or error} (--debug shows where)"), 1, debug)
    except Exception as error:
        if type(error).__name__ == "NoArgsIsHelpError":  # the help is printed
            sys.exit(2)
        if hasattr(error, "format_message"):  # the parser's own: an unknown option, a missing argument
            _end(one_line(f"error: {plain_usage_error(error)} (see regulens --help)"), 2, debug)
        _end(one_line(f"failed: {type(error).__name__}: {error} (--debug shows where)"), 1, debug)


def _end(line: str, code: int, debug: bool, details: Sequence[str] = ()) -> NoReturn:
    if debug:
        traceback.print_exc()
    errors.print(line, *(f"  {detail}" for detail in details), sep="\n", soft_wrap=True)
    sys.exit(code)
