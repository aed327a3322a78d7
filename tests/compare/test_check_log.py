"""A check leaves a run that TensorBoard's own reader reads: tensors, errors, verdict; and never costs one."""

import json
import shlex

import board
import numpy as np
import pytest

from compare import check_log, cli
from compare.planting import Mutant, planted

QUICK = "--dtype float64 --batch-size 4 --optimizer momentum"
LAYERS = {"mlp": ("fc1", "fc2", "fc3"), "dcn": ("conv1", "conv2", "fc1", "fc2")}


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def read():
    with board.reader() as function:
        yield function


def check(command):
    return cli.main(shlex.split(f"check {command} {QUICK}"))


@pytest.mark.parametrize("target", ["mlp", "dcn"])
def test_a_check_is_a_run(target, read, tmp_path, capsys, referees):
    assert check(f"{target} --framework torch,keras,numeric") == 0
    (folder,) = (tmp_path / "runs").iterdir()
    assert f"log: runs/{folder.name} " in capsys.readouterr().err
    document = json.loads((folder / "check.json").read_text())
    assert document["schema"] == "gradparity/check/1" and document["verdict"] == "agree"
    found = read("run", folder / f"{target}-float64")
    tensors = {
        f"{layer}/{part}"
        for layer in LAYERS[target]
        for part in ("W", "b", "net_input", "activation", "W_gradient", "b_gradient", "net_input_gradient")
    }
    tensors |= {f"{layer}/pooled" for layer in LAYERS[target] if layer.startswith("conv")}
    assert set(found["histograms"]) == tensors
    assert {f"{tensor}/{name}" for tensor in tensors for name in ("min", "max", "mean", "std")} <= set(
        found["scalars"]
    )
    (quantities,) = (t["quantities"] for t in document["targets"])
    for referee in ("torch", "keras", "numeric"):
        for layer in LAYERS[target]:
            for tag in (f"{layer}/W_gradient", f"{layer}/net_input_gradient"):
                ((step, ratio),) = found["scalars"][f"error_over_allowed/{tag}/{referee}"]
                assert step == 0 and 0 <= ratio < 1 and f"error/{tag}/{referee}" in found["scalars"]
    for referee in ("torch", "keras"):
        assert f"error/{LAYERS[target][0]}/net_input/{referee}" in found["scalars"]
        rule = "momentum+decay" if target == "mlp" else "momentum"
        assert f"error_over_allowed/fc1/W_update/{rule}/{referee}" in found["scalars"]
    logged = sum(tag.startswith("error/") for tag in found["scalars"])
    assert logged == sum(q["verdict"] != "untested" for q in quantities) + 3  # and the losses
    assert "| verdict | agree |" in found["texts"]["configuration"][0]
    assert {f"{layer}/W" for layer in LAYERS[target]} <= {n["name"] for n in found["graph"]["node"]}


def test_a_wrong_gradient_stands_out_in_the_log(read, tmp_path):
    wrong = Mutant("relu", "z", "mask missing", lambda call: call.dy)
    with planted(wrong):
        assert check("mlp --framework numeric") == 1
    (folder,) = (tmp_path / "runs").iterdir()
    scalars = read("run", folder / "mlp-float64")["scalars"]
    assert scalars["error_over_allowed/fc2/net_input_gradient/numeric"][0][1] > 1e6
    assert scalars["error_over_allowed/fc3/W_gradient/numeric"][0][1] < 1


def test_both_precisions_and_both_networks_lie_side_by_side(tmp_path):
    arguments = "check mlp dcn --framework numeric --batch-size 4 --optimizer sgd"
    assert cli.main([*arguments.split(), "--runs-dir", "logs"]) == 0
    (folder,) = (tmp_path / "logs").iterdir()
    names = {path.name for path in folder.iterdir()}
    assert names == {"check.json", "mlp-float64", "mlp-float32", "dcn-float64", "dcn-float32"}
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("command", ["mlp --framework numeric --no-log", "ops --framework numeric"])
def test_no_log_leaves_none_and_operations_have_none(command, tmp_path):
    assert check(command) == 0
    assert list(tmp_path.iterdir()) == []


def test_two_checks_in_one_second_have_a_folder_each(tmp_path, referees):
    folders = {check_log._new_folder(tmp_path) for _ in range(3)}
    assert len(folders) == 3 and all(folder.is_dir() for folder in folders)


def test_where_no_log_can_be_written_the_verdict_stands(tmp_path, capsys):
    (tmp_path / "runs").write_text("a file")
    assert check("mlp --framework numeric") == 0
    out, err = capsys.readouterr()
    assert "agree: mlp in float64" in out
    assert err.startswith("warning: the log of this check in runs could not be written: a file stands")


def test_what_is_not_finite_is_counted_and_does_not_stop_the_log(read, tmp_path):
    with planted(Mutant("relu", "z", "NaN", lambda call: call.dy * np.nan)):
        assert check("mlp --framework numeric") == 1
    (folder,) = (tmp_path / "runs").iterdir()
    assert read("run", folder / "mlp-float64")["scalars"]["fc1/W_gradient/nonfinite"][0][1] > 0
