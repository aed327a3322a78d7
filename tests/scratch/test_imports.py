"""`scratch` stands on NumPy alone: importing any module of it loads no framework."""

import pathlib
import subprocess
import sys

import scratch

FORBIDDEN = {
    "torch",
    "torchvision",
    "triton",
    "tensorflow",
    "keras",
    "matplotlib",
    "sklearn",
    "mlxtend",
    "tensorboard",
    "pandas",
    "scipy",
}
PROGRAM = """
import importlib, sys
for name in sys.argv[1:]:
    importlib.import_module(name)
    print(name, *sorted({module.partition(".")[0] for module in sys.modules}))
"""


def test_importing_scratch_loads_no_framework():
    folder = pathlib.Path(scratch.__file__).parent
    parts = (path.relative_to(folder).with_suffix("").parts for path in sorted(folder.rglob("*.py")))
    modules = [".".join(("scratch", *(p for p in part if p != "__init__"))) for part in parts]
    assert {"scratch", "scratch.ops", "scratch.numeric", "scratch.learner"} <= set(modules)
    run = subprocess.run(
        [sys.executable, "-c", PROGRAM, *modules],
        cwd=folder.parent,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert run.returncode == 0, run.stderr
    for line in run.stdout.splitlines():
        name, *loaded = line.split()
        assert not FORBIDDEN & set(loaded), f"importing {name} loads {sorted(FORBIDDEN & set(loaded))}"
