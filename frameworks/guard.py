"""The only door to PyTorch and TensorFlow: `load_torch()` and `load_keras()`, in any order.

Both ship LLVM. PyTorch loads its copy late, inside triton, when the first optimizer is made; if TensorFlow
(2.20 or newer) is there by then, the process dies of clashing symbols (tensorflow/tensorflow#124205).
So triton is loaded before TensorFlow; where TensorFlow came first, triton is kept out, which PyTorch takes
for "not installed" and uses only to compile GPU kernels.
"""

import contextlib
import importlib
import importlib.util
import os
import re
import sys
import tempfile
import warnings
from collections.abc import Iterator
from types import ModuleType

from scratch.errors import MissingError, UsageError

BACKEND = "tensorflow"  # the only Keras backend that the references are written for

# What TensorFlow's libraries say while loading, before any setting reaches them; all else gets through.
CHATTER = re.compile(
    rb"I\d{4} |WARNING: All log messages before absl|To enable the following instructions"
    rb"|.*(cudart_stub|cuda_platform|cpu_feature_guard|port)\.cc"
)


def installed(name: str) -> bool:
    """Whether the package of this name could be imported; looks for it without importing it."""
    try:
        return importlib.util.find_spec(name) is not None
    except (ImportError, ValueError):
        return False


def load_torch() -> ModuleType:
    """PyTorch, safe to use beside TensorFlow. Raises MissingError where it is not installed or broken."""
    _require("PyTorch", "torch", "torch")
    _settle_triton()
    torch = _import("torch", "torch")
    if "tensorflow" in sys.modules:
        with warnings.catch_warnings():
            # Without a GPU, TensorFlow's stand-in for CUDA answers torch's first question with "Error 302".
            warnings.filterwarnings("ignore", message="CUDA initialization", category=UserWarning)
            torch.cuda.is_available()
    return torch


def load_keras() -> ModuleType:
    """Keras on TensorFlow, without the start-up chatter; PyTorch may be loaded before or after.

    Raises MissingError where Keras or TensorFlow is not installed or broken, and UsageError where another
    backend was chosen.
    """
    _require("Keras", "keras", "keras")
    _require("TensorFlow", "tensorflow", "keras")
    _check_backend(os.environ.get("KERAS_BACKEND") or BACKEND, "KERAS_BACKEND is set to")
    os.environ["KERAS_BACKEND"] = BACKEND
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    if installed("torch"):
        _settle_triton()
    with _without_chatter():
        _import("tensorflow", "keras")
        keras = _import("keras", "keras")
    _check_backend(keras.config.backend(), "Keras was imported earlier with")
    return keras


def _settle_triton() -> None:
    """Load triton while that is safe; once TensorFlow is here, see to it that nobody tries any more."""
    if "triton" in sys.modules:
        return
    if "tensorflow" in sys.modules:
        sys.modules["triton"] = None  # type: ignore[assignment]  # `import triton` is an ImportError from now on
    elif installed("triton"):
        with contextlib.suppress(ImportError):
            importlib.import_module("triton")


def _require(title: str, package: str, extra: str) -> None:
    if not installed(package):
        raise MissingError(
            f"{title} is needed here, but the package {package} is not installed; "
            f"pip install 'gradparity[{extra}]' brings it."
        )


def _import(package: str, extra: str) -> ModuleType:
    try:
        return importlib.import_module(package)
    except Exception as error:  # a broken installation fails in many ways: OSError, AttributeError, ...
        raise MissingError(
            f"{package} is installed and should load, but {type(error).__name__} came: {error}; "
            f"pip install --force-reinstall 'gradparity[{extra}]' may mend it."
        ) from error


def _check_backend(backend: str, how: str) -> None:
    if backend != BACKEND:
        raise UsageError(
            f"the Keras reference runs on {BACKEND}, but {how} {backend!r}; "
            f"start again with KERAS_BACKEND={BACKEND}."
        )


@contextlib.contextmanager
def _without_chatter() -> Iterator[None]:
    """Hold back what C++ writes to file descriptor 2, and pass on afterwards what is not CHATTER."""
    try:
        terminal = os.dup(2)
    except OSError:  # no stderr at all
        yield
        return
    with tempfile.TemporaryFile() as held:
        _flush_stderr()
        os.dup2(held.fileno(), 2)
        try:
            yield
        finally:
            _flush_stderr()
            os.dup2(terminal, 2)
            os.close(terminal)
            held.seek(0)
            for line in held:
                if not CHATTER.match(line):
                    os.write(2, line)


def _flush_stderr() -> None:
    if sys.stderr is not None:
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.flush()
