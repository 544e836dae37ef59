"""The command line: parse, call, print."""

from regulens.cli.commands import app as app
from regulens.cli.commands import main as main
