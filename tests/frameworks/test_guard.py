"""PyTorch and TensorFlow in one process, in every order; each order in a process of its own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from frameworks import guard
from scratch.errors import UsageError

ROOT = Path(__file__).parents[2]

# Every order ends with this: one optimizer step in PyTorch, where the crash was, and one sum in TensorFlow.
WORK = """
import torch, tensorflow as tf
layer = torch.nn.Linear(2, 1)
optimizer = torch.optim.Adam(layer.parameters())
layer(torch.ones(3, 2)).sum().backward()
optimizer.step()
assert float(tf.reduce_sum(tf.ones(3))) == 3
print("alive")
"""

BLOCK = """
import sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {names!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Blocker())
"""


def run(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """The code in a new process, warnings being errors."""
    clean = {k: v for k, v in os.environ.items() if k not in ("KERAS_BACKEND", "TF_CPP_MIN_LOG_LEVEL")}
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=clean | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"} | environment,
    )


def prints(result: subprocess.CompletedProcess[str], expected: str) -> None:
    assert (result.returncode, result.stdout.strip()) == (0, expected), result.stderr


@pytest.mark.parametrize("order", ["torch keras", "keras torch"])
def test_both_orders(order):
    """Alive, and nothing on stderr: TensorFlow's start-up notes are held back, even with a GPU absent."""
    result = run(
        "from frameworks import guard\n" + "".join(f"guard.load_{o}()\n" for o in order.split()) + WORK
    )
    prints(result, "alive")
    assert result.stderr == ""


@pytest.mark.parametrize("first", ["import tensorflow", "import torch, tensorflow"])
def test_tensorflow_was_imported_by_others(first):
    prints(
        run(f"{first}\nfrom frameworks import guard\nguard.load_torch()\nguard.load_keras()\n{WORK}"), "alive"
    )


def test_torch_without_triton():
    code = (
        BLOCK.format(names={"triton"})
        + "from frameworks import guard\nguard.load_keras()\nguard.load_torch()\n"
    )
    prints(run(code + WORK), "alive")


def test_torch_alone_loads_no_tensorflow():
    code = (
        "import sys\n"
        "from frameworks.pytorch.learner import TorchLearner\n"
        "from scratch.learner import Architecture\n"
        "TorchLearner(Architecture(), 'adam')\n"
        "print([m for m in ('tensorflow', 'keras') if m in sys.modules])"
    )
    prints(run(code), "[]")


@pytest.mark.parametrize(
    "load, missing, sentence",
    [
        ("torch", "torch", "PyTorch is needed here, but the package torch is not installed; "),
        ("keras", "keras", "Keras is needed here, but the package keras is not installed; "),
        ("keras", "tensorflow", "TensorFlow is needed here, but the package tensorflow is not installed; "),
    ],
)
def test_missing_framework(load, missing, sentence):
    code = BLOCK.format(names={missing}) + (
        "from frameworks import guard\n"
        "from scratch.errors import MissingError\n"
        f"try: guard.load_{load}()\n"
        "except MissingError as error: print(error)"
    )
    prints(run(code), f"{sentence}pip install 'gradparity[{load}]' brings it.")


def test_broken_framework(tmp_path):
    (tmp_path / "torch.py").write_text("raise OSError('libtorch_cpu.so: cannot open shared object file')")
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
        "from frameworks import guard\n"
        "from scratch.errors import MissingError\n"
        "try: guard.load_torch()\n"
        "except MissingError as error: print(error)"
    )
    result = run(code)
    assert "OSError came: libtorch_cpu.so: cannot open" in result.stdout, result.stderr


def test_another_keras_backend_is_refused():
    code = (
        "import sys\n"
        "from frameworks import guard\n"
        "from scratch.errors import UsageError\n"
        "try: guard.load_keras()\n"
        "except UsageError as error: print(error, 'keras' in sys.modules)"
    )
    prints(
        run(code, KERAS_BACKEND="jax"),
        "the Keras reference runs on tensorflow, but KERAS_BACKEND is set to 'jax'; "
        "start again with KERAS_BACKEND=tensorflow. False",
    )


def test_a_keras_that_was_imported_with_another_backend_is_refused(monkeypatch):
    keras = guard.load_keras()
    monkeypatch.setattr(keras.config, "backend", lambda: "torch")
    with pytest.raises(UsageError, match="imported earlier with 'torch'; start again with KERAS_BACKEND"):
        guard.load_keras()


def test_keras_alone_loads_no_torch_whatever_keras_json_says(tmp_path):
    (tmp_path / "keras.json").write_text(
        '{"floatx": "float16", "epsilon": 1e-3, "backend": "torch", "image_data_format": "channels_first"}'
    )
    code = (
        "import sys\n"
        "from frameworks.keras_tf.learner import KerasLearner\n"
        "from scratch.learner import Architecture\n"
        "import numpy as np\n"
        "dcn = Architecture('dcn', (6, 4), (9, 6, 2), (3, 5), 3, 'maxout')\n"
        "learner = KerasLearner(dcn, dtype='float64')\n"
        "watched = learner.watch(np.ones((1, 9, 6, 2)), np.array([1]))\n"
        "print(watched.values['conv1/pooled'].shape, {str(v.dtype) for v in watched.gradients.values()})\n"
        "print('torch' in sys.modules)"
    )
    prints(run(code, KERAS_HOME=str(tmp_path)), "(1, 4, 3, 3) {'float64'}\nFalse")


def test_real_errors_on_stderr_get_through(capfd):
    with guard._without_chatter():
        os.write(2, b"I0000 00:00:1 1 port.cc:153] oneDNN custom operations are on.\nsomething is wrong\n")
    assert capfd.readouterr().err == "something is wrong\n"


def test_installed():
    assert guard.installed("numpy")
    assert not guard.installed("no_such_package_anywhere")
