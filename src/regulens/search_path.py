"""Where modules are imported from: never from the folder that a command happens to be run in.

Imports ``os`` and ``sys`` alone, which Python has loaded before it looks into any folder: whatever else stood here
could itself be a file of the current folder.
"""

import os
import sys


def leave_current_folder() -> None:
    """Take the current folder out of ``sys.path``, as ``python -P`` does, also where ``PYTHONPATH`` names it."""
    sys.path[:] = without_current_folder(sys.path)


def without_current_folder(entries: list[str]) -> list[str]:
    """Return the entries of a search path without ``""`` and the current folder.

    What stands behind the standard library was installed there, and stays. A current folder that holds Regulens
    itself, such as ``src`` of a checkout, goes to the end, where it hides nothing.
    """
    here, library, home = map(_real, ("", os.path.dirname(os.__file__), os.path.dirname(os.path.dirname(__file__))))
    places = [_real(entry) for entry in entries]
    installed = places.index(library) if library in places else len(places)
    kept = [
        entry
        for number, (entry, place) in enumerate(zip(entries, places, strict=True))
        if entry and (place != here or number > installed)
    ]
    lost = home in places and home not in map(_real, kept)
    return [*kept, home] if lost else kept


def child_environment() -> dict[str, str]:
    """Return the variables with which another process of Python does not begin in the current folder either."""
    variables = {"PYTHONSAFEPATH": "1"}
    if "PYTHONPATH" in os.environ:
        entries = os.environ["PYTHONPATH"].split(os.pathsep)
        variables["PYTHONPATH"] = os.pathsep.join(entry for entry in entries if _real(entry) != _real(""))
    return variables


def runs_as_module() -> bool:
    """Tell whether this is ``python -m regulens`` importing the package, before it turns to its ``__main__``."""
    arguments = getattr(sys, "argv", [])  # an embedded interpreter may have none
    return arguments[:1] == ["-m"] and sys.orig_argv[-len(arguments)].removeprefix("-m") == "regulens"


def _real(entry: str) -> str:
    """Return the folder that an entry of a search path means; ``""`` is the current one."""
    try:
        return os.path.realpath(entry)
    except OSError:  # the current folder was deleted: nothing can be imported from it
        return entry
