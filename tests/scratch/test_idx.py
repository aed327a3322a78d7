"""One IDX file or npz: the right bytes come back, every kind of wrong one is refused in one sentence."""

import gzip
import hashlib
import os

import numpy as np
import pytest

from scratch import idx
from scratch.errors import DataError

IMAGES = np.random.default_rng(0).integers(0, 256, (6, 28, 28), np.uint8)
LABELS = np.arange(6, dtype=np.uint8)
GOOD = idx.pack(IMAGES)
PART = idx.Part("train-images-idx3-ubyte", IMAGES.shape, hashlib.sha256(GOOD).hexdigest())
LABEL_PART = idx.Part("train-labels-idx1-ubyte", (6,), hashlib.sha256(idx.pack(LABELS)).hexdigest())


def read(tmp_path, raw, part=PART, name="train-images-idx3-ubyte"):
    path = tmp_path / name
    path.write_bytes(raw)
    return idx.read(str(path), "mnist", part)


def test_header_is_the_published_one():
    assert idx.SETS["mnist"][0].header == bytes.fromhex("00000803 0000ea60 0000001c 0000001c")
    assert idx.SETS["fashion-mnist"][3].header == bytes.fromhex("00000801 00002710")


def test_plain_and_compressed_files_hold_the_same(tmp_path):
    np.testing.assert_array_equal(read(tmp_path, GOOD), IMAGES)
    np.testing.assert_array_equal(read(tmp_path, gzip.compress(GOOD)), IMAGES)
    np.testing.assert_array_equal(read(tmp_path, GOOD, name="unpacked-by-a-browser.gz"), IMAGES)
    np.testing.assert_array_equal(read(tmp_path, idx.pack(LABELS), LABEL_PART), LABELS)


WRONG = {
    "empty": (b"", "is empty"),
    "garbage": (b"<html>404</html>", "no IDX magic number"),
    "labels": (idx.pack(LABELS), "swapped"),
    "other count": (idx.pack(IMAGES[:5]), "announces 5 x 28 x 28 pixels"),
    "other size": (idx.pack(IMAGES.transpose(1, 0, 2).copy()), "announces 28 x 6 x 28"),
    "half a header": (GOOD[:10], "ends after 10 of 4720 bytes"),
    "only a header": (GOOD[:16], "ends after 16 of 4720 bytes"),
    "one byte short": (GOOD[:-1], "ends after 4719 of 4720 bytes"),
    "one byte long": (GOOD + b"\0", "goes on after its 4720 bytes"),
    "one bit flipped": (GOOD[:-1] + bytes([GOOD[-1] ^ 1]), "sha256"),
    "truncated gzip": (gzip.compress(GOOD)[:-200], "could not be read"),
    "gzip with a wrong checksum": (gzip.compress(GOOD)[:-8] + bytes(8), "could not be read"),
    "damaged gzip": (b"\x1f\x8b\x08\0\0\0\0\0\0\0" + b"\xff" * 50, "could not be read"),
    "gzip bomb": (gzip.compress(GOOD + bytes(10**7)), "goes on after its 4720 bytes"),
}


@pytest.mark.parametrize("raw, came", WRONG.values(), ids=WRONG)
def test_wrong_file_is_refused_in_one_sentence(tmp_path, raw, came):
    with pytest.raises(DataError) as error:
        read(tmp_path, raw)
    text = str(error.value)
    assert came in text
    assert "train-images-idx3-ubyte should hold mnist's train-images-idx3-ubyte of 6 x 28 x 28" in text or (
        isinstance(error.value, idx.Unreadable)
    )
    assert str(tmp_path) in text and text.endswith(".") and "\n" not in text and "replace" in text


def test_images_where_labels_belong(tmp_path):
    with pytest.raises(idx.BadFile, match=r"holds images .*swapped"):
        read(tmp_path, GOOD, LABEL_PART)


def test_a_file_of_another_set_is_named(tmp_path, monkeypatch):
    other = np.ascontiguousarray(IMAGES[::-1])
    raw = idx.pack(other)
    part = idx.Part("train-images-idx3-ubyte", (6, 28, 28), hashlib.sha256(raw).hexdigest())
    monkeypatch.setitem(idx.SETS, "fashion-mnist", (part,))
    with pytest.raises(idx.OtherSet, match=r"is fashion-mnist's train-images.*ask for --data fashion-mnist"):
        read(tmp_path, raw)


def test_no_permission(tmp_path, monkeypatch):
    path = tmp_path / "train-images-idx3-ubyte"
    path.write_bytes(GOOD)
    path.chmod(0)
    tmp_path.chmod(0o755)
    monkeypatch.chdir(tmp_path)
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)  # nobody: root may read everything
    try:
        with pytest.raises(idx.Unreadable, match="may not be read by this user"):
            idx.read("train-images-idx3-ubyte", "mnist", PART)
    finally:
        if root:
            os.seteuid(0)


@pytest.fixture
def small_mnist(monkeypatch):
    parts = (PART, LABEL_PART, PART, LABEL_PART)
    monkeypatch.setitem(idx.SETS, "mnist", parts)


def npz(path, **changed):
    fields = {"x_train": IMAGES, "y_train": LABELS, "x_test": IMAGES, "y_test": LABELS} | changed
    np.savez(path, **{key: value for key, value in fields.items() if value is not None})
    return (str(path),)


def test_keras_npz_is_verified_like_the_files(tmp_path, small_mnist):
    arrays = idx.read_set(npz(tmp_path / "mnist.npz"), "mnist")
    for array, expected in zip(arrays, (IMAGES, LABELS, IMAGES, LABELS), strict=True):
        np.testing.assert_array_equal(array, expected)


@pytest.mark.parametrize(
    "changed, came",
    [
        ({"x_test": None}, "is not an npz file with x_train"),
        ({"y_train": LABELS.astype(np.int64)}, "has int64 there"),
        ({"x_train": LABELS, "y_train": IMAGES}, "swapped"),
        ({"x_train": IMAGES[:, ::-1]}, "sha256"),
        ({"y_test": np.array([{}], dtype=object)}, "Object arrays cannot be loaded"),
    ],
)
def test_wrong_npz_is_refused(tmp_path, small_mnist, changed, came):
    with pytest.raises(idx.BadFile, match=came):
        idx.read_set(npz(tmp_path / "mnist.npz", **changed), "mnist")


@pytest.mark.parametrize("end", [0, 1, 100, -30])
def test_truncated_npz_is_refused(tmp_path, small_mnist, end):
    (path,) = npz(tmp_path / "mnist.npz")
    whole = (tmp_path / "mnist.npz").read_bytes()
    (tmp_path / "mnist.npz").write_bytes(whole[:end])
    with pytest.raises(idx.Unreadable, match="is not an npz file"):
        idx.read_set((path,), "mnist")
