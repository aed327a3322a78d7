"""What README.md promises: every command runs, every choice exists, every file is where it says."""

import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest

from compare.check import TARGETS
from compare.referees import NAMES
from scratch import checkpoint
from scratch.data import NAMES as DATA
from scratch.initializers import INITIALIZERS
from scratch.layers import ACTIVATIONS
from scratch.learner import Architecture
from scratch.optimizers import OPTIMIZERS

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text("utf-8")
BLOCKS = re.findall(r"^```console\n(.*?)^```", README, re.M | re.S)
LINES = [line.removeprefix("$ ") for block in BLOCKS for line in block.splitlines() if line.startswith("$ ")]
SERVER = "gradparity board"  # never ends: tests/compare/test_board.py
COMMANDS = [line for line in LINES if line.split()[0] == "gradparity" and line != SERVER]
FEW_STEPS = " --steps 6 --log-every 3 --eval-every 6"
LONG = [line for line in COMMANDS if "--selftest" in line]
TREE = README.partition("## Where things are\n\n```text\n")[2].partition("```")[0]


def run(line: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """The command as it stands in the README, in a folder of its own."""
    words = shlex.split(line)
    return subprocess.run(
        [sys.executable, "-m", "compare.cli", *words[1:]],
        capture_output=True,
        text=True,
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )


def agrees(line: str, folder: Path, few: str = "") -> None:
    for name in re.findall(r"\bruns/([\w-]+)", line):  # the line in README that makes this run
        (made,) = (other for other in COMMANDS if f"--name {name}" in other)
        agrees(made + few, folder, few)
    if "docs/examples" in line:
        shutil.copytree(ROOT / "docs" / "examples", folder / "docs" / "examples", dirs_exist_ok=True)
    end = run(line, folder)
    assert end.returncode == (1 if "_broken.py" in line else 0), f"{line}\n{end.stdout[-2000:]}\n{end.stderr}"
    assert end.stdout.strip() and "Traceback" not in end.stderr
    for report in re.findall(r"--(?:report|repro|csv) (\S+)", line):
        assert (folder / report).is_file()


def test_the_commands_are_found():
    assert len(COMMANDS) >= 8 and LONG and TREE
    others = {line for line in LINES if line not in COMMANDS} - {SERVER}
    assert others == {"pip install -e .", "make check", "make test"}


@pytest.mark.parametrize("line", [line for line in COMMANDS if line not in LONG])
def test_every_command_agrees_with_the_referee_that_needs_no_framework(line, tmp_path):
    command = line.split()[1]
    if command in ("train", "sweep"):
        line += FEW_STEPS
    elif command == "check" and "--framework" not in line:
        line += " --framework numeric"
    agrees(line, tmp_path, FEW_STEPS)


@pytest.mark.slow  # the whole self-test runs in tests/compare/test_selftest.py, its command in test_cli.py
@pytest.mark.parametrize("line", [line for line in COMMANDS if line not in LONG])
def test_every_command_as_it_stands(line, tmp_path):
    agrees(line, tmp_path)


def test_installing_brings_the_command():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert project["scripts"] == {"gradparity": "compare.cli:main"}
    assert set(project["optional-dependencies"]) >= {"torch", "keras", "dev"}


def test_make_targets_exist_and_do_what_is_said():
    makefile = (ROOT / "Makefile").read_text("utf-8")
    recipes = dict(re.findall(r"^(\w+):.*\n((?:\t.*\n)*)", makefile, re.M))
    assert set(re.findall(r"`?\bmake (\w+)`", README)) | {"check", "test"} <= set(recipes)
    (said,) = re.findall(r"`make check` runs `(gradparity [^`]*)`", README)
    assert f"$(BIN)/{said}\n" in recipes["check"]
    assert "pytest" in recipes["test"] and "-m slow" in recipes["slow"]
    assert all(tool in recipes["lint"] for tool in ("ruff", "mypy"))


@pytest.mark.parametrize(
    ("part", "choices"),
    [
        ("targets", TARGETS),
        ("`--framework`", NAMES),
        ("`--activation`", tuple(ACTIVATIONS)),
        ("`--optimizer`", tuple(OPTIMIZERS)),
        ("`--data`", DATA),
    ],
)
def test_the_table_of_choices_is_complete(part, choices):
    (row,) = re.findall(rf"^\| {part} \| (.*) \|$", README, re.M)
    assert [choice for choice in choices if not re.search(rf"(?<![\w-]){choice}(?![\w-])", row)] == []


def test_the_table_names_every_initialiser():
    (row,) = re.findall(r"^\| `--init` \| (.*) \|$", README, re.M)
    scaled = re.findall(r"(\w+_)(?=,| and|\s)", row)
    ways = re.findall(r"\w+", *re.findall(r"\((.*)\)", row))
    plain = re.findall(r"\w+", re.sub(r"\(.*?\)", "", row))
    named = {f"{scheme}{way}" for scheme in scaled for way in ways} | set(plain) - set(scaled) - {"and"}
    assert named == set(INITIALIZERS)


def test_every_path_of_the_tree_exists():
    folder = ROOT
    for line in TREE.splitlines():
        names = re.split(r"\s{2,}", line.strip())[0].split()
        if not line.startswith(" "):
            folder = ROOT / names[0]
        for name in names:
            path = ROOT / name if not line.startswith(" ") else folder / name
            assert path.exists(), f"README names {path.relative_to(ROOT)}"
            assert path.is_dir() == name.endswith("/"), name


@pytest.mark.parametrize("floor", ["scratch", "frameworks", "compare"])
def test_every_file_is_named_in_the_tree(floor):
    section = re.search(rf"^{floor}/.*\n(?: .*\n)*", TREE, re.M)
    assert section is not None
    named = set(re.findall(r"\w+\.\w+", section[0]))
    files = {path.name for path in (ROOT / floor).rglob("*") if path.suffix in (".py", ".html")}
    assert sorted(files - named - {"__init__.py"}) == []


def test_exit_codes_are_those_of_the_help():
    from compare.cli import EXIT

    said = re.search(r"Exit codes: (.*?)\. ", " ".join(README.split()))
    assert said is not None
    assert f"exit codes: {said[1]}" == " ".join(EXIT.split())


def test_no_placeholder_is_left():
    assert re.findall(r"@[A-Z_]+@", README) == []


@pytest.mark.slow
@pytest.mark.parametrize(("framework", "file"), [("torch", "dcn.safetensors"), ("keras", "dcn.weights.h5")])
def test_the_exported_weights_load_as_the_readme_shows(framework, file, tmp_path):
    """In a process that knows nothing of this project; the model then answers as the run does."""
    made = run(
        "gradparity train dcn --data mnist-5k --steps 2 --log-every 2 --split 4000,100,100 --name dcn",
        tmp_path,
    )
    assert made.returncode == 0, made.stderr
    assert run(f"gradparity export runs/dcn --to {framework} --output {file}", tmp_path).returncode == 0
    (shown,) = (code for code in re.findall(r"```python\n(.*?)```", README, re.S) if file in code)
    x = np.random.default_rng(0).random((3, 28, 28, 1), np.float32)
    np.save(tmp_path / "x.npy", x)
    answer = {
        "torch": "import torch\ny = model(torch.tensor(x.transpose(0, 3, 1, 2).copy())).detach().numpy()",
        "keras": "y = model(x).numpy()",
    }[framework]
    code = f"import numpy as np\nx = np.load('x.npy')\n{shown}\n{answer}\nnp.save('y.npy', y)\n"
    (tmp_path / "user.py").write_text(code)
    done = subprocess.run([sys.executable, "user.py"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    network = Architecture("dcn", (1024, 10), dropout=0.5).network()
    network.load(checkpoint.load(tmp_path / "runs" / "dcn" / "checkpoints").weights)
    np.testing.assert_allclose(np.load(tmp_path / "y.npy"), network.forward(x), rtol=1e-4, atol=1e-4)
