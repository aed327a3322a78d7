"""Event files, read back by TensorBoard's own readers."""

import base64
import io
import json
import os
import signal
import subprocess
import sys
import time

import board
import numpy as np
import pytest

from scratch import events
from scratch.errors import GradparityError
from scratch.events import EventWriter
from scratch.learner import Architecture
from scratch.tally import rms_ratio, tally


@pytest.fixture(scope="module")
def read():
    with board.reader() as function:
        yield function


def histogram(read, folder, array):
    with EventWriter(folder) as writer:
        returned = writer.histogram("a/b", array, 7)
    ((step, found),) = read("run", folder)["histograms"]["a/b"]
    assert step == 7
    return returned, found


def test_scalars_keep_tags_steps_and_values(read, tmp_path):
    with EventWriter(tmp_path) as writer:
        for step in (1, 2, 30):
            writer.scalar("train/loss", step / 8, step)
        writer.scalars({"fc1/W/min": -1.5, "fc1/W/max": np.float32(2.5)}, 4)
        writer.scalars({"odd": float("nan"), "large": 1e300}, 5)
    found = read("run", tmp_path)["scalars"]
    assert found["train/loss"] == [[1, 0.125], [2, 0.25], [30, 3.75]]
    assert (found["fc1/W/min"], found["fc1/W/max"]) == ([[4, -1.5]], [[4, 2.5]])
    assert np.isnan(found["odd"][0][1]) and found["large"] == [[5, np.inf]]


def test_file_begins_with_its_version(read, tmp_path):
    with EventWriter(tmp_path) as writer:
        pass
    assert writer.path.parent == tmp_path and writer.path.name.startswith("events.out.tfevents.")
    (only,) = read("events", writer.path)
    assert only["fileVersion"] == "brain.Event:2" and abs(only["wallTime"] - time.time()) < 600


def drawn(kind):
    rng = np.random.default_rng(0)
    noise = rng.normal(size=50_001)
    return {
        "noise": noise,
        "relu": np.maximum(noise, 0),
        "far from zero": 1000 + noise,
        "tiny": noise * 1e-38,
        "large": noise * 5e37,
        "two": np.array([1.0, 3.0]),
        "sorted": np.sort(noise).reshape(3, 1, -1),
    }[kind]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("kind", ["noise", "relu", "far from zero", "tiny", "large", "two", "sorted"])
def test_histogram_and_moments_are_exact(read, tmp_path, kind, dtype):
    x = drawn(kind).astype(dtype)
    returned, found = histogram(read, tmp_path, x)
    wide = x.astype(np.longdouble)
    assert (found["min"], found["max"], found["num"]) == (x.min(), x.max(), x.size)
    scale = float(np.abs(wide).mean())
    assert found["sum"] == pytest.approx(float(wide.sum()), rel=1e-13, abs=1e-13 * scale * x.size)
    assert found["sum_squares"] == pytest.approx(float((wide * wide).sum()), rel=1e-13)
    assert returned.mean == pytest.approx(float(wide.mean()), rel=1e-13, abs=1e-14 * scale)
    assert returned.std == pytest.approx(float(wide.std()), rel=1e-13)
    assert returned.rms == pytest.approx(float(np.sqrt((wide * wide).mean())), rel=1e-13)
    expected, edges = np.histogram(x.astype(np.float64), 30)
    assert np.sum(found["bucket"]) == x.size and len(found["bucket"]) == 30
    assert np.abs(np.subtract(found["bucket"], expected)).sum() <= 4  # a value on an edge may fall either way
    np.testing.assert_allclose(found["bucket_limit"], edges[1:], rtol=1e-12, atol=1e-12 * x.max())


def test_extreme_ranges_of_float64(read, tmp_path):
    for number, x in enumerate(([-1.7e308, 1.7e308, 0.0], [5e-324, 0.0, 1e-323], [1.0, 1 + 2**-52, 1.0])):
        returned, found = histogram(read, tmp_path / str(number), np.array(x))
        assert (found["min"], found["max"], found["num"]) == (min(x), max(x), 3)
        assert sum(found["bucket"]) == 3 and returned.nonfinite == 0
        assert np.all(np.diff(found["bucket_limit"]) >= 0)


@pytest.mark.parametrize("value", [0.0, -2.5, 1e-42, 3e38])
def test_constant_tensor_is_one_bucket(read, tmp_path, value):
    x = np.full((4, 5), value, np.float32)
    returned, found = histogram(read, tmp_path, x)
    assert (found["bucket_limit"], found["bucket"]) == ([float(x[0, 0])], [20])
    assert (found["min"], found["max"], found["num"]) == (float(x[0, 0]), float(x[0, 0]), 20)
    assert found["sum"] == pytest.approx(20 * float(x[0, 0])) and returned.std == 0


def test_nothing_to_count(read, tmp_path):
    for number, x in enumerate((np.empty((0, 3)), np.full(4, np.nan), np.array([np.inf, -np.inf]))):
        returned, found = histogram(read, tmp_path / str(number), x)
        assert found["num"] == 0 and sum(found["bucket"]) == 0
        assert (returned.count, returned.nonfinite) == (0, x.size) and np.isnan(returned.mean)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_what_is_not_finite_is_left_out_and_counted(read, tmp_path, dtype):
    x = np.array([[np.nan, 1, 2], [np.inf, -np.inf, 4]], dtype)
    returned, found = histogram(read, tmp_path, x)
    assert (found["min"], found["max"], found["num"], found["sum"]) == (1, 4, 3, 7)
    assert sum(found["bucket"]) == 3 and returned.nonfinite == 3
    returned, found = histogram(read, tmp_path / "constant", np.array([np.nan, 2, 2], dtype))
    assert found["bucket"] == [2] and returned.nonfinite == 1


def test_views_integers_and_half_precision_are_counted_as_they_are():
    x = np.arange(60.0).reshape(3, 4, 5)
    for view in (x.transpose(2, 0, 1), x[:, ::2, ::-1], x.astype(np.int32), x.astype(np.float16)):
        known = tally(view)
        assert (known.count, known.min, known.max) == (view.size, view.min(), view.max())
        assert known.mean == pytest.approx(view.mean(dtype=np.float64))
        assert known.std == pytest.approx(view.std(dtype=np.float64))
    assert x[0, 0, 1] == 1  # nothing was worked on in place


def test_update_ratio():
    rng = np.random.default_rng(0)
    before = rng.normal(size=(300, 40)).astype(np.float32)
    after = (before * 1.01).astype(np.float32)
    assert rms_ratio(before, after) == pytest.approx(0.01, rel=1e-5)
    assert rms_ratio(before, before) == 0 and np.isnan(rms_ratio(np.zeros(3), np.ones(3)))


def test_resuming_drops_orphaned_steps(read, tmp_path):
    with EventWriter(tmp_path) as writer:
        for step in range(1, 11):
            writer.scalar("train/loss", step, step)
            writer.histogram("fc1/W", np.arange(step + 2.0), step)
    with EventWriter(tmp_path, resumed_at=6) as resumed:
        for step in range(6, 9):
            resumed.scalar("train/loss", -step, step)
    assert resumed.path.name > writer.path.name
    version, start, *_ = read("events", resumed.path)
    assert "fileVersion" in version and int(start["step"]) == 6 and start["sessionLog"]["status"] == "START"
    found = read("run", tmp_path)
    steps = [[s, s] for s in range(1, 6)] + [[s, -s] for s in range(6, 9)]
    assert found["scalars"]["train/loss"] == steps
    assert [step for step, _ in found["histograms"]["fc1/W"]] == [1, 2, 3, 4, 5]


def test_two_writers_in_one_folder_have_two_files(read, tmp_path):
    (tmp_path / "events.out.tfevents.9999999990.elsewhere.1").touch()  # a clock that went wrong
    with EventWriter(tmp_path) as one, EventWriter(tmp_path) as two:
        for step in range(100):
            one.scalar("one", step, step)
            two.scalar("two", step, step)
    assert one.path != two.path and two.path.name > one.path.name > "events.out.tfevents.9999999990."
    found = read("run", tmp_path)["scalars"]
    assert found["one"] == found["two"] == [[step, step] for step in range(100)]


@pytest.mark.parametrize("shape", [(3, 5), (3, 5, 1), (3, 5, 3)])
def test_image_is_a_png_of_the_pixels(read, tmp_path, shape):
    from PIL import Image

    pixels = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
    with EventWriter(tmp_path) as writer:
        writer.image("picture", pixels, 1)
        writer.image("picture", pixels / 255, 2)
        writer.image("picture", np.where(pixels > 99, np.nan, 2.0), 3)
    found = read("run", tmp_path)["images"]["picture"]
    assert [entry[:3] for entry in found] == [[1, 3, 5], [2, 3, 5], [3, 3, 5]]
    for *_, data in found[:2]:
        with Image.open(io.BytesIO(base64.b64decode(data)), formats=["PNG"]) as image:
            assert np.array_equal(np.asarray(image).reshape(shape), pixels)
    with EventWriter(tmp_path / "bad") as writer, pytest.raises(ValueError, match=r"\(3, 5, 2\) came"):
        writer.image("picture", np.zeros((3, 5, 2)), 1)


def test_text_is_markdown(read, tmp_path):
    with EventWriter(tmp_path) as writer:
        writer.text("configuration", "| ä | b |\n|---|---|")
    assert read("run", tmp_path)["texts"] == {"configuration": ["| ä | b |\n|---|---|"]}


def test_hparams_are_rows_and_columns(read, tmp_path):
    columns = {"activation": ("relu", "tanh"), "lr": (0.0, 10.0), "hidden": (), "nesterov": (False, True)}
    for _ in range(2):  # the second is ignored
        events.write_hparams_config(tmp_path, columns, ["test/error"], shown=["lr"])
        columns = {"other": ()}
    for number, status in enumerate(("success", "failure", None)):
        with EventWriter(tmp_path / f"run-{number}") as writer:
            values = {"activation": "relu", "lr": 10.0**-number, "hidden": "7,5", "nesterov": True}
            writer.hparams(values, f"trial {number}")
            writer.scalar("test/error", 0.5, 1)
            writer.scalar("test/error", 0.25, 2)
            if status:
                writer.session_end(status)
    assert len(list(tmp_path.glob("*tfevents*"))) == 1 and not list(tmp_path.glob(".*"))
    found = read("logdir", tmp_path)
    infos = {info["name"]: info for info in found["experiment"]["hparamInfos"]}
    assert next(iter(infos)) == "lr" and infos.keys() == {"activation", "lr", "hidden", "nesterov"}
    assert infos["activation"]["domainDiscrete"] == ["relu", "tanh"]
    assert infos["lr"]["domainInterval"] == {"maxValue": 10.0}  # a minimum of 0 is not sent
    assert infos["hidden"]["type"] == "DATA_TYPE_STRING" and infos["nesterov"]["type"] == "DATA_TYPE_BOOL"
    assert [m["name"]["tag"] for m in found["experiment"]["metricInfos"]] == ["test/error"]
    groups = {group["name"]: group for group in found["groups"]}
    assert groups.keys() == {"trial 0", "trial 1", "trial 2"}
    assert groups["trial 1"]["hparams"] == {
        "activation": "relu",
        "lr": 0.1,
        "hidden": "7,5",
        "nesterov": True,
    }
    sessions = [group["sessions"][0] for _, group in sorted(groups.items())]
    assert [session["name"] for session in sessions] == ["run-0", "run-1", "run-2"]
    statuses = [session.get("status", "STATUS_UNKNOWN") for session in sessions]
    assert statuses == ["STATUS_SUCCESS", "STATUS_FAILURE", "STATUS_UNKNOWN"]
    (metric,) = sessions[0]["metricValues"]
    assert (metric["value"], metric["trainingStep"]) == (0.25, 2)
    with EventWriter(tmp_path / "other") as writer, pytest.raises(ValueError, match="'done' came"):
        writer.session_end("done")


def test_custom_scalars_of_all_runs_are_one_layout(read, tmp_path):
    charts = {"loss": {"all": ["^(test|train)/loss$"], "test": ["^test/loss$"]}, "error": {"all": ["error"]}}
    for name in "ab":
        with EventWriter(tmp_path / name) as writer:
            writer.custom_scalars(charts)
    layout = read("logdir", tmp_path)["layout"]
    layout = json.loads(layout) if isinstance(layout, str) else layout
    found = {
        part["title"]: {chart["title"]: chart["multiline"]["tag"] for chart in part["chart"]}
        for part in layout["category"]
    }
    assert found == charts and len(layout["category"]) == 2
    assert [len(part["chart"]) for part in layout["category"]] == [2, 1]


def test_graph_has_every_layer_with_its_shape(read, tmp_path):
    network = Architecture("dcn", (7, 10), (8, 12, 1), (2, 3), activation="leaky_relu", dropout=0.5).network()
    with EventWriter(tmp_path) as writer:
        writer.graph(network.layers, (8, 12, 1), network.output)
    nodes = {node["name"]: node for node in read("run", tmp_path)["graph"]["node"]}
    expected = {layer.output for layer in network.layers} | network.shapes.keys()
    assert nodes.keys() == expected | {"x", "t", "loss", "fc2/activation"}

    def shape(name):
        (found,) = nodes[name]["attr"]["_output_shapes"]["list"]["shape"]
        return tuple(int(dimension["size"]) for dimension in found.get("dim", ()))

    assert shape("x") == (-1, 8, 12, 1) and shape("conv2/W") == (5, 5, 2, 3)
    assert shape("conv1/pooled") == (-1, 4, 6, 2) and shape("fc1/input") == (-1, 18)
    assert nodes["conv1/net_input"]["input"] == ["x", "conv1/W", "conv1/b"]
    assert nodes["conv1/pooled"]["input"] == ["conv1/activation"]
    assert nodes["loss"]["input"] == ["fc2/net_input", "t"]
    operations = {
        name: nodes[name]["op"] for name in ("conv1/net_input", "conv1/activation", "fc2/activation")
    }
    assert list(operations.values()) == ["Conv2D", "LeakyRelu", "Softmax"]


WRITE = """
import sys
import numpy as np
from scratch.events import EventWriter
writer = EventWriter(sys.argv[1])
for step in range(1, 1_000_000):
    writer.scalar("train/loss", step, step)
    writer.histogram("fc1/W", np.arange(1000.0), step)
    if step % 50 == 0:
        writer.flush()
        print(step, flush=True)
"""


@pytest.mark.parametrize("wait", [0.0, 0.01, 0.05])
def test_killed_while_writing_leaves_all_that_was_flushed(read, tmp_path, wait):
    command = [sys.executable, "-c", WRITE, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        process.stdout.readline()
        time.sleep(wait)
        process.send_signal(signal.SIGKILL)
        flushed = [50, *(int(line) for line in process.stdout.read().splitlines() if line.strip())][-1]
    found = read("run", tmp_path)
    steps = [step for step, _ in found["scalars"]["train/loss"]]
    assert len(steps) >= flushed and steps == list(range(1, len(steps) + 1))
    assert len(found["histograms"]["fc1/W"]) >= flushed


def test_records_come_by_themselves_after_some_seconds(read, tmp_path, monkeypatch):
    with EventWriter(tmp_path) as writer:
        writer.scalar("a", 1, 1)
        assert not read("run", tmp_path)["scalars"]
        monkeypatch.setattr(events, "FLUSH_SECONDS", 0.0)
        writer.scalar("a", 2, 2)
        assert len(read("run", tmp_path)["scalars"]["a"]) == 2


def test_full_disk_and_closed_folder_are_told(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(GradparityError, match=r"an event file in .*file/run could not be written"):
        EventWriter(tmp_path / "file" / "run")
    with pytest.raises(GradparityError, match="could not be written"):
        events.write_hparams_config(tmp_path / "file", {}, [])
    writer = EventWriter(tmp_path)
    writer._file.close()
    writer._file = open("/dev/full", "wb")
    writer.scalar("a", 1, 1)
    with pytest.raises(GradparityError, match="the disk is full"):
        writer.flush()
    with pytest.raises(GradparityError, match="the disk is full"):
        writer.close()


EVERYTHING = """
import sys
import numpy as np
from scratch.events import EventWriter, write_hparams_config
from scratch.learner import Architecture
from scratch.monitor import Monitor
with EventWriter(sys.argv[1] + "/run") as writer:
    architecture = Architecture("mlp", (784, 5, 10))
    monitor, network = Monitor(writer, architecture), architecture.network()
    x, t = np.ones((3, 784), np.float32), np.zeros(3, int)
    monitor.start({"lr": 0.1})
    monitor.tensors(1, network.watch(x, t), network.params)
    monitor.pictures(1, network.params, x, t, t + 1)
    monitor.end("finished")
print(*{"torch", "tensorflow", "keras", "matplotlib"} & set(sys.modules))
"""


def test_writing_imports_no_framework(tmp_path):
    command = [sys.executable, "-W", "error", "-c", EVERYTHING, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=dict(os.environ))
    assert (done.returncode, done.stdout.strip()) == (0, ""), done.stderr
