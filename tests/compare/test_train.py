"""Runs of all three backends, started, stopped, taken up again and read back by what users read them with."""

import json
import os
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from compare import cli, train
from scratch import checkpoint
from scratch.errors import GradparityError, MissingError, UsageError
from scratch.rundir import RunDirectory

SHORT = {
    "steps": 30,
    "log_every": 10,
    "eval_every": 15,
    "checkpoint_every": 10,
    "hidden": (12,),
    "dropout": 0.3,
    "split": (600, 100, 100),
}


def start(folder, name="run", **options):
    return train.start(train.Options(**(SHORT | options)), str(folder), name)


def weights(folder, name="run"):
    return checkpoint.load(folder / name / "checkpoints").weights


@pytest.mark.parametrize("framework", train.FRAMEWORKS)
def test_a_run_leaves_all_that_is_promised(framework, tmp_path, referees):
    summary = start(tmp_path, framework=framework)
    run = RunDirectory.view(summary["run_dir"])
    assert summary["steps"] == 30 and 0 <= summary["test_error"] <= 1
    assert run.status()["state"] == "finished"
    rows = run.metrics()
    assert [row["step"] for row in rows] == list(range(1, 31))
    assert {"epoch", "train_loss", "train_error", "learning_rate"} <= rows[0].keys()
    assert [row["step"] for row in rows if "validation_error" in row] == [15, 30]
    assert run.config["framework"] == framework and run.config["split"] == [600, 100, 100]
    names = {path.name for path in run.path.iterdir()}
    assert {"config.json", "environment.json", "metrics.jsonl", "status.json", "checkpoints"} <= names
    assert any(name.startswith("events.out.tfevents") for name in names)


def test_the_three_backends_run_the_same_course(tmp_path, referees):
    losses, errors = {}, {}
    for framework in train.FRAMEWORKS:
        start(tmp_path, framework, framework=framework, dtype="float64", optimizer="sgd", lr=0.01)
        run = RunDirectory.view(tmp_path / framework)
        rows = run.metrics()
        losses[framework] = [row[k] for row in rows for k in ("train_loss", "validation_loss") if k in row]
        errors[framework] = [row["train_error"] for row in rows]
    assert errors["torch"] == errors["numpy"] == errors["keras"] and len(set(errors["numpy"])) > 1
    np.testing.assert_allclose(losses["torch"], losses["numpy"], rtol=1e-9)
    np.testing.assert_allclose(losses["keras"], losses["numpy"], rtol=1e-9)


class Stop(Exception):
    pass


@pytest.mark.parametrize("framework", train.FRAMEWORKS)
def test_a_run_stopped_and_resumed_is_bit_for_bit_the_same(framework, tmp_path, referees):
    start(tmp_path, "whole", framework=framework)

    def stop(look):
        if look.step == 17:
            raise Stop

    with pytest.raises(Stop):
        train.start(train.Options(**SHORT, framework=framework), str(tmp_path), "part", stop)
    assert RunDirectory.view(tmp_path / "part").status()["state"] == "failed"
    train.resume(str(tmp_path / "part"))
    for name, value in weights(tmp_path, "whole").items():
        np.testing.assert_array_equal(weights(tmp_path, "part")[name], value)
    records = [RunDirectory.view(tmp_path / name).metrics() for name in ("whole", "part")]
    assert records[0] == records[1]


def test_a_killed_run_is_resumed_bit_for_bit(tmp_path):
    arguments = "train mlp --hidden 12 --dropout 0.3 --split 600,100,100 --steps 3000 --log-every 500"
    arguments += " --eval-every 1000 --checkpoint-every 100 --runs-dir"
    command = [sys.executable, "-m", "compare.cli", *arguments.split(), str(tmp_path), "--name"]
    subprocess.run([*command, "whole"], check=True, capture_output=True)
    with subprocess.Popen(
        [*command, "part"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        while not list(tmp_path.glob("part/checkpoints/*.safetensors")) and process.poll() is None:
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
    if process.returncode != 0:  # else it was quicker than the signal
        resume = [sys.executable, "-m", "compare.cli", "train", "--resume", str(tmp_path / "part"), "--json"]
        done = subprocess.run(resume, check=True, capture_output=True, text=True)
        assert json.loads(done.stdout)["steps"] == 3000
    for name, value in weights(tmp_path, "whole").items():
        np.testing.assert_array_equal(weights(tmp_path, "part")[name], value)


def test_divergence_stops_the_run_and_names_the_layer_and_step(tmp_path):
    with pytest.raises(GradparityError, match=r"step \d+.*fc\d/") as error:
        start(tmp_path, lr=1e30, optimizer="sgd", activation="relu", checkpoint_every=1)
    assert error.value.exit_code == 4
    run = RunDirectory.view(tmp_path / "run")
    assert run.status()["state"] == "failed" and re.search(r"fc\d/", run.status()["reason"])
    if any(run.checkpoints.iterdir()):
        assert all(np.isfinite(value).all() for value in weights(tmp_path).values())


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"framework": "jax"}, "--framework"),
        ({"optimizer": "lion"}, "--optimizer"),
        ({"activation": "gelu"}, "--activation"),
        ({"schedule": "cosine"}, "schedule must be one of"),
        ({"schedule": "constant", "schedule_factor": 0.5}, "takes no parameter"),
        ({"device": "tpu"}, "--device"),
        ({"device": "cuda"}, "NumPy computes on the CPU"),
        ({"init": "ones"}, "init"),
        ({"steps": 0}, "--steps"),
        ({"lr": -1.0}, "--lr"),
        ({"dropout": 1.0}, "--dropout"),
        ({"l2": float("nan")}, "--l2"),
        ({"seed": -1}, "--seed"),
        ({"batch_size": 10**6}, "batch of 1000000"),
        ({"model": "dcn", "data": "iris", "split": None, "hidden": None}, "images"),
        ({"framework": "torch", "dialect": "keras"}, "--dialect"),
        ({"momentum": 0.5}, "momentum"),
    ],
)
def test_what_makes_no_run_is_refused_and_leaves_no_folder(options, sentence, tmp_path, referees):
    with pytest.raises(UsageError, match=sentence):
        start(tmp_path, **options)
    assert not list(tmp_path.iterdir())


def test_a_finished_run_and_a_taken_name_are_refused(tmp_path):
    start(tmp_path)
    with pytest.raises(UsageError, match="finished"):
        train.resume(str(tmp_path / "run"))
    with pytest.raises(UsageError, match="there already"):
        start(tmp_path)
    with pytest.raises(UsageError, match="no run"):
        train.resume(str(tmp_path / "none"))


def test_tensorboard_reads_the_same_tags_from_all_backends(tmp_path, referees):
    for framework in train.FRAMEWORKS:
        start(tmp_path, framework, framework=framework)
    script = """
import json, sys, warnings
warnings.simplefilter("ignore")
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
out = {}
for folder in sys.argv[1:]:
    events = EventAccumulator(folder, size_guidance={"scalars": 0, "histograms": 0}).Reload()
    tags = events.Tags()
    out[folder] = {
        "scalars": {tag: [e.step for e in events.Scalars(tag)] for tag in tags["scalars"]},
        "histograms": {tag: [e.step for e in events.Histograms(tag)] for tag in tags["histograms"]},
    }
print(json.dumps(out))
"""
    folders = [str(tmp_path / framework) for framework in train.FRAMEWORKS]
    done = subprocess.run(
        [sys.executable, "-c", script, *folders],
        check=True,
        capture_output=True,
        text=True,
        env=os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"},
    )
    numpy, *others = json.loads(done.stdout.splitlines()[-1]).values()
    assert others == [numpy, numpy]
    scalars, histograms = numpy["scalars"], numpy["histograms"]
    for tag in ("train/loss", "train/error", "learning_rate", "time/step_ms"):
        assert scalars[tag] == list(range(1, 31))
    for part in ("train_eval", "validation", "test"):
        assert scalars[f"{part}/loss"] == scalars[f"{part}/error"] == [15, 30]
    for layer in ("fc1", "fc2"):
        for tensor in ("W", "b", "net_input", "activation"):
            assert histograms.get(f"{layer}/{tensor}") == [10, 20, 30], (layer, tensor)
            assert scalars[f"{layer}/{tensor}/mean"] == [10, 20, 30]
        for tensor in ("W_gradient", "b_gradient", "net_input_gradient"):
            assert histograms[f"{layer}/{tensor}"] == [10, 20, 30]
        assert scalars[f"{layer}/W_update_ratio"] == [10, 20, 30]


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_a_run_told_to_stop_saves_between_two_steps_and_says_how_to_go_on(sent, tmp_path):
    """Ctrl-C costs nothing: the step under way is finished and kept, though no checkpoint was due."""
    start(tmp_path, "whole", checkpoint_every=30)

    def stop(look):
        if look.step == 17:
            os.kill(os.getpid(), sent)

    options = train.Options(**(SHORT | {"checkpoint_every": 30}))
    before = signal.getsignal(sent)
    with pytest.raises(KeyboardInterrupt, match=r"stopped after step 17; .*--resume .*part goes on"):
        train.start(options, str(tmp_path), "part", stop)
    assert signal.getsignal(sent) == before
    run = RunDirectory.view(tmp_path / "part")
    assert (run.status()["state"], run.status()["step"]) == ("interrupted", 17)
    assert checkpoint.load(run.checkpoints).step == 17 and len(run.metrics()) == 17
    train.resume(str(tmp_path / "part"))
    assert run.metrics() == RunDirectory.view(tmp_path / "whole").metrics()
    for name, value in weights(tmp_path, "whole").items():
        np.testing.assert_array_equal(weights(tmp_path, "part")[name], value)


def test_a_second_signal_stops_at_once(tmp_path):
    def stop(look):
        os.kill(os.getpid(), signal.SIGINT)
        if look.step == 1:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        train.start(train.Options(**SHORT), str(tmp_path), "run", stop)
    assert not list((tmp_path / "run" / "checkpoints").iterdir())


@pytest.mark.parametrize("option", ["--lr 5", "--seed=0", "--steps 9", "--penalize-biases"])
def test_a_resumed_run_takes_no_other_settings(option, tmp_path, capsys):
    assert cli.main(["train", "--resume", str(tmp_path), *option.split()]) == 2
    flag = option.split()[0].partition("=")[0]
    assert f"goes on with its own settings, but {flag} came" in capsys.readouterr().err


def test_the_schedule_is_followed_by_epoch(tmp_path):
    start(tmp_path, schedule="step", schedule_factor=0.5, schedule_every=1, lr=0.25)
    rows = RunDirectory.view(tmp_path / "run").metrics()  # 12 steps an epoch
    assert [row["learning_rate"] for row in rows] == [0.25] * 12 + [0.125] * 12 + [0.0625] * 6


@pytest.mark.parametrize("framework", ["torch", "keras"])
def test_a_gpu_that_is_asked_for_and_missing_is_said(framework, tmp_path, referees):
    torch = pytest.importorskip("torch")
    if torch.cuda.is_available():
        pytest.skip("there is a GPU here")
    with pytest.raises(MissingError, match="no GPU here"):
        start(tmp_path, framework=framework, device="cuda")
    assert start(tmp_path, framework=framework, device="auto")["steps"] == 30
