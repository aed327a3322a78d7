"""The IDX format of MNIST: the four files of a set, and the proof that they are the real ones."""

import gzip
import hashlib
import os
import struct
import zlib
from dataclasses import dataclass

import numpy as np

from scratch.errors import DataError

_UBYTE = 0x08  # the IDX code for unsigned bytes


class BadFile(DataError):
    """A file is here, but it is not what it should be."""

    remedy = "replace or delete it, or name another copy with --data-dir"

    def __init__(self, where: str, expected: str, came: str, remedy: str = remedy):
        self.where = where
        super().__init__(f"{where} should hold {expected}, but it {came}; {remedy}.")


class Unreadable(BadFile):
    """The bytes cannot be had: no permission, or a damaged archive."""


class OtherSet(BadFile):
    """A perfectly good file of another data set."""


def denied(where: str, expected: str) -> Unreadable:
    remedy = "change its permissions, or name another copy with --data-dir"
    return Unreadable(where, expected, "may not be read by this user", remedy)


@dataclass(frozen=True)
class Part:
    """One file of a set: its published name, shape, and the sha256 of its uncompressed bytes."""

    name: str
    shape: tuple[int, ...]
    sha256: str

    @property
    def file_names(self) -> tuple[str, ...]:
        """The published name and its old spelling with a dot, each plain or compressed."""
        dotted = self.name.replace("-idx", ".idx")
        return self.name, f"{self.name}.gz", dotted, f"{dotted}.gz"

    @property
    def header(self) -> bytes:
        return _header(self.shape)


def _parts(*sha256: str) -> tuple[Part, ...]:
    names = (
        "train-images-idx3-ubyte",
        "train-labels-idx1-ubyte",
        "t10k-images-idx3-ubyte",
        "t10k-labels-idx1-ubyte",
    )
    shapes = (60000, 28, 28), (60000,), (10000, 28, 28), (10000,)
    return tuple(map(Part, names, shapes, sha256))


SETS = {
    "mnist": _parts(
        "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    ),
    "fashion-mnist": _parts(
        "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
        "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
        "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
        "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
    ),
}
NPZ_FIELDS = ("x_train", "y_train", "x_test", "y_test")  # Keras's names for the same four, in this order


def _header(shape: tuple[int, ...]) -> bytes:
    return struct.pack(f">HBB{len(shape)}I", 0, _UBYTE, len(shape), *shape)


def pack(array: np.ndarray) -> bytes:
    """The IDX file of a uint8 array: magic number, one big-endian size per axis, then the bytes."""
    return _header(array.shape) + array.tobytes()


def verify(raw: bytes, set_name: str, part: Part, where: str) -> np.ndarray:
    """The uint8 array (N, 28, 28) or (N,) in the IDX bytes `raw`, once they are proved the published ones.

    Raises OtherSet for a file of another known set, BadFile for anything else that differs.
    Source: Y. LeCun, C. Cortes, C. Burges, The MNIST database, section "File formats".
    """
    expected = f"{set_name}'s {part.name} of {_size(part.shape)}"
    header = part.header
    size = len(header) + int(np.prod(part.shape))
    if not raw:
        raise BadFile(where, expected, "is empty")
    if raw[:4] != header[:4]:
        raise BadFile(where, expected, _describe_magic(raw))
    if len(raw) >= len(header) and raw[: len(header)] != header:
        shape = struct.unpack_from(f">{len(part.shape)}I", raw, 4)
        raise BadFile(where, expected, f"announces {_size(shape)}")
    if len(raw) < size:
        raise BadFile(where, expected, f"ends after {len(raw)} of {size} bytes")
    if len(raw) > size:
        raise BadFile(where, expected, f"goes on after its {size} bytes")
    digest = hashlib.sha256(raw).hexdigest()
    if digest != part.sha256:
        for other_name, parts in SETS.items():
            for other in parts:
                if digest == other.sha256:
                    remedy = f"ask for --data {other_name}, or name another copy with --data-dir"
                    raise OtherSet(where, expected, f"is {other_name}'s {other.name}", remedy)
        raise BadFile(where, expected, f"has sha256 {digest[:12]}... instead of {part.sha256[:12]}...")
    return np.frombuffer(raw, np.uint8, offset=len(header)).reshape(part.shape)


def verify_arrays(arrays: list[np.ndarray], set_name: str, where: str) -> list[np.ndarray]:
    """Four uint8 arrays in NPZ_FIELDS order, proved equal to the published files; errors as in `verify`."""
    for array, part in zip(arrays, SETS[set_name], strict=True):
        if array.dtype != np.uint8:
            raise BadFile(where, f"{set_name}'s {part.name} as uint8", f"has {array.dtype} there")
    return [verify(pack(a), set_name, part, where) for a, part in zip(arrays, SETS[set_name], strict=True)]


def read(path: str, set_name: str, part: Part) -> np.ndarray:
    """The verified uint8 array of an IDX file, plain or gzipped whatever its name; errors as in `verify`.

    Raises Unreadable where the file may not be opened or its compression is damaged.
    """
    limit = len(part.header) + int(np.prod(part.shape)) + 1  # one byte more than right: enough to refuse it
    try:
        with open(path, "rb") as file:
            compressed = file.peek(2)[:2] == b"\x1f\x8b"
            raw = gzip.GzipFile(fileobj=file).read(limit) if compressed else file.read(limit)
    except PermissionError:
        raise denied(path, f"{set_name}'s {part.name}") from None
    except (OSError, EOFError, zlib.error) as error:
        raise Unreadable(path, f"{set_name}'s {part.name}", f"could not be read ({error})") from error
    return verify(raw, set_name, part, path)


def read_npz(path: str, fields: tuple[str, ...], expected: str) -> list[np.ndarray]:
    """The named arrays of an npz file, never unpickled; Unreadable where that fails for any reason."""
    try:
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as archive:
            return [archive[field] for field in fields]
    except PermissionError:
        raise denied(path, expected) from None
    except Exception as error:  # zipfile, zlib and NumPy raise a dozen kinds on a damaged archive
        came = f"is not an npz file with {', '.join(fields)} ({type(error).__name__}: {error})"
        raise Unreadable(path, expected, came) from error


def read_set(files: tuple[str, ...], set_name: str) -> list[np.ndarray]:
    """A set's four uint8 arrays, from its four IDX files or from one npz with Keras's field names."""
    if len(files) == 1:
        expected = f"{set_name} as Keras stores it"
        return verify_arrays(read_npz(files[0], NPZ_FIELDS, expected), set_name, os.fspath(files[0]))
    return [read(path, set_name, part) for path, part in zip(files, SETS[set_name], strict=True)]


def _size(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape)) + (" labels" if len(shape) == 1 else " pixels")


def _describe_magic(raw: bytes) -> str:
    kinds = {_header((0,) * 3)[:4]: "images", _header((0,))[:4]: "labels"}
    if kind := kinds.get(raw[:4]):
        return f"holds {kind} (are images and labels swapped?)"
    return f"starts with the bytes {raw[:4].hex(' ')}, no IDX magic number"
