"""What a run leaves in its event file, read back by TensorBoard; and what is said of its health."""

import base64
import io
import re

import board
import numpy as np
import pytest
from PIL import Image

from scratch import pictures
from scratch.errors import GradparityError
from scratch.events import EventWriter
from scratch.health import TrainingFailed
from scratch.initializers import draw
from scratch.learner import Architecture, NumpyLearner
from scratch.monitor import MEASURES, Monitor, log_check
from scratch.network import Watched

DCN = {"kind": "dcn", "sizes": (9, 4), "image": (8, 12, 1), "filters": (3, 5), "kernel": 3}
MLP = {"kind": "mlp", "sizes": (96, 7, 6, 4), "image": (8, 12, 1)}


@pytest.fixture(scope="module")
def read():
    with board.reader() as function:
        yield function


def prepared(**options):
    architecture = Architecture(**options)
    network = architecture.network()
    network.load(draw(network.shapes, "he_normal", np.random.default_rng(1)))
    rng = np.random.default_rng(0)
    x = rng.random((20, 8, 12, 1)).astype(np.float32)
    if architecture.kind == "mlp":
        x = x.reshape(20, -1)
    return architecture, NumpyLearner(network), x, rng.integers(0, 4, 20)


@pytest.mark.parametrize("activation", ["relu", "leaky_relu", "tanh", "sigmoid", "maxout"])
@pytest.mark.parametrize("model", [DCN, MLP], ids=["dcn", "mlp"])
def test_all_tensors_of_a_pass_are_there_exactly(read, tmp_path, model, activation):
    architecture, learner, x, t = prepared(**model, activation=activation)
    watched, weights = learner.watch(x, t), learner.weights()
    with EventWriter(tmp_path) as writer:
        Monitor(writer, architecture).tensors(100, watched, weights)
    found = read("run", tmp_path)
    layers = ("conv1", "conv2", "fc1", "fc2") if architecture.kind == "dcn" else ("fc1", "fc2", "fc3")
    expected = {}
    for layer in layers:
        expected |= {f"{layer}/{part}": weights[f"{layer}/{part}"] for part in ("W", "b")}
        expected |= {
            f"{layer}/{part}": watched.values[f"{layer}/{part}"] for part in ("net_input", "activation")
        }
        if layer.startswith("conv"):
            expected[f"{layer}/pooled"] = watched.values[f"{layer}/pooled"]
        for part in ("W", "b", "net_input"):
            expected[f"{layer}/{part}_gradient"] = watched.gradients[f"{layer}/{part}"]
    assert found["histograms"].keys() == expected.keys()
    for tag, tensor in expected.items():
        ((step, histogram),) = found["histograms"][tag]
        assert (step, histogram["num"], sum(histogram["bucket"])) == (100, tensor.size, tensor.size)
        wide = tensor.astype(np.float64)
        for name in MEASURES:
            ((step, value),) = found["scalars"][f"{tag}/{name}"]
            exact = getattr(np, name)(wide)
            assert step == 100 and value == pytest.approx(exact, rel=1e-6, abs=1e-7 * np.abs(wide).max())
    others = {tag for tag in found["scalars"] if tag.rpartition("/")[0] not in expected}
    kind = {"maxout": None, "tanh": "saturated", "sigmoid": "saturated"}.get(activation, "dead")
    assert others == ({f"{layer}/{kind}_fraction" for layer in layers[:-1]} if kind else set())


def test_steps_evaluations_and_updates(read, tmp_path):
    architecture, learner, _, _ = prepared(**MLP)
    before = learner.weights()
    after = {name: value * 1.25 for name, value in before.items()}
    before["fc3/W"] = np.zeros_like(before["fc3/W"])
    with EventWriter(tmp_path) as writer:
        monitor = Monitor(writer, architecture)
        monitor.batch(1, loss=2.5, error=0.5, learning_rate=0.25, step_ms=8.0)
        monitor.batch(2, loss=1.5, error=0.25, learning_rate=0.125, step_ms=16.0)
        for number, split in enumerate(("train_eval", "validation", "test"), start=1):
            monitor.evaluation(2, split, loss=number, error=number / 8)
        monitor.updates(2, before, after)
        with pytest.raises(ValueError, match="'dev' came"):
            monitor.evaluation(2, "dev", 1, 1)
    found = read("run", tmp_path)["scalars"]
    ratios = {tag: found.pop(tag) for tag in list(found) if "ratio" in tag}
    assert found == {
        "train/loss": [[1, 2.5], [2, 1.5]],
        "train/error": [[1, 0.5], [2, 0.25]],
        "learning_rate": [[1, 0.25], [2, 0.125]],
        "time/step_ms": [[1, 8], [2, 16]],
        "train_eval/loss": [[2, 1]],
        "train_eval/error": [[2, 0.125]],
        "validation/loss": [[2, 2]],
        "validation/error": [[2, 0.25]],
        "test/loss": [[2, 3]],
        "test/error": [[2, 0.375]],
    }
    assert ratios.keys() == {"fc1/W_update_ratio", "fc2/W_update_ratio"}
    for ((step, value),) in ratios.values():
        assert step == 2 and value == pytest.approx(0.25)


def test_start_and_end_fill_the_other_tabs(read, tmp_path):
    config = {
        "framework": "torch",
        "lr": 1e-4,
        "hidden": (64, 32),
        "l1": None,
        "split": (5, 3, 2),
        "name": "a|b",
    }
    for number, status in enumerate(("finished", "failed", "interrupted")):
        architecture, *_ = prepared(**(MLP if number else DCN))
        with EventWriter(tmp_path / f"run-{number}") as writer:
            monitor = Monitor(writer, architecture)
            monitor.start(config | {"seed": number}, trial_id="shared" if number else "")
            monitor.evaluation(5, "test", 1.0, 0.5)
            monitor.end(status)
            with pytest.raises(ValueError, match="'success' came"):
                monitor.end("success")
    run = read("run", tmp_path / "run-0")
    assert run["texts"]["configuration"][0].splitlines()[2:4] == ["| framework | torch |", "| lr | 0.0001 |"]
    assert r"| name | a\|b |" in run["texts"]["configuration"][0]
    assert {"conv1/W", "fc2/net_input", "loss"} <= {node["name"] for node in run["graph"]["node"]}
    found = read("logdir", tmp_path)
    alone, shared = sorted(found["groups"], key=lambda group: group["name"])
    assert (alone["name"], shared["name"], len(shared["sessions"])) == ("run-0", "shared", 2)
    assert {k: v for k, v in alone["hparams"].items() if v is not None} == {
        "framework": "torch",
        "lr": 1e-4,
        "hidden": "64,32",
        "seed": 0,
    }
    statuses = {s["name"]: s.get("status") for group in (alone, shared) for s in group["sessions"]}
    assert statuses == {"run-0": "STATUS_SUCCESS", "run-1": "STATUS_FAILURE", "run-2": None}
    assert len(found["experiment"]["metricInfos"]) == 5
    tags = re.findall(r"train_eval\|validation\|test\)/(\w+)\$", str(found["layout"]))
    assert tags == ["loss", "error"]


def test_check_is_logged_like_a_run(read, tmp_path):
    _, learner, x, t = prepared(**DCN)
    rows = [
        ("conv1/net_input", "value", "torch", 1e-14, 1e-12),
        ("conv1/net_input", "gradient", "torch", 3e-14, 1e-12),
        ("conv1/W", "update", "keras", 2.0, 0.0),
        ("conv1/b", "gradient", "keras", 0.0, 0.0),
        ("fc1/W", "gradient", "keras", None, None),
        ("fc2/W", "gradient", "keras", float("nan"), 1.0),
    ]
    with EventWriter(tmp_path) as writer:
        log_check(writer, 0, learner.watch(x, t), learner.weights(), rows)
    found = read("run", tmp_path)
    assert len(found["histograms"]) == 4 * 7 + 2 and "conv1/W/std" in found["scalars"]
    errors = {tag: value for tag, [[step, value]] in found["scalars"].items() if tag.startswith("error")}
    assert np.isnan(errors.pop("error/fc2/W_gradient/keras"))
    assert np.isnan(errors.pop("error_over_allowed/fc2/W_gradient/keras"))
    assert errors == pytest.approx(
        {
            "error/conv1/net_input/torch": 1e-14,
            "error_over_allowed/conv1/net_input/torch": 1e-2,
            "error/conv1/net_input_gradient/torch": 3e-14,
            "error_over_allowed/conv1/net_input_gradient/torch": 3e-2,
            "error/conv1/W_update/keras": 2.0,
            "error_over_allowed/conv1/W_update/keras": np.inf,
            "error/conv1/b_gradient/keras": 0.0,
            "error_over_allowed/conv1/b_gradient/keras": 0.0,
        }
    )


@pytest.mark.parametrize("model", [DCN, MLP], ids=["dcn", "mlp"])
def test_pictures_are_there(read, tmp_path, model):
    architecture, learner, x, t = prepared(**model)
    with EventWriter(tmp_path) as writer:
        monitor = Monitor(writer, architecture)
        monitor.pictures(5, learner.weights(), x, t, learner.logits(x))
        monitor.pictures(6, learner.weights(), x, t, t)
    found = read("run", tmp_path)["images"]
    first = "conv1/W/kernels" if model is DCN else "fc1/W/kernels"
    assert found.keys() == {first, "misclassified"}
    for tag in found:
        assert [entry[0] for entry in found[tag]] == [5, 6]
        for _, height, width, data in found[tag]:
            with Image.open(io.BytesIO(base64.b64decode(data)), formats=["PNG"]) as image:
                assert image.size == (width, height) and width >= 300
    assert found["misclassified"][1][1] == pictures.CAPTION  # nothing is wrong: only the count


def test_no_pictures_where_inputs_are_no_images(read, tmp_path):
    architecture = Architecture("mlp", (2, 3, 2))
    with EventWriter(tmp_path) as writer:
        weights = architecture.network().params
        Monitor(writer, architecture).pictures(1, weights, np.zeros((5, 2)), np.zeros(5), np.ones(5))
    assert not read("run", tmp_path)["images"]


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize(
    ("where", "tag", "layer"),
    [
        ("conv2/W", "conv2/W", "conv2"),
        ("values:conv1/activation", "conv1/activation", "conv1"),
        ("gradients:fc1/b", "fc1/b_gradient", "fc1"),
    ],
)
def test_a_tensor_that_is_not_finite_ends_the_run_and_is_logged(read, tmp_path, where, tag, layer, value):
    architecture, learner, x, t = prepared(**DCN)
    watched, weights = learner.watch(x, t), learner.weights()
    source, _, name = where.rpartition(":")
    tensor = getattr(watched, source)[name] if source else weights[name]
    tensor.flat[1] = value
    writer = EventWriter(tmp_path)
    with pytest.raises(
        TrainingFailed, match=f"step 30: {tag} is not finite in 1 of {tensor.size:,} ele"
    ) as e:
        Monitor(writer, architecture).tensors(30, watched, weights)
    assert (e.value.step, e.value.tensor, e.value.layer, e.value.exit_code) == (30, tag, layer, 4)
    assert isinstance(e.value, GradparityError)
    found = read("run", tmp_path)  # before anything is closed
    assert found["scalars"][f"{tag}/nonfinite"] == [[30, 1]]
    assert found["histograms"][tag][0][1]["num"] == tensor.size - 1
    writer.close()


def test_a_loss_that_is_not_finite_ends_the_run(read, tmp_path):
    architecture, learner, x, t = prepared(**MLP)
    writer = EventWriter(tmp_path)
    monitor = Monitor(writer, architecture)
    with pytest.raises(TrainingFailed, match="step 3: train/loss is nan") as e:
        monitor.batch(3, np.nan, 0.5, 0.1, 1.0)
    assert e.value.layer == ""
    assert np.isnan(read("run", tmp_path)["scalars"]["train/loss"][0][1])
    with pytest.raises(TrainingFailed, match="step 4: validation/loss is inf"):
        monitor.evaluation(4, "validation", np.inf, 0.5)
    with pytest.raises(TrainingFailed, match="train/loss is inf"):
        monitor.batch(5, np.inf, 0.5, 0.1, 1.0, look=lambda: (learner.watch(x, t), learner.weights()))
    weights = learner.weights()
    weights["fc2/W"][0, 0] = np.nan
    with pytest.raises(TrainingFailed, match="fc2/W is not finite in 1 of 42"):
        monitor.batch(6, np.inf, 0.5, 0.1, 1.0, look=lambda: (learner.watch(x, t), weights))
    writer.close()


def test_dead_units_are_counted_and_said_once(read, tmp_path):
    for activation in ("relu", "leaky_relu"):
        architecture, learner, x, t = prepared(**DCN, activation=activation)
        weights = learner.weights()
        weights["conv2/b"][:4] = -1e3  # four of five filters
        learner.load(weights)
        with EventWriter(tmp_path / activation) as writer:
            monitor = Monitor(writer, architecture)
            said = monitor.tensors(1, learner.watch(x, t), weights)
            assert not monitor.tensors(2, learner.watch(x, t), weights)
        (only,) = (text for text in said if "dead" in text)
        assert only.startswith("conv2 at step 1: 80% of the units are dead")
        found = read("run", tmp_path / activation)["scalars"]
        assert found["conv2/dead_fraction"] == [[1, pytest.approx(0.8)], [2, pytest.approx(0.8)]]


@pytest.mark.parametrize("activation", ["tanh", "sigmoid"])
def test_saturated_outputs_are_counted(read, tmp_path, activation):
    architecture, learner, x, t = prepared(**MLP, activation=activation)
    watched = learner.watch(x, t)
    steep = 1.0 if activation == "tanh" else 0.25  # the greatest slope
    y = watched.values["fc2/activation"]
    half = 2.6467 if activation == "tanh" else 2 * 2.6467  # where the slope has sunk to 2 % of it
    edges = np.array([-3.1, -2.9, -half / (2 if activation == "sigmoid" else 1), 0, 2.9, 3.1])
    z = np.tile(edges * (2 if activation == "sigmoid" else 1), 20)
    y.flat[:] = np.tanh(z) if activation == "tanh" else 1 / (1 + np.exp(-z))
    slope = 1 - y.astype(float) ** 2 if activation == "tanh" else y.astype(float) * (1 - y)
    with EventWriter(tmp_path) as writer:
        monitor = Monitor(writer, architecture)
        assert not [text for text in monitor.tensors(1, watched, learner.weights()) if "fc2" in text]
        y.flat[:] = y.flat[0]
        said = [text for text in monitor.tensors(2, watched, learner.weights()) if "fc2" in text]
    expected = np.mean(slope < 0.01 * steep)
    found = read("run", tmp_path)["scalars"]["fc2/saturated_fraction"]
    assert found == [[1, pytest.approx(expected)], [2, 1.0]] and 0.3 < expected < 0.4
    assert said == ["fc2 at step 2: 100% of the outputs are saturated: their slope is next to 0."]


def test_constant_weights_are_said(tmp_path):
    architecture, learner, x, t = prepared(**MLP)
    weights = learner.weights()
    weights["fc2/W"][:] = 0.25
    weights["fc3/b"][:] = 0.25  # biases may be alike
    with EventWriter(tmp_path) as writer:
        said = Monitor(writer, architecture).tensors(1, learner.watch(x, t), weights)
    assert said == ["fc2 at step 1: all 42 weights are 0.25: its units stay alike."]


def test_a_healthy_run_is_told_nothing(tmp_path):
    for model in (DCN | {"sizes": (64, 4), "filters": (8, 16)}, MLP | {"sizes": (96, 64, 32, 4)}):
        for activation in ("relu", "leaky_relu", "tanh", "sigmoid", "maxout"):
            architecture, learner, x, t = prepared(**model, activation=activation)
            with EventWriter(tmp_path) as writer:
                assert Monitor(writer, architecture).tensors(1, learner.watch(x, t), learner.weights()) == []


def test_tensors_are_not_changed(tmp_path):
    architecture, learner, x, t = prepared(**DCN)
    watched, weights = learner.watch(x, t), learner.weights()
    copy = Watched(
        watched.loss, *({k: v.copy() for k, v in d.items()} for d in (watched.values, watched.gradients))
    )
    kept = {name: value.copy() for name, value in weights.items()}
    with EventWriter(tmp_path) as writer:
        monitor = Monitor(writer, architecture)
        monitor.tensors(1, watched, weights)
        monitor.updates(1, weights, weights)
        monitor.pictures(1, weights, x, t, t)
    for mine, other in ((watched.values, copy.values), (watched.gradients, copy.gradients), (weights, kept)):
        assert all(np.array_equal(mine[name], other[name]) for name in other)
