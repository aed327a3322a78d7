"""The catalogue of planted bugs: the mistakes that people make in hand-written backward passes."""

from collections.abc import Callable
from typing import Any

import numpy as np

from compare.planting import Call, Mutant
from scratch import ops

Array = np.ndarray
_OPERATIONS = {  # differentiable arguments of each operation, in the order of its gradients
    "dense": "xwb",
    "conv2d": "xwb",
    "max_pool2d": "x",
    "flatten": "x",
    "sigmoid": "z",
    "tanh": "z",
    "relu": "z",
    "leaky_relu": "z",
    "maxout": "z",
    "dropout": "x",
    "softmax_cross_entropy": "z",
    "sigmoid_cross_entropy": "z",
}


def catalogue() -> list[Mutant]:
    """All planted bugs, none twice."""
    return [*_general(), *_affine(), *_conv(), *_pool(), *_activations(), *_losses(), *_penalty(), *_rules()]


def _right(call: Call, operation: str, argument: str) -> Array:
    return call.gradients[_OPERATIONS[operation].index(argument)]


def _one_entry(g: Array) -> Array:
    """5 % off in one entry of typical size."""
    g = g.copy()
    index = int(np.abs(np.abs(g) - np.sqrt(np.mean(g * g))).argmin())
    g.flat[index] *= 1.05
    return g


def _general() -> list[Mutant]:
    """Bugs of any gradient, each where it is typical."""
    general: dict[str, Callable[[Array], Array]] = {
        "sign": lambda g: -g,
        "factor 2": lambda g: 2 * g,
        "one entry off by 5 %": _one_entry,
        "all entries off by 1e-6": lambda g: g * (1 + 1e-6),
        "divided by its first dimension": lambda g: g / max(2, len(g)),
        "reversed batch": lambda g: g[::-1],
        "never computed": lambda g: 0 * g,
    }
    where = {
        "sign": ["dense.w", "dense.x", "conv2d.w", "conv2d.b", "tanh.z", "softmax_cross_entropy.z"],
        "factor 2": ["dense.b", "conv2d.x", "maxout.z", "sigmoid_cross_entropy.z"],
        "one entry off by 5 %": ["dense.w", "dense.x", "dense.b", "conv2d.w", "conv2d.x", "max_pool2d.x"],
        "all entries off by 1e-6": ["dense.w", "conv2d.w", "conv2d.x", "sigmoid.z", "relu.z"],
        "divided by its first dimension": ["dense.w", "conv2d.w", "dropout.x"],
        "reversed batch": ["dense.x", "flatten.x", "relu.z"],
        "never computed": ["conv2d.b", "leaky_relu.z"],
    }
    return [
        _mutant(place, bug, lambda call, place=place, bug=bug: general[bug](_right(call, *place.split("."))))
        for bug, places in where.items()
        for place in places
    ]


def _affine() -> list[Mutant]:
    def square(a: Array) -> bool:
        return a.ndim == 2 and a.shape[0] == a.shape[1]

    def swapped(call: Call) -> tuple[Array, ...]:
        dx, dw, db = call.gradients
        return (dw, dx, db) if dx.shape == dw.shape else (dx, dw, db)

    return [
        _mutant("dense.x", "missing transpose", lambda c: c.dy @ c.w if square(c.w) else c.gradients[0]),
        _mutant(
            "dense.w",
            "missing transpose",
            lambda c: c.x @ c.dy if square(c.x) and len(c.dy) == len(c.x) else c.gradients[1],
        ),
        _mutant("dense.w", "summed over examples twice", lambda c: len(c.x) * c.gradients[1]),
        _mutant("dense.w", "first example only", lambda c: c.x[:1].T @ c.dy[:1]),
        _mutant("dense.w", "activations of the call before", lambda c: c.before["x"].T @ c.dy),
        _mutant("dense.w", "activations of the latest call", lambda c: c.latest["x"].T @ c.dy),
        _mutant("dense.w", "accumulated over calls", lambda c: sum(c.total)),
        _mutant("dense.x", "weights of the latest call", lambda c: c.dy @ c.latest["w"].T),
        _mutant("dense.b", "averaged", lambda c: c.dy.mean(axis=0)),
        _mutant("dense.b", "first row only", lambda c: c.dy[0]),
        _mutant("dense.b", "wrong axis", lambda c: c.dy.sum(axis=1) if square(c.dy) else c.gradients[2]),
        _mutant("dense.all", "swapped tensors", swapped),
    ]


def _conv() -> list[Mutant]:
    def with_kernel(call: Call, turn: Callable[[Array], Array]) -> Array:
        options = {"stride": call.stride, "padding": call.padding}
        return call.right(call.x, np.ascontiguousarray(turn(call.w)), call.b, **options)[1](call.dy)[0]

    def unstrided(call: Call, index: int) -> Array:
        if call.stride == 1:
            return call.gradients[index]
        packed = np.zeros_like(call.right(call.x, call.w, call.b, 1, call.padding)[0])
        packed[:, : call.dy.shape[1], : call.dy.shape[2]] = call.dy
        return call.right(call.x, call.w, call.b, 1, call.padding)[1](packed)[index]

    def channels_swapped(call: Call) -> Array:
        c, f = call.w.shape[2:]
        return with_kernel(call, lambda w: w.swapaxes(2, 3)) if c == f else call.gradients[0]

    def crossed(call: Call) -> Array:
        k, l = call.w.shape[:2]
        return call.gradients[1].swapaxes(0, 1) if k == l else call.gradients[1]

    return [
        _mutant("conv2d.x", "kernel not flipped", lambda c: with_kernel(c, lambda w: w[::-1, ::-1])),
        _mutant("conv2d.x", "kernel's channels and filters swapped", channels_swapped),
        _mutant("conv2d.x", "stride ignored", lambda c: unstrided(c, 0)),
        _mutant("conv2d.x", "padding cropped one off", lambda c: np.roll(c.gradients[0], 1, axis=1)),
        _mutant("conv2d.w", "flipped", lambda c: c.gradients[1][::-1, ::-1]),
        _mutant("conv2d.w", "kernel's rows and columns swapped", crossed),
        _mutant("conv2d.w", "stride ignored", lambda c: unstrided(c, 1)),
        _mutant("conv2d.w", "padding cropped one off", lambda c: np.roll(c.gradients[1], 1, axis=1)),
        _mutant(
            "conv2d.w",
            "activations of the call before",
            lambda c: c.right(c.before["x"], c.w, c.b, c.stride, c.padding)[1](c.dy)[1],
        ),
        _mutant("conv2d.b", "averaged", lambda c: c.dy.mean(axis=(0, 1, 2))),
        _mutant("conv2d.b", "first row only", lambda c: c.dy[:, 0].sum(axis=(0, 1))),
        _mutant("conv2d.b", "first example only", lambda c: c.dy[0].sum(axis=(0, 1))),
    ]


def _pool() -> list[Mutant]:
    def scatter(call: Call, share: Callable[[Array, Array], Array], add: bool = True) -> Array:
        """dx where share(window (N, H', W', C), y) says what part of dy each pixel of a window gets."""
        size, stride = call.size, call.stride or call.size
        total = [max((-(-n // stride) - 1) * stride + size - n, 0) for n in call.x.shape[1:3]]
        before = [t // 2 if call.padding == "SAME" else 0 for t in total]
        after = [t - b if call.padding == "SAME" else 0 for t, b in zip(total, before, strict=True)]
        pads = [(0, 0), (before[0], after[0]), (before[1], after[1]), (0, 0)]
        x = np.pad(call.x, pads, constant_values=-np.inf)
        dx, (h, w) = np.zeros_like(x), call.y.shape[1:3]
        for i in range(size):
            for j in range(size):
                part = np.s_[:, i : i + stride * (h - 1) + 1 : stride, j : j + stride * (w - 1) + 1 : stride]
                given = call.dy * share(x[part], call.y)
                dx[part] = dx[part] + given if add else np.where(given != 0, given, dx[part])
        return dx[:, before[0] : before[0] + call.x.shape[1], before[1] : before[1] + call.x.shape[2]]

    def last_winner(call: Call) -> Array:
        turned = call.right(call.x[:, ::-1, ::-1], call.size, call.stride, call.padding)[1]
        return turned(call.dy[:, ::-1, ::-1])[0][:, ::-1, ::-1]

    def overlap_assigned(call: Call) -> Array:
        return scatter(call, lambda window, y: window == y, add=False)

    def crossed(call: Call) -> Array:
        dx = call.gradients[0]
        return dx.swapaxes(1, 2) if dx.shape[1] == dx.shape[2] else dx

    return [
        _mutant("max_pool2d.x", "ties duplicated", lambda c: scatter(c, lambda window, y: window == y)),
        _mutant("max_pool2d.x", "overlap assigned instead of added", overlap_assigned),
        _mutant("max_pool2d.x", "averaged", lambda c: scatter(c, lambda window, y: (window > -np.inf) / 4)),
        _mutant("max_pool2d.x", "last maximum wins", last_winner),
        _mutant("max_pool2d.x", "rows and columns swapped", crossed),
    ]


def _activations() -> list[Mutant]:
    def pieces(call: Call, share: Callable[[Array], Array]) -> Array:
        groups = call.z.reshape(*call.z.shape[:-1], -1, call.pieces)
        return (share(groups) * call.dy[..., None]).reshape(call.z.shape)

    def last_piece(groups: Array) -> Array:
        last = groups.shape[-1] - 1 - groups[..., ::-1].argmax(-1)
        return last[..., None] == np.arange(groups.shape[-1])

    def keep(call: Call) -> Array:
        return call.mask / (1 - call.rate)

    return [
        _mutant("sigmoid.z", "derivative missing", lambda c: c.dy),
        _mutant("sigmoid.z", "z for y", lambda c: c.dy * c.z * (1 - c.z)),
        _mutant("sigmoid.z", "tanh's derivative", lambda c: c.dy * (1 - c.y**2)),
        _mutant("tanh.z", "derivative missing", lambda c: c.dy),
        _mutant("tanh.z", "z for y", lambda c: c.dy * (1 - c.z**2)),
        _mutant("tanh.z", "square missing", lambda c: c.dy * (1 - c.y)),
        _mutant("relu.z", "mask inverted", lambda c: c.dy * (c.z <= 0)),
        _mutant("relu.z", "mask missing", lambda c: c.dy),
        _mutant("relu.z", "mask of the gradient", lambda c: c.dy * (c.dy > 0)),
        _mutant("leaky_relu.z", "slope missing", lambda c: c.dy * (c.z > 0)),
        _mutant("leaky_relu.z", "slope everywhere", lambda c: c.dy * c.slope),
        _mutant(
            "leaky_relu.z", "default slope for the given one", lambda c: c.dy * np.where(c.z > 0, 1, 0.01)
        ),
        _mutant("maxout.z", "all pieces", lambda c: pieces(c, np.ones_like)),
        _mutant("maxout.z", "last piece wins ties", lambda c: pieces(c, last_piece)),
        _mutant("maxout.z", "ties duplicated", lambda c: pieces(c, lambda g: g == g.max(-1, keepdims=True))),
        _mutant("dropout.x", "mask missing", lambda c: c.dy),
        _mutant("dropout.x", "scale missing", lambda c: c.dy * c.mask),
        _mutant("dropout.x", "scaled twice", lambda c: c.dy * keep(c) / (1 - c.rate)),
        _mutant("dropout.x", "scaled by the rate", lambda c: c.dy * c.mask / c.rate),
        _mutant("dropout.x", "keep and drop swapped", lambda c: c.dy * ~c.mask / (1 - c.rate)),
        _mutant("dropout.x", "mask drawn again", lambda c: c.dy * np.roll(c.mask, 1, axis=1) / (1 - c.rate)),
        _mutant("flatten.x", "Fortran order", lambda c: c.dy.reshape(c.x.shape, order="F")),
    ]


def _losses() -> list[Mutant]:
    def one_hot(call: Call, shift: int = 0) -> Array:
        if np.ndim(call.t) == 2:
            return np.roll(call.t, shift, axis=1)
        return ((call.t + shift) % call.z.shape[1])[:, None] == np.arange(call.z.shape[1])

    def delta(call: Call, y: Array, target: Array) -> Array:
        return call.dy * (y - target) / len(call.z)

    def both(name: str, output: Callable[[Array], Array]) -> list[Mutant]:
        return [
            _mutant(f"{name}.z", "not divided by N", lambda c: c.gradients[0] * max(2, len(c.z))),
            _mutant(f"{name}.z", "one-hot not subtracted", lambda c: delta(c, output(c.z), 0 * c.z)),
            _mutant(f"{name}.z", "labels shifted by one", lambda c: delta(c, output(c.z), one_hot(c, 1))),
            _mutant(
                f"{name}.z", "one-hot in the wrong rows", lambda c: delta(c, output(c.z), one_hot(c)[::-1])
            ),
            _mutant(
                f"{name}.z",
                "quadratic delta",
                lambda c: delta(c, output(c.z), one_hot(c)) * output(c.z) * (1 - output(c.z)),
            ),
        ]

    return [
        *both("softmax_cross_entropy", ops.softmax),
        *both("sigmoid_cross_entropy", lambda z: ops.sigmoid(z)[0]),
        _mutant(
            "softmax_cross_entropy.z",
            "softmax applied twice",
            lambda c: delta(c, ops.softmax(ops.softmax(c.z)), one_hot(c)),
        ),
        _mutant(
            "sigmoid_cross_entropy.z",
            "averaged over outputs too",
            lambda c: c.gradients[0] / max(2, c.z.shape[1]),
        ),
    ]


def _penalty() -> list[Mutant]:
    def biases_too(penalty: Any, name: str) -> bool:
        return bool(penalty.l1 or penalty.l2)

    return [
        _mutant("penalty.W", "L2 term missing", lambda penalty, p: penalty.l1 * np.sign(p.real)),
        _mutant("penalty.W", "L1 term missing", lambda penalty, p: penalty.l2 * p),
        _mutant("penalty.W", "L2 factor 2", lambda s, p: s.l1 * np.sign(p.real) + 2 * s.l2 * p),
        _mutant("penalty.W", "L1 without sign", lambda s, p: s.l1 + s.l2 * p),
        _mutant("penalty.b", "on biases too", biases_too),
    ]


def _rules() -> list[Mutant]:
    """Bugs in update rules: bug(optimizer, w, g, right, **hyperparameters) works in place."""

    def uncorrected(self: Any, w: Array, g: Array, right: Any, **h: float) -> None:
        step, self.step = self.step, 10**6
        right(self, w, g, **h)
        self.step = step

    def no_decay(self: Any, w: Array, g: Array, right: Any, **h: float) -> None:
        kept = self.hyperparameters["weight_decay"]
        self.hyperparameters["weight_decay"] = 0.0
        right(self, w, g, **h)
        self.hyperparameters["weight_decay"] = kept

    def other_dialect(self: Any, w: Array, g: Array, right: Any, **h: float) -> None:
        dialect, self.dialect = self.dialect, "keras" if self.dialect == "torch" else "torch"
        right(self, w, g, **h)
        self.dialect = dialect

    def wrong_sign(self: Any, w: Array, g: Array, right: Any, **h: float) -> None:
        before = w.copy()
        right(self, w, g, **h)
        w[...] = 2 * before - w

    def forgetful(self: Any, w: Array, g: Array, right: Any, **h: float) -> None:
        self.state = self.initial_state(w)
        right(self, w, g, **h)

    return [
        _mutant("sgd.rule", "sign", wrong_sign),
        _mutant("sgd.update", "weight decay ignored", no_decay),
        _mutant("momentum.rule", "learning rate in the wrong place", other_dialect),
        _mutant("momentum.rule", "velocity forgotten", forgetful),
        _mutant("nesterov.rule", "no look ahead", lambda s, w, g, right, **h: _plain_momentum(s, w, g, **h)),
        _mutant("adagrad.rule", "squares forgotten", forgetful),
        _mutant("rmsprop.rule", "epsilon in the wrong place", other_dialect),
        _mutant("adadelta.rule", "steps forgotten", forgetful),
        _mutant("adam.rule", "bias correction missing", uncorrected),
        _mutant("adam.rule", "epsilon in the wrong place", other_dialect),
        _mutant("adamw.update", "weight decay ignored", no_decay),
    ]


def _plain_momentum(self: Any, w: Array, g: Array, *, learning_rate: float, momentum: float) -> None:
    v = self.state["velocity"]
    v *= momentum
    v += g if self.dialect == "torch" else -learning_rate * g
    w += -learning_rate * v if self.dialect == "torch" else v


def _mutant(place: str, bug_name: str, bug: Callable[..., Any]) -> Mutant:
    operation, argument = place.split(".")
    return Mutant(operation, argument, bug_name, bug)
