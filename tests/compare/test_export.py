"""Weights for others, loaded by plain PyTorch, Keras and NumPy in processes that know no gradparity."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import asdict

import numpy as np
import pytest

from compare import cli, export, train
from frameworks import guard
from scratch import checkpoint, files, initializers
from scratch.checkpoint import Checkpoint
from scratch.errors import DataError, MissingError, UsageError
from scratch.layers import ACTIVATIONS
from scratch.learner import Architecture
from scratch.rundir import RunDirectory

SHORT = {"steps": 4, "batch_size": 20, "split": (200, 50, 50), "data": "mnist-5k", "lr": 1e-3}
ARCHITECTURES = {  # every kind that a run can have, small
    f"{kind}-{activation}": Architecture(
        kind,
        (6, 3) if kind == "dcn" else (7, 5, 4, 3),
        image=(8, 12, 2),
        filters=(3, 4),
        kernel=3,
        activation=activation,
        dropout=0.5 if activation in ("relu", "maxout") else 0.0,
        l2=1e-3,
    )
    for kind in ("mlp", "dcn")
    for activation in ACTIVATIONS
} | {"linear": Architecture("mlp", (7, 3), dropout=0.5)}
TRAINED = {
    "mlp": {"model": "mlp", "hidden": (12, 9), "dtype": "float64", "dropout": 0.3},
    "dcn": {"model": "dcn", "hidden": (8,)},
}


def made(folder, name, architecture, dtype="float32", steps=1, best=None):
    """A run's folder without training, with weights of its own at each step."""
    shapes = architecture.network().shapes
    config = {"model": architecture.kind, "data": "mnist-5k"}
    with RunDirectory.create(folder, config, name) as run:
        for step in range(1, steps + 1):
            drawn = initializers.draw(shapes, "he_normal", np.random.default_rng(step))
            rng = np.random.default_rng([step, 1])  # biases too
            weights = {k: (w + 0.1 * rng.normal(size=w.shape)).astype(dtype) for k, w in drawn.items()}
            info = {"architecture": asdict(architecture)}
            run.save(Checkpoint(step, weights, {}, info), best=step == best)
    return run.path


def logits(run, x):
    """What the run's own network says, in float64."""
    found = checkpoint.load(run / "checkpoints")
    known = found.info["architecture"]
    architecture = Architecture(**{k: tuple(v) if isinstance(v, list) else v for k, v in known.items()})
    network = architecture.network(np.float64)
    network.load(found.weights)
    return network.forward(x.astype(np.float64))


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Runs by name, each with a batch that its network takes."""
    folder = tmp_path_factory.mktemp("runs")
    rng, found = np.random.default_rng(0), {}
    for name, architecture in ARCHITECTURES.items():
        shape = architecture.image if architecture.kind == "dcn" else architecture.sizes[:1]
        x = rng.normal(size=(5, *shape)).astype(np.float32)
        found[name] = made(folder, name, architecture), x
    for name, options in TRAINED.items():
        train.start(train.Options(**(SHORT | options)), str(folder), name)
        shape = (28, 28, 1) if name == "dcn" else (784,)
        found[name] = folder / name, rng.random((5, *shape), np.float32)
    return found


def elsewhere(program, folder):
    """Run Python in a process that imports nothing of gradparity."""
    program += "\nimport sys\nassert not {'scratch', 'frameworks', 'compare'} & sys.modules.keys()\n"
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=folder,
        env=environment | {"KERAS_BACKEND": "tensorflow", "TF_CPP_MIN_LOG_LEVEL": "3"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


# Models as others write them, to be filled from dcn and mlp: attributes, default names, a functional model.
TORCH = """
import numpy as np, safetensors.torch, torch
from torch import nn
from torch.nn import functional as F

class DCN(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 32, 5, padding=2)
        self.conv2 = nn.Conv2d(32, 64, 5, padding=2)
        self.fc1 = nn.Linear(64 * 7 * 7, 8)
        self.drop = nn.Dropout(0.5)
        self.fc2 = nn.Linear(8, 10)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)
        x = F.max_pool2d(F.relu(self.conv2(x)), 2)
        return self.fc2(self.drop(F.relu(self.fc1(x.flatten(1)))))

model = DCN().eval()
model.load_state_dict(safetensors.torch.load_file("dcn.safetensors"))
with torch.no_grad():
    np.save("dcn.own.npy", model(torch.tensor(np.load("dcn.x.npy").transpose(0, 3, 1, 2))).numpy())

model = nn.Sequential()
model.add_module("fc1", nn.Linear(784, 12))
model.add_module("relu", nn.ReLU())
model.add_module("fc2", nn.Linear(12, 9))
model.add_module("relu2", nn.ReLU())
model.add_module("fc3", nn.Linear(9, 10))
model.load_state_dict(safetensors.torch.load_file("mlp.safetensors"))
with torch.no_grad():
    np.save("mlp.own.npy", model(torch.tensor(np.load("mlp.x.npy"))).numpy())
"""
KERAS = """
import keras, numpy as np
from keras import layers

keras.Sequential([keras.Input((3,)), layers.Dense(2), layers.Dense(2)])  # default names go on from here
x = inputs = keras.Input((28, 28, 1))
x = layers.Conv2D(32, 5, padding="same", activation="relu")(x)
x = layers.MaxPooling2D()(x)
x = layers.Conv2D(64, 5, padding="same", activation="relu")(x)
x = layers.MaxPooling2D()(x)
x = layers.Flatten()(x)
x = layers.Dense(8, activation="relu")(x)
x = layers.Dropout(0.5)(x)
model = keras.Model(inputs, layers.Dense(10)(x))
model.load_weights("dcn.weights.h5")
np.save("dcn.own.npy", keras.ops.convert_to_numpy(model(np.load("dcn.x.npy"))))

model = keras.Sequential([
    keras.Input((28, 28, 1)),
    layers.Flatten(),
    layers.Dense(12, activation="relu", name="fc1"),
    layers.Dense(9, activation="relu", name="fc2"),
    layers.Dropout(0.2),
    layers.Dense(10, name="fc3"),
])
model.load_weights("mlp.weights.h5")
np.save("mlp.own.npy", keras.ops.convert_to_numpy(model(np.load("mlp.x.npy").reshape(-1, 28, 28, 1))))
"""
TORCH_PRINTED = """
import json, numpy as np, torch
for name, code in json.load(open("codes.json")).items():
    space = {}
    exec(code, space)
    x = np.load(f"{name}.x.npy")
    x = torch.tensor(x.transpose(0, 3, 1, 2) if x.ndim == 4 else x)
    with torch.no_grad():
        np.save(f"{name}.printed.npy", space["model"](x).numpy())
"""
KERAS_PRINTED = """
import json, keras, numpy as np
for name, code in json.load(open("codes.json")).items():
    space = {}
    exec(code, space)
    np.save(f"{name}.printed.npy", keras.ops.convert_to_numpy(space["model"](np.load(f"{name}.x.npy"))))
"""


@pytest.mark.parametrize(
    ("to", "own", "printed"), [("torch", TORCH, TORCH_PRINTED), ("keras", KERAS, KERAS_PRINTED)]
)
def test_a_model_without_gradparity_says_what_the_run_says(
    to, own, printed, runs, referees, tmp_path, monkeypatch
):
    """Models as others write them, and the code that is printed, for every network that can be trained."""
    monkeypatch.chdir(tmp_path)
    codes = {}
    for name, (run, x) in runs.items():
        document, notes = export.export(str(run), to)
        assert document["path"] == name + export.ENDINGS[to] and notes == ()
        codes[name] = document["code"]
        np.save(f"{name}.x.npy", x)
    (tmp_path / "codes.json").write_text(json.dumps(codes))
    elsewhere(own + printed, tmp_path)
    for name, (run, x) in runs.items():
        expected = logits(run, x)
        assert np.abs(expected).max() > 0.1
        for what in ("own", "printed") if name in TRAINED else ("printed",):
            came = np.load(f"{name}.{what}.npy")
            np.testing.assert_allclose(came, expected, rtol=1e-5, atol=1e-5, err_msg=f"{name} {what}")


@pytest.mark.parametrize("name", ["dcn", "mlp", "dcn-maxout", "linear"])
def test_the_names_in_the_file_are_those_that_are_told(name, runs, referees, tmp_path, monkeypatch):
    import h5py
    from safetensors.numpy import load_file

    monkeypatch.chdir(tmp_path)
    run, _ = runs[name]
    weights = checkpoint.load(run / "checkpoints").weights
    told = {to: export.export(str(run), to)[0]["names"] for to in export.ENDINGS}
    assert all(names.keys() == weights.keys() for names in told.values())
    with h5py.File(f"{name}.weights.h5") as file:
        there = []
        file.visititems(lambda path, item: there.append(path) if isinstance(item, h5py.Dataset) else None)
        assert sorted(there) == sorted(told["keras"].values())
        for key, weight in weights.items():
            np.testing.assert_array_equal(file[told["keras"][key]][()], weight)
    tensors = load_file(f"{name}.safetensors")
    assert sorted(tensors) == sorted(told["torch"].values())
    assert told["torch"]["fc1/W"] == "fc1.weight"
    for key, weight in weights.items():
        tensor = tensors[told["torch"][key]]
        assert tensor.dtype == weight.dtype and tensor.size == weight.size
    arrays = dict(np.load(f"{name}.npz", allow_pickle=False))
    assert told["npz"] == {key: key for key in weights} and arrays.keys() == weights.keys()
    for key, weight in weights.items():
        assert arrays[key].dtype == weight.dtype
        np.testing.assert_array_equal(arrays[key], weight)


def test_the_printed_code_loads_the_arrays(runs, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["export", str(runs["mlp"][0]), "--to", "npz"]) == 0
    code = capsys.readouterr().out
    assert code.startswith("# mlp.npz, step 4\n")
    elsewhere(code + "assert weights['fc1/W'].shape == (784, 12) and len(weights) == 6", tmp_path)


def test_what_the_inputs_must_be_is_said(tmp_path):
    for data, words in (
        ("iris", "x (N, 7), each feature standardised"),
        ("moons", "x (N, 7); model(x)"),
        ("digits", "x (N, 7), pixels in [0, 1]; model(x) gives logits"),
    ):
        assert words in export.export_code.torch(ARCHITECTURES["linear"], data, "x")
    code = export.export_code.keras(ARCHITECTURES["dcn-relu"], "mnist", "x")
    assert "x (N, 8, 12, 2), pixels" in code
    assert "x (N, 2, 8, 12), pixels" in export.export_code.torch(ARCHITECTURES["dcn-relu"], "mnist", "x")


@pytest.mark.parametrize(("options", "step"), [([], 3), (["--best"], 2)])
def test_the_newest_checkpoint_or_the_best(options, step, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    run = made(tmp_path, "run", ARCHITECTURES["linear"], steps=3, best=2)
    assert cli.main(["export", str(run), "--to", "npz", "--json", "--output", "out.npz", *options]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["schema"] == "gradparity/export/1" and document["format"] == "npz"
    assert (document["path"], document["step"]) == ("out.npz", step)
    saved = checkpoint.load(run / "checkpoints" / f"step-{step:08d}.safetensors").weights
    np.testing.assert_array_equal(np.load("out.npz")["fc1/W"], saved["fc1/W"])


def test_a_damaged_checkpoint_is_passed_over_and_named(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    run = made(tmp_path, "run", ARCHITECTURES["linear"], steps=2)
    (run / "checkpoints" / "step-00000002.safetensors").write_bytes(b"torn")
    assert cli.main(["export", str(run), "--to", "npz"]) == 0
    out, err = capsys.readouterr()
    assert "step 1" in out and err.startswith("warning: Passed over") and "step-00000002" in err


def test_a_file_that_is_there_is_replaced_only_by_force(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    run = made(tmp_path, "run", ARCHITECTURES["linear"])
    (tmp_path / "run.npz").write_bytes(b"mine")
    assert cli.main(["export", str(run), "--to", "npz"]) == 2
    out, err = capsys.readouterr()
    assert out == "" and "--force" in err and (tmp_path / "run.npz").read_bytes() == b"mine"
    assert cli.main(["export", str(run), "--to", "npz", "--force"]) == 0
    assert "fc1/W" in np.load("run.npz")


def test_a_full_disk_leaves_the_old_file(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    run = made(tmp_path, "run", ARCHITECTURES["linear"])
    (tmp_path / "run.npz").write_bytes(b"old")

    def full(path, data):
        path.write_bytes(data[:10])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files, "write", full)
    assert cli.main(["export", str(run), "--to", "npz", "--force"]) == 4
    assert "the disk is full" in capsys.readouterr().err
    assert (tmp_path / "run.npz").read_bytes() == b"old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run", "run.npz"]


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ("none --to npz", "there is no run"),
        ("run", "--to"),
        ("run --to onnx", "torch"),
        ("run --to npz --best", "leave out --best"),
        ("run --to npz --output out.npy", "ends in .npz"),
        ("run --to torch --output out.pt", "ends in .safetensors"),
        ("run --to keras --output out.h5", "ends in .weights.h5"),
        ("run --to npz --output missing/out.npz", "does not exist"),
        ("empty --to npz", "no checkpoint"),
    ],
)
def test_wrong_usage_is_one_sentence_and_leaves_nothing(arguments, word, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    made(tmp_path, "run", ARCHITECTURES["linear"])
    made(tmp_path, "empty", ARCHITECTURES["linear"], steps=0)
    assert cli.main(["export", *arguments.split()]) == 2
    out, err = capsys.readouterr()
    assert out == "" and word in err and err.startswith("gradparity: ") and err.count("\n") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "run"]


@pytest.mark.parametrize("to", ["torch", "keras"])
def test_a_framework_that_is_missing_is_said_and_npz_needs_none(to, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = made(tmp_path, "run", ARCHITECTURES["linear"])
    monkeypatch.setattr(guard, "installed", lambda name: False)
    with pytest.raises(MissingError, match="not installed") as error:
        export.export(str(run), to)
    assert error.value.exit_code == 3
    export.export(str(run), "npz")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run", "run.npz"]


def test_a_checkpoint_of_no_known_network_is_said(tmp_path, monkeypatch, referees):
    monkeypatch.chdir(tmp_path)
    with RunDirectory.create(tmp_path, {}, "run") as run:
        run.save(Checkpoint(1, {"fc1/W": np.ones((2, 3), np.float32)}, {}, {}))
    with pytest.raises(DataError, match="which network"):
        export.export("run", "torch")
    shutil.rmtree("run")
    path = made(tmp_path, "run", ARCHITECTURES["linear"])
    weights = checkpoint.load(path / "checkpoints").weights
    info = {"architecture": asdict(ARCHITECTURES["mlp-relu"])}
    checkpoint.save(path / "checkpoints", Checkpoint(2, weights, {}, info))
    with pytest.raises(UsageError, match="fc"):
        export.export("run", "torch")
