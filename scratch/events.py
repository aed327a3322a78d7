"""TensorBoard event files without a framework: what is written here, TensorBoard's own readers read.

A file is a row of records, each an Event message framed by its length and two checksums. Scalars, histograms
and images are written in the legacy form, which every tab and every reader of event files understands.
TensorBoard's messages are imported on first use; neither they nor this module load PyTorch or TensorFlow.
"""

import io
import os
import re
import socket
import struct
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from scratch import files
from scratch.layers import Activation, Conv2D, Dense, Dropout, Flatten, Layer, MaxPool2D
from scratch.tally import Tally, tally

Array = np.ndarray
FLUSH_SECONDS = 10.0
STATUSES = ("unknown", "success", "failure", "running")  # by TensorBoard's number for them
Domain = Sequence[str] | Sequence[bool] | tuple[float, float]  # choices, or the bounds of a number

OPERATIONS = {Dense: "MatMul", Conv2D: "Conv2D", MaxPool2D: "MaxPool", Flatten: "Reshape", Dropout: "Dropout"}
ACTIVATIONS = {"relu": "Relu", "leaky_relu": "LeakyRelu"}  # the others are the name with a capital


class EventWriter:
    """Writes one event file in `folder`; a context manager. Steps are counts of updates.

    resumed_at: what any earlier file of the folder holds at this step or later is dropped by TensorBoard.
    Whatever happens to the process, all that was written before the last flush is there; one comes by itself
    with the first record after 10 s.
    Raises GradparityError where the file cannot be written.
    """

    def __init__(self, folder: str | Path, resumed_at: int | None = None) -> None:
        from tensorboard.compat.proto import event_pb2, summary_pb2  # type: ignore[import-untyped]

        self.folder = Path(folder)
        self._event, self._summary = event_pb2.Event, summary_pb2.Summary
        with files.writing(f"an event file in {self.folder}"):
            self.folder.mkdir(parents=True, exist_ok=True)
            self.path = self.folder / _next_name(self.folder)
            self._file = self.path.open("xb")
        self._flushed = time.monotonic()
        self._write(self._event(wall_time=time.time(), file_version="brain.Event:2"))
        if resumed_at is not None:
            log = event_pb2.SessionLog(status=event_pb2.SessionLog.START)
            self._write(self._event(wall_time=time.time(), step=resumed_at, session_log=log))
        self.flush()

    def scalar(self, tag: str, value: float, step: int) -> None:
        self.scalars({tag: value}, step)

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        """Several scalars of one step, in one record. NaN and infinity are written as they are."""
        make = self._summary.Value
        self._values([make(tag=tag, simple_value=value) for tag, value in values.items()], step)

    def histogram(self, tag: str, values: Array | Tally, step: int) -> Tally:
        """30 equal buckets over the finite elements of a tensor of any shape; returns its Tally."""
        known = values if isinstance(values, Tally) else tally(values)
        value = self._summary.Value(tag=tag)
        value.histo.num = known.count  # also where it is 0: then the message is there and has no bucket
        if known.count:
            value.histo.min, value.histo.max = known.min, known.max
            value.histo.sum, value.histo.sum_squares = known.count * known.mean, known.sum_squares
            value.histo.bucket_limit.extend(known.limits)
            value.histo.bucket.extend(known.buckets)
        else:
            value.histo.bucket_limit.append(0.0)
            value.histo.bucket.append(0.0)
        self._values([value], step)
        return known

    def image(self, tag: str, pixels: Array, step: int) -> None:
        """One picture (H, W), (H, W, 1) or (H, W, 3), uint8 or floats in [0, 1], as a PNG."""
        from PIL import Image

        pixels = np.asarray(pixels)
        pixels = pixels[..., 0] if pixels.ndim == 3 and pixels.shape[2] == 1 else pixels
        if pixels.ndim not in (2, 3) or (pixels.ndim == 3 and pixels.shape[2] != 3) or not pixels.size:
            raise ValueError(f"an image must be (H, W), (H, W, 1) or (H, W, 3), but {pixels.shape} came.")
        if pixels.dtype != np.uint8:
            pixels = np.round(np.clip(np.nan_to_num(pixels), 0, 1) * 255).astype(np.uint8)
        buffer = io.BytesIO()
        Image.fromarray(np.ascontiguousarray(pixels)).save(buffer, "PNG")
        value = self._summary.Value(tag=tag)
        value.image.height, value.image.width = pixels.shape[:2]
        value.image.colorspace = 3 if pixels.ndim == 3 else 1
        value.image.encoded_image_string = buffer.getvalue()
        self._values([value], step)

    def text(self, tag: str, markdown: str, step: int = 0) -> None:
        from tensorboard.plugins.text import metadata  # type: ignore[import-untyped]

        self._string(tag, markdown.encode(), metadata.create_summary_metadata(tag, ""), step)

    def custom_scalars(self, charts: Mapping[str, Mapping[str, Sequence[str]]]) -> None:
        """Charts of several tags, {category: {title: regular expressions of tags}}."""
        from tensorboard.plugins.custom_scalar import layout_pb2, metadata  # type: ignore[import-untyped]

        layout = layout_pb2.Layout()
        for title, parts in charts.items():
            category = layout.category.add(title=title)
            for name, tags in parts.items():
                category.chart.add(title=name).multiline.tag.extend(tags)
        tag, kind = metadata.CONFIG_SUMMARY_TAG, metadata.create_summary_metadata()
        self._string(tag, layout.SerializeToString(), kind, 0)

    def hparams(self, values: Mapping[str, bool | int | float | str], trial_id: str) -> None:
        """What makes this run this run: one row of the HParams tab for each trial_id."""
        from tensorboard.plugins.hparams.summary_v2 import hparams_pb  # type: ignore[import-untyped]

        self._values(hparams_pb(dict(values), trial_id).value, 0)

    def session_end(self, status: str) -> None:
        """The row's status, one of STATUSES. TensorBoard keeps the first: a run to be resumed writes none."""
        from tensorboard.plugins.hparams import metadata, plugin_data_pb2  # type: ignore[import-untyped]

        if status not in STATUSES:
            raise ValueError(f"the status must be one of {', '.join(STATUSES)}, but {status!r} came.")
        end = plugin_data_pb2.SessionEndInfo(status=STATUSES.index(status), end_time_secs=time.time())
        data = plugin_data_pb2.HParamsPluginData(session_end_info=end)
        kind = metadata.create_summary_metadata(data)
        tag, nothing = metadata.SESSION_END_INFO_TAG, metadata.NULL_TENSOR
        self._values([self._summary.Value(tag=tag, metadata=kind, tensor=nothing)], 0)

    def graph(self, layers: Sequence[Layer], inputs: Sequence[int], output: str = "softmax") -> None:
        """The network, drawn. inputs: the shape of one example; output: softmax or sigmoid."""
        definition = graph_definition(layers, inputs, output).SerializeToString()
        self._write(self._event(wall_time=time.time(), graph_def=definition))

    def flush(self) -> None:
        """Hand everything to the operating system: it is in the file even if this process is killed."""
        with files.writing(f"the event file {self.path}"):
            self._file.flush()
        self._flushed = time.monotonic()

    def close(self) -> None:
        with files.writing(f"the event file {self.path}"):
            self._file.close()

    def __enter__(self) -> "EventWriter":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _string(self, tag: str, content: bytes, metadata: Any, step: int) -> None:
        from tensorboard.compat.proto import tensor_pb2, types_pb2

        tensor = tensor_pb2.TensorProto(dtype=types_pb2.DT_STRING, string_val=[content])
        self._values([self._summary.Value(tag=tag, metadata=metadata, tensor=tensor)], step)

    def _values(self, values: Iterable[Any], step: int) -> None:
        summary = self._summary(value=values)
        self._write(self._event(wall_time=time.time(), step=step, summary=summary))

    def _write(self, event: Any) -> None:
        with files.writing(f"the event file {self.path}"):
            self._file.write(record(event.SerializeToString()))
        if time.monotonic() - self._flushed > FLUSH_SECONDS:
            self.flush()


def record(data: bytes) -> bytes:
    """One record: the length and its checksum, the data and its checksum (CRC-32C, rotated and shifted).

    TensorBoard's own RecordWriter computes them in Python, a thousand times as slowly.
    """
    length = struct.pack("<Q", len(data))
    return length + _checksum(length) + data + _checksum(data)


def _checksum(data: bytes) -> bytes:
    import google_crc32c

    crc = google_crc32c.value(data)
    return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)


def write_hparams_config(
    root: str | Path, hparams: Mapping[str, Domain], metrics: Sequence[str], shown: Sequence[str] = ()
) -> None:
    """Name the columns of the HParams tab, once, in the folder that holds all runs.

    hparams: each with its choices (strings or booleans, none for any string) or the (low, high) of a number;
    shown: those that come first; TensorBoard opens with five. metrics: scalar tags, the last value counts.
    A folder that has such a file keeps it: TensorBoard reads only the first.
    """
    from tensorboard.compat.proto import event_pb2, summary_pb2
    from tensorboard.plugins.hparams import api_pb2, metadata, plugin_data_pb2

    path = Path(root) / "events.out.tfevents.0000000000.hparams"
    if path.exists():
        return
    now = time.time()
    experiment = api_pb2.Experiment(time_created_secs=now)
    for name, domain in hparams.items():
        column = experiment.hparam_infos.add(name=name, differs=name in shown)  # sorted by it, then by name
        if domain and not isinstance(domain[0], bool | str):
            column.type = api_pb2.DATA_TYPE_FLOAT64
            column.domain_interval.min_value, column.domain_interval.max_value = map(float, domain)
        else:
            choice = bool(domain) and isinstance(domain[0], bool)
            column.type = api_pb2.DATA_TYPE_BOOL if choice else api_pb2.DATA_TYPE_STRING
            column.domain_discrete.extend(domain)
    for tag in metrics:
        experiment.metric_infos.add(name=api_pb2.MetricName(tag=tag))
    kind = metadata.create_summary_metadata(plugin_data_pb2.HParamsPluginData(experiment=experiment))
    config = summary_pb2.Summary()
    config.value.add(tag=metadata.EXPERIMENT_TAG, metadata=kind, tensor=metadata.NULL_TENSOR)
    events = (
        event_pb2.Event(wall_time=now, file_version="brain.Event:2"),
        event_pb2.Event(wall_time=now, summary=config),
    )
    unfinished = path.with_name(f".hparams.{socket.gethostname()}.{os.getpid()}")  # no reader looks at it
    with files.writing(f"the event file {path}"):
        path.parent.mkdir(parents=True, exist_ok=True)
        files.write(unfinished, b"".join(record(event.SerializeToString()) for event in events))
        unfinished.replace(path)


def graph_definition(layers: Sequence[Layer], inputs: Sequence[int], output: str = "softmax") -> Any:
    """A GraphDef with a node for every layer, parameter, input and the loss, and the shapes between them."""
    from tensorboard.compat.proto import attr_value_pb2, graph_pb2, tensor_shape_pb2

    graph = graph_pb2.GraphDef()
    graph.versions.producer = 22

    def node(name: str, operation: str, shape: Sequence[int], *sources: str) -> str:
        dimensions = [tensor_shape_pb2.TensorShapeProto.Dim(size=size) for size in shape]
        listed = attr_value_pb2.AttrValue.ListValue(shape=[tensor_shape_pb2.TensorShapeProto(dim=dimensions)])
        made = graph.node.add(name=name, op=operation, input=sources)
        made.attr["_output_shapes"].CopyFrom(attr_value_pb2.AttrValue(list=listed))
        return name

    x, source = np.zeros((1, *inputs), np.float32), node("x", "Placeholder", (-1, *inputs))
    for layer in layers:
        x, _ = layer.forward(x)
        parameters = [node(name, "Variable", shape) for name, shape in layer.shapes.items()]
        source = node(layer.output, _operation(layer), (-1, *x.shape[1:]), source, *parameters)
    logits, name = source, output.capitalize()
    node(logits.replace("net_input", "activation"), name, (-1, *x.shape[1:]), logits)
    node("loss", f"{name}CrossEntropy", (), logits, node("t", "Placeholder", (-1,)))
    return graph


def _operation(layer: Layer) -> str:
    if isinstance(layer, Activation):
        return ACTIVATIONS.get(layer.activation, layer.activation.capitalize())
    return OPERATIONS.get(type(layer), type(layer).__name__)


def _next_name(folder: Path) -> str:
    """A name that sorts after all event files of the folder: TensorBoard reads them in that order."""
    stamp = time.time_ns() // 1000  # microseconds
    for path in folder.iterdir():
        if found := re.match(r"events\.out\.tfevents\.(\d+)\.(?:(\d{6})\.)?", path.name):
            seconds, part = found.groups()  # other writers name no part of a second
            stamp = max(stamp, int(seconds) * 10**6 + int(part or 999_999) + 1)
    seconds, part = divmod(stamp, 10**6)
    return f"events.out.tfevents.{seconds:010d}.{part:06d}.{socket.gethostname()}.{os.getpid()}"
