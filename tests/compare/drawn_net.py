"""Hand-written networks in the loss-and-grads style, drawn from every option, right or with one mistake.

`network(spec)` makes the class as a user would have written it; `Drawn` calls it at weights of any size.
"""

import itertools
from dataclasses import dataclass, replace

import numpy as np
from hypothesis import strategies as st

from compare.adapters import loss_and_grads
from compare.adapters.subject import Context

OUTPUTS = {  # name: (activation of the last layer, loss)
    "softmax": ("softmax", "cross_entropy"),
    "sigmoid": ("sigmoid", "binary_cross_entropy"),
    "quadratic": ("sigmoid", "quadratic"),
    "squared": ("linear", "squared"),
    "regression": ("linear", "quadratic"),
    "tanh": ("tanh", "quadratic"),
}
HIDDEN = ("relu", "tanh", "sigmoid", "leaky_relu", "linear", "arctan", "softplus", "elu")


@dataclass(frozen=True)
class Spec:
    """What a network computes, how it is written, and the mistake in it."""

    sizes: tuple[int, ...] = (6, 5, 4)
    activation: str = "relu"
    slope: float = 0.01
    output: str = "softmax"
    total: bool = False  # a sum over the examples instead of the mean
    penalty: float = 0.5  # times reg sum W^2; 0: the code knows no penalty
    per_example: bool = False
    penalize_biases: bool = False
    biases: str = "(D,)"  # or (1, D) or none
    transposed: bool = False  # weights are (out, in)
    float32: str = ""  # of the forward pass, or of all
    targets: str = "integers"  # or one-hot
    guard: float = 0.0  # the epsilon in log(p + epsilon), which the gradient does not know
    real: bool = False  # the loss is made a float, so that complex numbers do not survive
    mistake: str = ""
    where: int = 0  # the layer that has it


def act(spec, z):
    match spec.activation:
        case "relu":
            return np.maximum(z, 0)
        case "leaky_relu":
            return np.where(z > 0, z, spec.slope * z)
        case "tanh":
            return np.tanh(z)
        case "sigmoid":
            return 1 / (1 + np.exp(-z))
        case "arctan":
            return np.arctan(z)
        case "softplus":
            return np.log1p(np.exp(-z * (2 * (z > 0) - 1))) + z * (z > 0)
        case "elu":
            return np.where(z > 0, z, np.exp(z * (z <= 0)) - 1)
    return z


def slope(spec, z, a):
    """f'(z), in terms of z or a as people write it."""
    match spec.activation:
        case "relu":
            return (z > 0) * 1.0
        case "leaky_relu":
            return np.where(z > 0, 1.0, spec.slope)
        case "tanh":
            return 1 - a * a
        case "sigmoid":
            return a * (1 - a)
        case "arctan":
            return 1 / (1 + z * z)
        case "softplus":
            return 1 / (1 + np.exp(-z))
        case "elu":
            return np.where(z > 0, 1.0, a + 1)
    return np.ones_like(z)


def cast(a, single):
    return np.asarray(a) if single is None else np.asarray(a).astype(single)


def network(spec: Spec) -> type:
    """The class; `loss(X, y, reg)`, or `loss(X, y)` where there is no penalty."""
    single = np.float32 if spec.float32 else None

    class Net:
        def __init__(self, sizes):
            rng = np.random.default_rng(3)
            self.count = len(sizes) - 1
            self.params, self.kept, self.sums = {}, {}, {}
            for i, (d, m) in enumerate(itertools.pairwise(sizes), 1):
                self.params[f"W{i}"] = 0.1 * rng.standard_normal((m, d) if spec.transposed else (d, m))
                if spec.biases != "none":
                    self.params[f"b{i}"] = np.zeros((1, m) if spec.biases == "(1, D)" else m)
            self.random = {
                i: rng.standard_normal((m, d)) for i, (d, m) in enumerate(itertools.pairwise(sizes))
            }

        def layer(self, i):
            w = self.params[f"W{i + 1}"].T if spec.transposed else self.params[f"W{i + 1}"]
            b = self.params.get(f"b{i + 1}", 0.0)
            return cast(w, single), cast(b, single)

        def forward(self, X):
            a, z = [cast(X, single)], []
            for i in range(self.count):
                w, b = self.layer(i)
                z.append(a[-1] @ w + b)
                a.append(act(spec, z[-1]) if i < self.count - 1 else z[-1])
            return a, z

        def _loss(self, X, y, reg):
            if spec.mistake == "mutates-input":
                X *= 0.5
            a, z = self.forward(X)
            s, n = z[-1], len(X)
            t = y
            if spec.targets == "integers" and s.shape[1] == 1 and spec.output != "softmax":
                t = y[:, None]
            elif spec.targets == "integers":
                t = np.eye(s.shape[1], dtype=s.dtype)[y]
            p, data = self.head(s, t)
            share = 1.0 if spec.total else 1.0 / n
            squares = sum((w**2).sum() for w in self.penalized())
            penalty = reg * spec.penalty * squares / (n if spec.per_example else 1)
            loss = data * share + penalty
            grads = self.backward(a, z, p, t, share, reg / (n if spec.per_example else 1))
            if spec.mistake == "log-base":
                loss = data * share / np.log(2.0) + penalty
            return (float(loss) if spec.real else loss), grads

        def penalized(self):
            kept = single if spec.float32 == "all" else None
            return [cast(p, kept) for k, p in self.params.items() if k[0] == "W" or spec.penalize_biases]

        def head(self, s, t):
            """(output, summed loss)."""
            out, loss = OUTPUTS[spec.output]
            if out == "softmax":
                e = np.exp(s - s.max(axis=1, keepdims=True))
                p = e / e.sum(axis=1, keepdims=True)
                if spec.guard:
                    return p, -np.log((p * t).sum(axis=1) + spec.guard).sum()
                low = s - s.max(axis=1, keepdims=True)
                return p, -((low - np.log(e.sum(axis=1, keepdims=True))) * t).sum()
            p = 1 / (1 + np.exp(-s)) if out == "sigmoid" else np.tanh(s) if out == "tanh" else s
            if loss == "binary_cross_entropy":
                if spec.guard:
                    return p, -(t * np.log(p + spec.guard) + (1 - t) * np.log(1 - p + spec.guard)).sum()
                return p, (s * (s > 0) + np.log1p(np.exp(-s * (2 * (s > 0) - 1))) - s * t).sum()
            return p, (0.5 if loss == "quadratic" else 1.0) * ((p - t) ** 2).sum()

        def delta(self, p, t, n):
            out, loss = OUTPUTS[spec.output]
            d = (2.0 if loss == "squared" else 1.0) * (p - t)
            if "cross" not in loss:
                d = d * {"sigmoid": p * (1 - p), "tanh": 1 - p * p, "linear": 1.0}[out]
            match spec.mistake:
                case "wrong-loss-delta":
                    d = d * p * (1 - p) if "cross" in loss else p - t
                case "label-shift":
                    d = p - np.roll(t, 1, axis=1)
                case "onehot-not-subtracted":
                    d = p
                case "onehot-wrong-rows":
                    d = p - t[:1]
            return d

        def backward(self, a, z, p, t, share, reg):
            where, n, grads = spec.where, len(p), {}
            d = self.delta(p, t, n) * (1.0 if spec.mistake == "batch-scale" else share)
            for i in reversed(range(self.count)):
                here = spec.mistake if i == where else ""
                w, b = self.layer(i)
                dw, db = a[i].T @ d, d.sum(axis=0)
                match here:
                    case "sign":
                        dw = -dw
                    case "constant-factor":
                        dw = 2 * dw
                    case "bias-mean":
                        db = d.mean(axis=0)
                    case "bias-first":
                        db = d[0]
                    case "wrong-cached-value":
                        dw = z[i - 1].T @ d
                    case "single-entries":
                        dw[:, -1] = 0
                    case "returns-early":
                        dw = np.zeros_like(dw)
                    case "nondeterministic":
                        dw = dw + 1e-3 * np.random.default_rng(self.tick()).standard_normal(dw.shape)
                    case "stale-activations":
                        dw = self.kept.setdefault(dw.shape, dw)
                    case "accumulated-gradients":
                        dw = self.sums[dw.shape] = self.sums.get(dw.shape, 0) + dw
                factor = 0.0 if here == "missing-regularizer" else 2.0
                if spec.mistake == "regularizer-factor":
                    factor = 1.0
                if spec.penalty:
                    dw = dw + factor * spec.penalty * reg * w
                    db = db + (2.0 * spec.penalty * reg * np.ravel(b) if spec.penalize_biases else 0.0)
                grads[f"W{i + 1}"] = np.clip(dw, -0.05, 0.05) if here == "gradient-clipped" else dw
                if spec.biases != "none":
                    grads[f"b{i + 1}"] = np.reshape(db, np.shape(b)) if np.size(db) == np.size(b) else db
                if i:
                    d = self.behind(i, d, w, grads, a, z)
            return {k: v.T if spec.transposed and k[0] == "W" else v for k, v in grads.items()}

        def behind(self, i, d, w, grads, a, z):
            here = spec.mistake if i - 1 == spec.where else ""
            if here == "stale-weights":
                w = w - 0.1 * grads[f"W{i + 1}"]
            d = d @ (self.random[i] if here == "random-feedback" else w.T)
            f = slope(spec, z[i - 1], a[i])
            match here:
                case "derivative-missing":
                    f = 1.0
                case "mask-inverted":
                    f = z[i - 1] < 0
                case "mask-of-gradient":
                    f = d > 0
                case "wrong-argument":
                    f = 1 - z[i - 1] ** 2 if spec.activation == "tanh" else z[i - 1] * (1 - z[i - 1])
                case "wrong-derivative":
                    f = 1 - a[i] if spec.activation == "sigmoid" else a[i]
            return d * f

        ticks = 0

        def tick(self):
            Net.ticks += 1
            return Net.ticks

        def loss(self, X, y=None, reg=0.0):
            return self.forward(X)[1][-1] if y is None else self._loss(X, y, reg)

    if not spec.penalty:

        def loss(self, X, y=None):
            return self.forward(X)[1][-1] if y is None else self._loss(X, y, 0.0)

        Net.loss = loss
    return Net


class Drawn(loss_and_grads.LossAndGrads):
    """Of such a class, at weights `scale` times as large; dead: the first third of b1 is -50."""

    def __init__(self, spec: Spec, scale: float = 1.0, zero_biases: bool = False, dead: bool = False) -> None:
        context = Context({"Net": network(spec)}, options={"sizes": spec.sizes})
        (found,) = loss_and_grads.find(context)
        super().__init__(found.builder, context)
        self.spec, self.scale, self.zero_biases, self.dead = spec, scale, zero_biases, dead

    def points(self, rng):
        points = super().points(rng)
        for point in points:
            for name, a in point.inputs.items():
                if name[0] == "W":
                    a *= self.scale
                elif self.zero_biases:
                    a[:] = 0
                if name == "b1" and self.dead and len(self.sizes) > 2:
                    a[..., : (a.size + 2) // 3] = -50
                a[:] = a.astype(np.float32)
        return points


SCALES = (0.01, 0.1, 1.0, 1.0, 3.0, 10.0, 30.0)


@st.composite
def specs(draw, **fixed):
    """Every option of a right network, drawn."""
    few = st.integers(1, 8)
    of = {
        "sizes": st.lists(few, min_size=2, max_size=5).map(tuple),
        "activation": st.sampled_from(HIDDEN),
        "slope": st.sampled_from([0.01, 0.1, 0.2, 0.3, 0.05]),
        "output": st.sampled_from(sorted(OUTPUTS)),
        "total": st.booleans(),
        "penalty": st.sampled_from([0.0, 0.5, 1.0]),
        "per_example": st.booleans(),
        "penalize_biases": st.booleans(),
        "biases": st.sampled_from(["(D,)", "(D,)", "(1, D)", "none"]),
        "transposed": st.sampled_from([False, False, True]),
        "float32": st.sampled_from(["", "", "", "all", "forward"]),
        "targets": st.sampled_from(["integers", "one-hot"]),
        "guard": st.sampled_from([0.0, 0.0, 1e-5, 1e-8, 1e-10, 1e-12, 1e-16]),
        "real": st.sampled_from([False, False, True]),
    }
    return Spec(**{name: draw(s) for name, s in of.items() if name not in fixed}, **fixed)


@st.composite
def cases(draw, **fixed):
    """(spec, what Drawn takes besides)."""
    how = {
        "scale": draw(st.sampled_from(SCALES)),
        "zero_biases": draw(st.booleans()),
        "dead": draw(st.sampled_from([False, False, True])),
    }
    spec = draw(specs(**fixed))
    if spec.float32:  # it has no digits left where outputs are 0 or 1, nor where weights hardly matter
        how["scale"] = min(max(how["scale"], 1.0), 3.0 if spec.float32 == "all" else 1.0)
    if spec.guard and spec.output == "sigmoid":  # log(1 - p + 1e-8) has no digits left where p is 1
        how["scale"] = min(how["scale"], 1.0)
    if spec.output == "softmax" and spec.sizes[-1] == 1:  # its only one-hot target is 1
        spec = replace(spec, targets="integers")
    return spec, how
