"""Initial weights: their statistics are those of the formulas, and a seed decides everything."""

import numpy as np
import pytest

from scratch import initializers
from scratch.errors import UsageError

DENSE, KERNEL = (300, 200), (5, 4, 30, 80)
FANS = {DENSE: (300, 200), KERNEL: (600, 1600)}
FORMULAS = {  # (variance, largest absolute value in standard deviations) of (fan-in, fan-out)
    "normal": lambda i, o: (0.01, None),
    "truncated_normal": lambda i, o: (0.01 * 0.87962566**2, 2 / 0.87962566),
    "xavier_uniform": lambda i, o: (2 / (i + o), np.sqrt(3)),
    "xavier_normal": lambda i, o: (2 / (i + o), None),
    "glorot_uniform": lambda i, o: (2 / (i + o), np.sqrt(3)),
    "glorot_normal": lambda i, o: (2 / (i + o), None),
    "he_uniform": lambda i, o: (2 / i, np.sqrt(3)),
    "he_normal": lambda i, o: (2 / i, None),
    "lecun_uniform": lambda i, o: (1 / i, np.sqrt(3)),
    "lecun_normal": lambda i, o: (1 / i, None),
}


def weight(init, shape, seed=0):
    return initializers.draw({"fc1/W": shape}, init, np.random.default_rng(seed))["fc1/W"]


@pytest.mark.parametrize("shape", FANS)
@pytest.mark.parametrize("init", FORMULAS)
def test_mean_variance_and_range(init, shape):
    variance, limit = FORMULAS[init](*FANS[shape])
    w = weight(init, shape)
    std = np.sqrt(variance)
    assert w.shape == shape and w.dtype == np.float64
    assert abs(w.mean()) < 5 * std / np.sqrt(w.size)
    assert w.var() == pytest.approx(variance, rel=5 * np.sqrt(2 / w.size) + 1e-12)
    furthest = np.abs(w).max() / std
    if limit is None:
        assert furthest > 3.5  # a normal distribution that nothing cuts
    else:
        assert 0.99 * limit < furthest <= limit * (1 + 1e-7)


@pytest.mark.parametrize("init", FORMULAS)
def test_kurtosis_tells_the_families_apart(init):
    w = weight(init, DENSE)
    kurtosis = (w**4).mean() / (w**2).mean() ** 2
    family = 1.8 if "uniform" in init else 2.37 if init == "truncated_normal" else 3.0
    assert kurtosis == pytest.approx(family, abs=0.1)


def test_every_initialiser_is_tested():
    known = {*initializers.INITIALIZERS, *initializers.ALIASES}
    assert known == {*FORMULAS, "orthogonal", "zeros"}


def test_fans():
    assert initializers.fans((7, 5)) == (7, 5)
    assert initializers.fans((3, 2, 7, 5)) == (42, 30)


def test_the_standard_deviation_can_be_chosen():
    rng = np.random.default_rng(0)
    assert initializers.normal((200, 200), rng, std=3.0).std() == pytest.approx(3, rel=0.02)
    assert np.abs(initializers.truncated_normal((200, 200), rng, std=3.0)).max() <= 6


@pytest.mark.parametrize("shape", [(30, 20), (20, 30), (25, 25), (3, 3, 4, 8), (2, 1, 2, 9), (1, 1)])
def test_orthogonal(shape):
    w = weight("orthogonal", shape)
    assert w.shape == shape
    matrix = w.reshape(-1, shape[-1])
    product = matrix.T @ matrix if matrix.shape[0] >= matrix.shape[1] else matrix @ matrix.T
    np.testing.assert_allclose(product, np.eye(len(product)), atol=1e-13)


def test_orthogonal_is_uniform():
    """Every entry has mean 0 over many draws; QR without the sign fix would lean to one side."""
    draws = np.array([weight("orthogonal", (3, 3), seed) for seed in range(2000)])
    assert np.abs(draws.mean(0)).max() < 5 * np.sqrt(1 / 3 / 2000)


@pytest.mark.parametrize("init", [*FORMULAS, "orthogonal", "zeros"])
def test_a_seed_decides(init):
    shapes = {"conv1/W": (3, 3, 2, 4), "conv1/b": (4,), "fc1/W": (6, 5), "fc1/b": (5,)}

    def draw(seed):
        return initializers.draw(shapes, init, np.random.default_rng(seed), bias=0.1)

    first, again, other = draw(0), draw(0), draw(1)
    assert list(first) == list(shapes) and {n: v.shape for n, v in first.items()} == shapes
    for name, value in first.items():
        np.testing.assert_array_equal(value, again[name])
        if name.endswith("/b"):
            np.testing.assert_array_equal(value, 0.1)
        elif init == "zeros":
            assert not value.any()
        else:
            assert (value != other[name]).any()
    assert all(value.dtype == np.float64 for value in first.values())


def test_biases_do_not_advance_the_generator():
    one = initializers.draw({"fc1/W": (3, 2), "fc2/W": (3, 2)}, "normal", np.random.default_rng(0))
    two = initializers.draw(
        {"fc1/W": (3, 2), "fc1/b": (2,), "fc2/W": (3, 2)}, "normal", np.random.default_rng(0), bias=1.0
    )
    np.testing.assert_array_equal(one["fc2/W"], two["fc2/W"])
    assert (one["fc1/W"] != one["fc2/W"]).any()


def test_aliases():
    for alias, name in initializers.ALIASES.items():
        np.testing.assert_array_equal(weight(alias, (4, 3)), weight(name, (4, 3)))


def test_an_unknown_initialiser_is_refused():
    with pytest.raises(UsageError, match=r"xavier_uniform.*'magic'"):
        weight("magic", (3, 2))
