"""Which kernels are in use: chosen by the environment, changed within a block, and named."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from regulens.errors import UserError
from regulens.kernels import paths
from regulens.kernels.paths import kernels_in_use, native, native_levels, using_kernels

LEVELS = native_levels()
BEST = f"native {LEVELS[-1]}" if LEVELS else "reference"
REPORT = """
from regulens.errors import UserError
from regulens.kernels.paths import kernels_in_use, native_levels, using_kernels
try:
    print(kernels_in_use())
except UserError as error:
    print(f"UserError: {error}")
"""
NO_EXTENSION = "import sys\nsys.modules['regulens.kernels._native'] = None\n"


def python(code: str, **variables: str) -> str:
    """Return what a fresh interpreter prints, with no variables of ours in its environment but these."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("REGULENS")}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=environment | variables,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.removesuffix("\n")


def refused(printed: str, *words: str) -> None:
    """Assert that a user error of one line was printed, which holds these words."""
    assert printed.startswith("UserError: ")
    assert "\n" not in printed
    for word in words:
        assert word in printed


class TestEnvironment:
    @pytest.mark.parametrize(
        ("variables", "expected"),
        [
            ({}, BEST),
            ({"REGULENS_KERNELS": "", "REGULENS_ISA": ""}, BEST),
            ({"REGULENS_KERNELS": "reference"}, "reference"),
            ({"REGULENS_KERNELS": "reference", "REGULENS_ISA": "baseline"}, "reference"),
            *(({"REGULENS_KERNELS": "native"}, BEST) for _ in LEVELS[:1]),
            *(({"REGULENS_ISA": level}, f"native {level}") for level in LEVELS),
            *(({"REGULENS_KERNELS": "native", "REGULENS_ISA": level}, f"native {level}") for level in LEVELS),
        ],
        ids=str,
    )
    def test_kernels_are_what_the_environment_asks_for(self, variables: dict[str, str], expected: str) -> None:
        assert python(REPORT, **variables) == expected

    @pytest.mark.parametrize(
        ("value", "words"),
        [
            ("nativ", ['REGULENS_KERNELS="nativ"', "native or reference", "did you mean native?"]),
            ("Reference", ['REGULENS_KERNELS="Reference"', "did you mean reference?"]),
            ("avx2", ['REGULENS_KERNELS="avx2"', "known: native, reference"]),
            ("native\nreference", ["REGULENS_KERNELS="]),
        ],
    )
    def test_unknown_kernels_are_refused_in_one_line(self, value: str, words: list[str]) -> None:
        refused(python(REPORT, REGULENS_KERNELS=value), *words)

    @pytest.mark.parametrize("value", ["avx3", "AVX2", "native", "avx2 avx512"])
    def test_an_unknown_instruction_set_is_refused_in_one_line(self, value: str) -> None:
        printed = python(REPORT, REGULENS_ISA=value)
        refused(printed, f'REGULENS_ISA="{value}"', ", ".join(LEVELS) or "no native kernels")

    def test_a_wrong_environment_is_refused_each_time(self) -> None:
        first, second = python(REPORT + REPORT, REGULENS_KERNELS="nativ").splitlines()
        assert first == second
        refused(first, "nativ")

    def test_the_choice_is_made_once(self) -> None:
        changed = "import os\nos.environ['REGULENS_KERNELS'] = 'reference'\nprint(kernels_in_use())"
        assert python(REPORT + changed).splitlines() == [BEST, BEST]


class TestWithoutTheExtension:
    """As on a machine that had no C++ compiler when the package was installed."""

    def test_the_reference_is_used(self) -> None:
        assert python(NO_EXTENSION + REPORT) == "reference"
        assert python(NO_EXTENSION + REPORT + "print(native_levels())") == "reference\n[]"

    def test_asking_for_native_kernels_is_refused_with_the_reason(self) -> None:
        printed = python(NO_EXTENSION + REPORT, REGULENS_KERNELS="native")
        refused(printed, "REGULENS_KERNELS=native", "no native kernels", "_native", "C++ compiler")

    def test_asking_for_an_instruction_set_is_refused(self) -> None:
        refused(python(NO_EXTENSION + REPORT, REGULENS_ISA="avx2"), 'REGULENS_ISA="avx2"', "no native kernels")

    def test_asking_for_the_reference_is_honoured(self) -> None:
        assert python(NO_EXTENSION + REPORT, REGULENS_KERNELS="reference") == "reference"

    def test_blocks_of_reference_kernels_work(self) -> None:
        block = "with using_kernels('reference'): print(kernels_in_use())\nprint(kernels_in_use())"
        assert python(NO_EXTENSION + REPORT + block) == "reference\nreference\nreference"


class TestUsingKernels:
    def test_the_reference_is_used_within_the_block_only(self) -> None:
        before = kernels_in_use()
        with using_kernels("reference"):
            assert kernels_in_use() == "reference"
            assert native() is None
        assert kernels_in_use() == before

    @pytest.mark.parametrize("level", ["reference", *LEVELS])
    def test_what_was_in_use_is_restored_whatever_it_was(self, level: str) -> None:
        path, isa = ("reference", None) if level == "reference" else ("native", level)
        with using_kernels(path, isa):
            inside = kernels_in_use()
            assert level in inside
            for other in LEVELS:
                with using_kernels("native", other):
                    assert kernels_in_use() == f"native {other}"
                assert kernels_in_use() == inside
            with using_kernels("reference"):
                assert kernels_in_use() == "reference"
            assert kernels_in_use() == inside

    @pytest.mark.parametrize("level", ["reference", *LEVELS])
    def test_an_exception_restores_it_too(self, level: str) -> None:
        before = kernels_in_use()
        path, isa = ("reference", None) if level == "reference" else ("native", level)
        with pytest.raises(KeyError, match="of the block"), using_kernels(path, isa):
            raise KeyError("of the block")
        assert kernels_in_use() == before

    @pytest.mark.parametrize(("path", "isa"), [("nativ", None), ("", None), ("native", "avx3"), ("native", "")])
    def test_what_is_not_there_is_refused_and_changes_nothing(self, path: str, isa: str | None) -> None:
        with using_kernels("reference"):
            before = kernels_in_use()
            with pytest.raises(UserError), using_kernels(path, isa):
                pass
            assert kernels_in_use() == before

    def test_without_an_instruction_set_native_means_the_highest(self) -> None:
        if not LEVELS:
            with pytest.raises(UserError, match="no native kernels"), using_kernels("native"):
                pass
            return
        with using_kernels("native", LEVELS[0]), using_kernels("native"):
            assert kernels_in_use() == BEST


def test_the_native_module_is_imported_without_torch() -> None:
    code = (
        "import sys\ntry:\n    import regulens.kernels._native\nexcept ImportError as error:\n    print(error)\n"
        "import regulens.kernels.paths\nprint(sorted({'torch', 'numpy'} & set(sys.modules)))"
    )
    expected = ["[]"] if LEVELS else [paths.why_not_native, "[]"]
    assert python(code).splitlines() == expected
