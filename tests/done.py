"""What a command of the tests has come to."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Done:
    """A command that has ended: its exit code and what it printed."""

    returncode: int
    stdout: str
    stderr: str

    def refused(self, *words: str) -> None:
        """Assert exit code 2 and one line of error, with at most two of details, which hold these words."""
        assert self.returncode == 2, self.stdout + self.stderr
        error, *details = self.stderr.strip().splitlines()
        assert error.startswith("error: "), self.stderr
        assert len(details) <= 2, self.stderr
        assert all(line.startswith("  ") for line in details), self.stderr
        assert all(word in self.stderr for word in words), self.stderr
