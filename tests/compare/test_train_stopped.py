"""A training run that is stopped, that two processes want, or that diverges: one sentence, nothing lost."""

import re
import shlex
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from compare import cli
from scratch import checkpoint
from scratch.rundir import RunDirectory

ROOT = Path(__file__).parents[2]
COURSE = (
    "mlp --hidden 8 --dropout 0.3 --split 600,100,100 --log-every 10 --eval-every 20 --checkpoint-every 10"
)


def process(arguments, code=""):
    """The command in a session of its own, as a terminal gives it one, after some lines of Python."""
    program = f"{code}\nimport sys\nfrom compare.cli import main\nsys.exit(main())"
    return subprocess.Popen(
        [sys.executable, "-c", program, "train", *arguments, "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a background job ignores it
    )


def course(path, steps, more=""):
    return [
        *COURSE.split(),
        *more.split(),
        "--steps",
        steps,
        "--runs-dir",
        str(path.parent),
        "--name",
        path.name,
    ]


def ended(working, code):
    """The one sentence of a process that ended so."""
    out, err = working.communicate(timeout=60)
    assert (working.returncode, out) == (code, ""), err
    assert err.startswith("gradparity: ") and err.endswith(".\n") and err.count("\n") == 1, err
    return err.removeprefix("gradparity: ").strip()


def wait_for_a_checkpoint(working, path, after=0):
    def there():
        return any(int(file.stem.removeprefix("step-")) > after for file in path.glob("checkpoints/*.json"))

    while working.poll() is None and not there():
        time.sleep(0.02)


@contextmanager
def at_work(path):
    """A long run in a process of its own, some steps on its way."""
    with process(course(path, "100000")) as working:
        try:
            wait_for_a_checkpoint(working, path)
            yield working
        finally:
            working.kill()


def test_a_run_that_another_process_works_on(tmp_path, capsys):
    path = tmp_path / "part"
    with at_work(path) as working:
        for arguments, told in (
            (["--resume", str(path)], "another process is working on the run"),
            (course(path, "10"), "choose another name or resume it"),
        ):
            assert cli.main(["train", *arguments]) == 2
            out, err = capsys.readouterr()
            assert out == "" and told in err and err.startswith("gradparity: ") and err.count("\n") == 1
        assert working.poll() is None and RunDirectory.view(path).status()["state"] == "running"
        assert [folder.name for folder in tmp_path.iterdir() if folder.is_dir()] == ["part"]


@pytest.mark.parametrize("name", ["part", "my run"])
def test_ctrl_c_keeps_every_step_and_says_how_to_go_on(tmp_path, name):
    """What is said can be copied into a shell, and leads on from that very step."""
    path = tmp_path / name
    with at_work(path) as working:
        working.send_signal(signal.SIGINT)
        said = ended(working, 130)
    told = re.fullmatch(r"interrupted; stopped after step (\d+); gradparity train (.*) goes on\.", said)
    assert told, said
    run, step, command = RunDirectory.view(path), int(told[1]), shlex.split(told[2])
    assert command == ["--resume", str(path)]
    assert checkpoint.load(run.checkpoints).step == step
    assert [row["step"] for row in run.metrics()] == list(range(1, step + 1))
    assert (run.status()["state"], run.status()["step"]) == ("interrupted", step)
    with process(command) as again:
        wait_for_a_checkpoint(again, path, step)
        again.send_signal(signal.SIGINT)
        assert "--resume" in ended(again, 130)
    assert len(run.metrics()) > step


BEFORE_THE_FIRST_STEP = """
import signal
from compare import train
train.EventWriter = lambda *_, **__: signal.raise_signal(signal.SIGINT)
"""


def test_ctrl_c_before_the_first_step_does_not_deny_the_run_that_is_there(tmp_path):
    path = tmp_path / "part"
    with process(course(path, "10"), BEFORE_THE_FIRST_STEP) as working:
        said = ended(working, 130)
    assert said.startswith("interrupted") and (not path.exists() or "nothing was written" not in said)


def test_divergence_is_one_sentence(tmp_path):
    """The arithmetic warns of its overflows on the way; a user is told once, and of the layer."""
    with process(course(tmp_path / "part", "20", "--optimizer sgd --lr 1e30")) as working:
        said = ended(working, 4)
    assert re.match(r"training stopped at step \d+: fc\d/\w+ is not finite", said)
