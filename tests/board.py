"""TensorBoard's own readers in a process of their own: the tests send it folders and get back what they hold.

TensorBoard is told that there is no TensorFlow, so that the process starts in a second, not in six.
"""

import json
import subprocess
import sys
from contextlib import contextmanager

PROGRAM = r"""
import base64, json, sys, traceback, types
sys.modules["tensorboard.compat.notf"] = types.ModuleType("tensorboard.compat.notf")
from google.protobuf import json_format
from tensorboard.backend.event_processing import data_provider, event_accumulator, event_file_loader
from tensorboard.backend.event_processing import plugin_event_multiplexer
from tensorboard.compat.proto import graph_pb2
from tensorboard.context import RequestContext
from tensorboard.plugins import base_plugin
from tensorboard.plugins.custom_scalar import custom_scalars_plugin
from tensorboard.plugins.hparams import api_pb2, backend_context, list_session_groups

def run(folder):
    everything = dict.fromkeys(event_accumulator.DEFAULT_SIZE_GUIDANCE, 0)
    a = event_accumulator.EventAccumulator(folder, everything)
    a.Reload()
    tags = a.Tags()
    found = {"tags": {k: v for k, v in tags.items() if isinstance(v, list)}}
    found["scalars"] = {t: [[e.step, e.value] for e in a.Scalars(t)] for t in tags["scalars"]}
    found["histograms"] = {
        t: [[e.step, vars(e.histogram_value)] for e in a.Histograms(t)] for t in tags["histograms"]}
    png = lambda e: base64.b64encode(e.encoded_image_string).decode()
    found["images"] = {
        t: [[e.step, e.height, e.width, png(e)] for e in a.Images(t)] for t in tags["images"]}
    found["texts"] = {
        t: [e.tensor_proto.string_val[0].decode() for e in a.Tensors(t)]
        for t in tags["tensors"] if a.SummaryMetadata(t).plugin_data.plugin_name == "text"}
    if tags["graph"]:
        found["graph"] = json_format.MessageToDict(a.Graph())
    return found

def events(path):
    return [json_format.MessageToDict(e) for e in event_file_loader.LegacyEventFileLoader(path).Load()]

def logdir(root):
    mux = plugin_event_multiplexer.EventMultiplexer()
    mux.AddRunsFromDirectory(root)
    mux.Reload()
    tb = base_plugin.TBContext(data_provider=data_provider.MultiplexerDataProvider(mux, root), logdir=root)
    hparams = backend_context.Context(tb)
    ctx = RequestContext()
    content = hparams.hparams_metadata(ctx, "")
    experiment = hparams.experiment_from_metadata(
        ctx, "", True, content, hparams.hparams_from_data_provider(ctx, "", 0))
    request = api_pb2.ListSessionGroupsRequest(slice_size=100, allowed_statuses=[0, 1, 2, 3])
    for column in experiment.hparam_infos:
        request.col_params.add(hparam=column.name)
    for metric in experiment.metric_infos:
        request.col_params.add(metric=metric.name)
    request.aggregation_type = api_pb2.AGGREGATION_AVG
    groups = list_session_groups.Handler(ctx, hparams, "", request).run()
    return {
        "experiment": json_format.MessageToDict(experiment),
        "groups": [json_format.MessageToDict(g) for g in groups.session_groups],
        "layout": custom_scalars_plugin.CustomScalarsPlugin(tb).layout_impl(ctx, ""),
    }

for line in sys.stdin:
    what, path = json.loads(line)
    try:
        print(json.dumps([globals()[what](path), None]), flush=True)
    except Exception:
        print(json.dumps([None, traceback.format_exc()]), flush=True)
"""


@contextmanager
def reader():
    """A function read(what, path): `run` (its folder), `events` (a file) or `logdir` (a folder of runs)."""
    process = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", PROGRAM],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )

    def read(what, path):
        process.stdin.write(json.dumps([what, str(path)]) + "\n")
        process.stdin.flush()
        answer = process.stdout.readline()
        assert answer, process.communicate()[1]
        found, error = json.loads(answer)
        assert error is None, error
        return found

    with process:
        try:
            yield read
        finally:
            process.kill()
