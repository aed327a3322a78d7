"""Help costs no framework, and a check loads those that were asked for and no other."""

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FRAMEWORKS = {"torch", "tensorflow", "keras"}
HEAVY = FRAMEWORKS | {
    "torchvision",
    "triton",
    "sklearn",
    "mlxtend",
    "matplotlib",
    "jinja2",
    "pandas",
    "scipy",
}
QUICK = "--dtype float64 --hidden 5 --batch-size 4 --optimizer sgd --no-log"

PROGRAM = """
import json, sys
def loaded():  # None stands for a package that is kept out
    return sorted({name.partition(".")[0] for name, module in sys.modules.items() if module is not None})
"""
COMMAND = """
from compare import cli
try:
    code = cli.main()
except SystemExit as end:
    code = end.code
print(json.dumps([code, loaded()]), file=sys.stderr)
"""


def loaded_by(code: str, command: str = "") -> tuple[int, set[str]]:
    """(exit code, packages in sys.modules at the end) of some Python in a new process."""
    end = subprocess.run(
        [sys.executable, "-c", PROGRAM + code, *shlex.split(command)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "2"},
    )
    code_, modules = json.loads(end.stderr.splitlines()[-1])
    return code_, set(modules)


@pytest.mark.parametrize("command", ["", "--help", "--version", "check --help", "data", "data --json"])
def test_what_only_prints_loads_nothing_heavy(command):
    code, loaded = loaded_by(COMMAND, command)
    assert code == 0 and "numpy" in loaded and not loaded & HEAVY


@pytest.mark.parametrize("package", ["scratch", "frameworks", "compare", "compare.cli", "compare.referees"])
def test_importing_a_package_loads_nothing_heavy(package):
    code, loaded = loaded_by(f"import {package}; print(json.dumps([0, loaded()]), file=sys.stderr)")
    assert code == 0 and package.partition(".")[0] in loaded and not loaded & HEAVY


def test_wrong_usage_loads_nothing_heavy():
    code, loaded = loaded_by(COMMAND, "check mlp --framework torch,keras --activation swish")
    assert code == 2 and not loaded & HEAVY


@pytest.mark.parametrize(
    ("asked", "needed"),
    [("numeric", set()), ("torch", {"torch"}), ("keras", {"keras", "tensorflow"})],
    ids=["numeric", "torch", "keras"],
)
def test_a_check_loads_the_frameworks_asked_for_and_no_other(asked, needed):
    code, loaded = loaded_by(COMMAND, f"check mlp --framework {asked} {QUICK}")
    assert code == 0 and loaded & FRAMEWORKS == needed
    assert needed & {"keras"} or "matplotlib" not in loaded  # which only a report needs, and Keras itself


def test_a_report_needs_matplotlib_and_scikit_learns_data_need_scikit_learn(tmp_path):
    options = f"--data iris --report {tmp_path}/report.html"
    code, loaded = loaded_by(COMMAND, f"check mlp --framework numeric {QUICK} {options}")
    assert code == 0 and {"matplotlib", "jinja2", "sklearn"} <= loaded and not loaded & FRAMEWORKS
