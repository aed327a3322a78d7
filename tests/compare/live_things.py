"""What tests of check_gradients give it: examples as modules, code written for a test, a classifier."""

import importlib.util
import types
from pathlib import Path

import numpy as np

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"


def imported(path: Path) -> types.ModuleType:
    """A file as a module, new for every test."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def example(name: str) -> types.ModuleType:
    """A file of docs/examples."""
    return imported(EXAMPLES / f"{name}.py")


def written(folder: Path, source: str, name: str = "mine") -> types.ModuleType:
    """Code as a module that lies in a file."""
    (folder / f"{name}.py").write_text(source)
    return imported(folder / f"{name}.py")


class Softmax:
    """A linear classifier with what a test needs besides: `spoil` is called before the gradients."""

    def __init__(self, inputs=4, classes=3, spoil=lambda own: None):
        rng = np.random.default_rng(0)
        self.params = {"W": rng.standard_normal((inputs, classes)), "b": np.zeros(classes)}
        self.spoil = spoil

    def loss(self, X, y=None, reg=0.0):
        z = X @ self.params["W"] + self.params["b"]
        if y is None:
            return z
        self.spoil(self)
        z = z - z.max(axis=1, keepdims=True)
        log_p = z - np.log(np.exp(z).sum(axis=1, keepdims=True))
        n = np.arange(len(X))
        dz = np.exp(log_p)
        dz[n, y] -= 1
        dz /= len(X)
        loss = -log_p[n, y].mean() + 0.5 * reg * (self.params["W"] ** 2).sum()
        return loss, {"W": X.T @ dz + reg * self.params["W"], "b": dz.sum(axis=0)}
