"""The real download code of torchvision and Keras, against a server on this machine that can misbehave.

Each library runs once, in a process of its own: torch and TensorFlow do not share one safely.
"""

import gzip
import hashlib
import http.server
import json
import os
import subprocess
import sys
import threading
import time
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from scratch import data, data_sources, idx
from scratch.errors import MissingError

REPOSITORY = Path(__file__).parents[2]
REAL = Path(os.environ.get("GRADPARITY_DATA") or REPOSITORY.parent / "shared" / "data") / "mnist"
RNG = np.random.default_rng(0)
SMALL = [
    RNG.integers(0, 256, (12, 28, 28), np.uint8),
    RNG.integers(0, 10, 12, np.uint8),
    RNG.integers(0, 256, (5, 28, 28), np.uint8),
    RNG.integers(0, 10, 5, np.uint8),
]
MEAN = SMALL[0][4:].mean() / 255
PARTS = [part.name for part in idx.SETS["mnist"]]

# For each [set, address, cache folder]: load the set from there and tell how it went.
SCRIPT = """
import json, os, sys
plan = json.loads(sys.argv[1])
from scratch import data, data_sources, idx
data_sources.TIMEOUT = 1.0
data_sources.SYSTEM = "nowhere"
data_sources.find_spec = lambda name: name == plan["library"] or None
if plan["sha256"]:
    for name, published in idx.SETS.items():
        parts = zip(published, plan["shapes"], plan["sha256"])
        idx.SETS[name] = tuple(idx.Part(part.name, tuple(shape), sha256) for part, shape, sha256 in parts)
if plan["library"] == "torchvision":
    from torchvision import datasets
else:
    from keras.src.datasets import fashion_mnist, mnist
    get_file = mnist.get_file

def point_at(address):
    def get_file_from_there(fname, origin, file_hash=None, **options):
        return get_file(fname, address + os.path.basename(origin), **options)
    if plan["library"] == "torchvision":
        for kind in (datasets.MNIST, datasets.FashionMNIST):
            kind.mirrors = [address]
            kind.resources = [tuple(resource) for resource in plan["resources"]]
    else:
        mnist.get_file = fashion_mnist.get_file = get_file_from_there

told = []
for name, address, cache in plan["loads"]:
    point_at(address)
    os.environ["GRADPARITY_CACHE"] = cache
    try:
        dataset = data.load(name, tuple(plan["split"]))
        came = ["loaded", dataset.source, float(dataset.train.x.astype("f8").mean())]
    except Exception as error:
        came = [type(error).__name__, str(error), 0]
    walks = [step for top in (data_sources.cache_dir(), data_sources.keras_dir()) for step in os.walk(top)]
    left = sorted(os.path.relpath(os.path.join(folder, file)) for folder, _, files in walks for file in files)
    told.append([*came, left])
print(json.dumps(told))
"""


class Handler(http.server.BaseHTTPRequestHandler):
    """/good/ and /other/ serve; /cut/ stops half way, /hangup/ never answers, /silent/ waits, else 404."""

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        mode, name = self.path.split("/")[1:3]
        body = self.server.bodies.get(f"{mode}/{name}", self.server.bodies[name])
        if mode == "hangup":
            return
        if mode == "silent":
            self.server.closing.wait(20)
            return
        if mode not in ("good", "other", "cut"):
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body[: len(body) // 2] if mode == "cut" else body)

    def log_message(self, *arguments):
        pass


@pytest.fixture(scope="module")
def server():
    """A server of `bodies`, name -> bytes, which a test fills."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.bodies, server.closing = {}, threading.Event()
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        server.address = f"http://127.0.0.1:{server.server_port}/"
        yield server
        server.closing.set()
        server.shutdown()
        thread.join()


def run(folder, server, library, loads, split=(8, 4, 5), small=True, md5=False):
    """[kind, text, mean, files left] of each [set, answer, cache folder]; stdout holds nothing else."""
    environment = {k: v for k, v in os.environ.items() if not k.lower().endswith("_proxy")}
    for variable in ("GRADPARITY_DATA", "KERAS_HOME", "XDG_CACHE_HOME"):
        environment.pop(variable, None)
    environment |= {"HOME": str(folder), "PYTHONPATH": str(REPOSITORY)}
    files = [f"{part}.gz" for part in PARTS]
    plan = {
        "library": library,
        "loads": [[name, f"{server.address}{answer}/", cache] for name, answer, cache in loads],
        "split": split,
        "shapes": [array.shape for array in SMALL],
        "sha256": [hashlib.sha256(idx.pack(array)).hexdigest() for array in SMALL] if small else [],
        "resources": [(f, hashlib.md5(server.bodies[f]).hexdigest() if md5 else None) for f in files],
    }
    command = [sys.executable, "-c", SCRIPT, json.dumps(plan)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=folder, timeout=120)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


FAILURES = [(name, answer) for answer in ("missing", "cut", "hangup", "silent", "other") for name in idx.SETS]
LOADS = [
    *((name, answer, "cache") for name, answer in FAILURES),
    ("mnist", "good", "cache"),
    ("mnist", "missing", "./cache"),  # now it is here, and no server is needed
    ("fashion-mnist", "good", "file/below"),  # a cache folder that cannot be
]


@pytest.fixture(scope="module", params=["torchvision", "keras"])
def outcomes(request, tmp_path_factory, server):
    """The library's name, and what each of LOADS led to."""
    if find_spec(request.param) is None:  # importorskip would load it into this process
        pytest.skip(f"{request.param} is not installed")
    folder = tmp_path_factory.mktemp(request.param)
    (folder / "file").write_text("no folder")
    other = [SMALL[0], SMALL[1][::-1], *SMALL[2:]]  # sound files, of the wrong content
    for mode, arrays in (("", SMALL), ("other/", other)):
        for part, array in zip(PARTS, arrays, strict=True):
            server.bodies[f"{mode}{part}.gz"] = gzip.compress(idx.pack(array))
        np.savez(folder / "served.npz", **dict(zip(idx.NPZ_FIELDS, arrays, strict=True)))
        server.bodies[f"{mode}mnist.npz"] = (folder / "served.npz").read_bytes()
    start = time.monotonic()
    told = run(folder, server, request.param, LOADS)
    assert time.monotonic() - start < 60
    return request.param, dict(zip(LOADS, told, strict=True))


@pytest.mark.parametrize("name, answer", FAILURES)
def test_failed_download_leaves_nothing(outcomes, name, answer):
    kind, text, _, left = outcomes[1][name, answer, "cache"]
    assert kind == "MissingError" and left == []
    assert f"its download through {outcomes[0]}" in text and "\n" not in text
    assert text.endswith("--data mnist-5k, which works without network.")
    assert ("sha256" in text) == (answer == "other")
    assert ("timed out" in text) == (answer == "silent")


def test_download_is_verified_and_kept(outcomes):
    library, told = outcomes
    kind, source, mean, left = told["mnist", "good", "cache"]
    assert kind == "loaded" and mean == pytest.approx(MEAN, rel=1e-6) and "downloaded through" in source
    if library == "torchvision":
        assert left == sorted(f"cache/MNIST/raw/{part}" for part in PARTS)
    else:
        assert left == [".keras/datasets/mnist.npz"]
    kind, again, mean, _ = told["mnist", "missing", "./cache"]
    assert kind == "loaded" and mean == pytest.approx(MEAN, rel=1e-6) and "downloaded" not in again


def test_download_without_a_cache_folder(outcomes):
    library, told = outcomes
    kind, source, mean, _ = told["fashion-mnist", "good", "file/below"]
    assert kind == "loaded" and mean == pytest.approx(MEAN, rel=1e-6)
    assert ("not kept" in source) == (library == "torchvision")


def test_download_of_the_real_mnist(tmp_path, server):
    for part in PARTS:
        if not (REAL / f"{part}.gz").is_file() or find_spec("torchvision") is None:
            pytest.skip(f"needs torchvision and the real MNIST in {REAL} (or set GRADPARITY_DATA)")
        server.bodies[f"{part}.gz"] = (REAL / f"{part}.gz").read_bytes()
    loads = [("mnist", "good", "cache")]
    ((kind, source, mean, _),) = run(
        tmp_path, server, "torchvision", loads, (55000, 5000, 10000), small=False, md5=True
    )
    assert kind == "loaded" and "downloaded" in source
    assert mean == pytest.approx(0.1307, abs=2e-4)  # the published mean of the 60,000


@pytest.fixture
def nothing_here(tmp_path, monkeypatch):
    for variable in ("GRADPARITY_DATA", "XDG_CACHE_HOME", "KERAS_HOME"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("GRADPARITY_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(data_sources, "SYSTEM", "nowhere")
    monkeypatch.chdir(tmp_path)


def test_without_either_library(nothing_here, monkeypatch):
    monkeypatch.setattr(data_sources, "find_spec", lambda name: None)
    with pytest.raises(MissingError, match=r"neither torchvision nor keras is installed .* mnist-5k"):
        data.load("mnist")


def test_torchvision_is_not_loaded_beside_tensorflow(nothing_here, monkeypatch):
    tried = []

    def download(library):
        def failing(name):
            tried.append(library)
            raise OSError("no network")

        return failing

    monkeypatch.setattr(data_sources, "find_spec", lambda name: True)
    monkeypatch.setattr(data_sources, "_through_torchvision", download("torchvision"))
    monkeypatch.setattr(data_sources, "_through_keras", download("keras"))
    monkeypatch.delitem(sys.modules, "tensorflow", raising=False)
    for expected in ("torchvision", "keras.datasets"):
        with pytest.raises(MissingError, match=rf"through {expected} failed \(OSError: no network\)"):
            data.load("mnist")
        monkeypatch.setitem(sys.modules, "tensorflow", object())
    assert tried == ["torchvision", "keras"]


def test_real_mnist_from_its_folder(nothing_here):
    if not REAL.is_dir():
        pytest.skip(f"the real MNIST is not in {REAL}: set GRADPARITY_DATA")
    mnist = data.load("mnist", data_dir=REAL)
    assert [len(part) for part in (mnist.train, mnist.validation, mnist.test)] == [55000, 5000, 10000]
    assert mnist.validation.t[:5].tolist() == [5, 0, 4, 1, 9]  # the training file begins so
    assert mnist.test.t[:5].tolist() == [7, 2, 1, 0, 4]
    assert mnist.train.x.shape == (55000, 28, 28, 1) and mnist.train.x.flags.c_contiguous
