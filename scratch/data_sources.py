"""Where copies of MNIST and Fashion-MNIST lie on this machine, and how to download one that does not."""

import contextlib
import os
import shutil
import socket
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec

import numpy as np

from scratch import idx
from scratch.errors import MissingError

SYSTEM = "/usr/share/datasets"  # Debian's package dataset-fashion-mnist
TIMEOUT = 20.0  # seconds of silence after which a download gives up

# Folders and files below a place, in the order of trust: the last two do not say which set they hold.
_LAYOUTS = {
    "mnist": ("mnist", "MNIST/raw", "MNIST", "mnist.npz", "raw", ""),
    "fashion-mnist": ("fashion-mnist", "FashionMNIST/raw", "FashionMNIST", "raw", ""),
}
_UNNAMED = ("raw", "")


@dataclass(frozen=True)
class Copy:
    """One place that holds a set, or some of its files."""

    where: str
    files: tuple[str, ...]  # four IDX files, or one npz
    missing: tuple[str, ...]  # names of the files that are not there
    named: bool  # its folder says which set it is


def cache_dir() -> str:
    """$GRADPARITY_CACHE, or gradparity in the user's cache folder. It may not exist yet."""
    xdg = os.environ.get("XDG_CACHE_HOME", "")
    base = xdg if os.path.isabs(xdg) else os.path.expanduser("~/.cache")
    return os.environ.get("GRADPARITY_CACHE") or os.path.join(base, "gradparity")


def keras_dir() -> str:
    """Where keras.datasets keeps its downloads."""
    home = os.environ.get("KERAS_HOME") or os.path.expanduser("~/.keras")
    return os.path.join(home, "datasets")


def places(data_dir: str | os.PathLike | None = None) -> tuple[str, ...]:
    """The folders to search, in order: only `data_dir` when it is given."""
    if data_dir is not None:
        return (os.path.expanduser(data_dir),)
    own = os.environ.get("GRADPARITY_DATA")
    return (
        *([os.path.expanduser(own)] if own else []),
        cache_dir(),
        "data",  # torchvision's root in most tutorials
        os.path.expanduser("~/data"),
        os.path.expanduser("~/datasets"),
        os.path.expanduser("~/.cache/torch"),
        keras_dir(),
        SYSTEM,
    )


def copies(name: str, where: tuple[str, ...]) -> Iterator[Copy]:
    """Every copy of a set below the folders `where`, complete or not, in the order of trust."""
    for place in where:
        for layout in _LAYOUTS[name]:
            path = os.path.join(place, layout) if layout else place
            named = layout not in _UNNAMED
            if path.endswith(".npz") and os.path.isfile(path):
                yield Copy(path, (path,), (), named)
                continue
            found = {part.name: _first_file(path, part.file_names) for part in idx.SETS[name]}
            files = tuple(file for file in found.values() if file)
            if files:
                yield Copy(path, files, tuple(part for part, file in found.items() if not file), named)


def find(name: str, data_dir: str | os.PathLike | None = None) -> tuple[list[np.ndarray], str]:
    """A set's four verified uint8 arrays and where they came from; MissingError where there is no copy.

    Only complete copies count. The first one is used or, if it is bad, refused: DataError.
    """
    searched = places(data_dir)
    incomplete = ""
    for copy in copies(name, searched):
        if copy.missing:
            incomplete = incomplete or f"; {copy.where} lacks {', '.join(copy.missing)}"
            continue
        try:
            return idx.read_set(copy.files, name), copy.where
        except idx.OtherSet:  # a folder that promises nothing may hold another set, if nobody pointed at it
            if data_dir is not None or copy.named:
                raise
    if data_dir is None:
        raise MissingError(_advice(name, f"no download was asked for{incomplete}"))
    if closed := _closed_folder(name, searched[0]):
        raise idx.denied(closed, name)
    raise MissingError(_absent(name, searched[0], incomplete))


def fetch(name: str) -> tuple[list[np.ndarray], str]:
    """Download a set through torchvision, or else Keras: its verified arrays and where they now lie.

    Raises MissingError when neither is installed, the download fails or what came is not the set.
    """
    # Imported after TensorFlow, torch can crash the process: then Keras is at hand anyway.
    if find_spec("torchvision") and "tensorflow" not in sys.modules:
        library, download = "torchvision", _through_torchvision
    elif find_spec("keras"):
        library, download = "keras.datasets", _through_keras
    else:
        raise MissingError(_advice(name, "neither torchvision nor keras is installed to download it"))
    try:
        with _quiet_and_bounded():
            return download(name)
    except Exception as error:  # whatever a downloader and the network raise
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        failure = f"its download through {library} failed ({reason[:300]})"
        raise MissingError(_advice(name, failure)) from error


def _through_torchvision(name: str) -> tuple[list[np.ndarray], str]:
    from torchvision import datasets

    kind = {"mnist": datasets.MNIST, "fashion-mnist": datasets.FashionMNIST}[name]
    with _folder_for_download() as root:
        kind(root=root, download=True)
        raw = os.path.join(root, kind.__name__, "raw")
        files = tuple(os.path.join(raw, part.name) for part in idx.SETS[name])
        arrays = idx.read_set(files, name)
        kept = os.path.join(cache_dir(), kind.__name__, "raw")
        try:
            os.makedirs(kept, exist_ok=True)
            for file in files:  # only verified files reach the cache, each in one step
                os.replace(file, os.path.join(kept, os.path.basename(file)))
        except OSError:
            return arrays, "a download through torchvision (not kept: the cache folder cannot be written)"
    return arrays, f"{kept} (downloaded through torchvision just now)"


def _through_keras(name: str) -> tuple[list[np.ndarray], str]:
    from keras import datasets

    target = os.path.join(keras_dir(), {"mnist": "mnist.npz", "fashion-mnist": "fashion-mnist"}[name])
    was_there = os.path.exists(target)
    try:
        module = datasets.mnist if name == "mnist" else datasets.fashion_mnist
        (x, t), (x_test, t_test) = module.load_data()
        arrays = idx.verify_arrays([x, t, x_test, t_test], name, "the download")
    except BaseException:  # Keras leaves what it could not verify, and does not verify Fashion-MNIST
        if not was_there:
            _remove(target)
        raise
    kept = target if os.path.exists(target) else "memory"  # Keras falls back to /tmp without a writable home
    return arrays, f"{kept} (downloaded through keras.datasets just now)"


@contextlib.contextmanager
def _quiet_and_bounded() -> Iterator[None]:
    """Chatter goes to stderr, and a silent server is given up after TIMEOUT."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(TIMEOUT)
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    finally:
        socket.setdefaulttimeout(before)


def _folder_for_download() -> tempfile.TemporaryDirectory:
    """A folder beside the cached files, so that moving them is one step; elsewhere if that cannot be."""
    try:
        os.makedirs(cache_dir(), exist_ok=True)
        return tempfile.TemporaryDirectory(prefix=".download-", dir=cache_dir())
    except OSError:
        return tempfile.TemporaryDirectory(prefix="gradparity-")


def _remove(path: str) -> None:
    if os.path.isdir(path):
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            os.remove(path)


def _first_file(folder: str, names: tuple[str, ...]) -> str:
    paths = (os.path.join(folder, name) for name in names)
    return next((path for path in paths if os.path.isfile(path)), "")


def _closed_folder(name: str, place: str) -> str:
    """The first folder of `place` that this user may not look into, or nothing."""
    for layout in reversed(_LAYOUTS[name]):
        path = os.path.join(place, layout, "")
        try:
            os.stat(os.path.join(path, "."))
        except PermissionError:
            return path
        except OSError:
            continue
    return ""


def _absent(name: str, data_dir: str, incomplete: str) -> str:
    if os.path.isfile(data_dir):
        came = "is a single file"
    else:
        came = f"holds no complete copy{incomplete}" if os.path.exists(data_dir) else "does not exist"
    files = ", ".join(part.name for part in idx.SETS[name])
    return (
        f"--data-dir {data_dir} should hold {name} ({files}, plain or .gz, or Keras's mnist.npz), but it "
        f"{came}; name another folder, or leave --data-dir out to search the usual places and download."
    )


def _advice(name: str, failure: str) -> str:
    return (
        f"{name} was found in none of {', '.join(places())}, and {failure}; give its folder with --data-dir, "
        "or use --data mnist-5k, which works without network."
    )
