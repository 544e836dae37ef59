"""The command line: parse, call, print."""

from regulens.search_path import leave_current_folder


def main() -> None:
    """Run the command line: exit code 2 for a user's mistake, 1 for a failure, one line each."""
    leave_current_folder()  # before typer or anything else is imported
    from regulens.cli.commands import main as run

    run()
