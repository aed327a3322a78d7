"""What the references say the gradients of a recognised single operation are: scratch, PyTorch and Keras."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from compare.diagnosis.operation import Op, forward, of
from compare.submission.evidence import Evidence, Trial
from scratch import ops

Array = np.ndarray
Right = dict[tuple[str, str], Array]
Evaluate = Callable[[str, dict[str, Array], dict[str, Any], Array], tuple[Array, dict[str, Array]]]
POINTWISE = {"relu": "relu", "tanh": "tanh", "sigmoid": "sigmoid", "leaky_relu": "leaky_relu"}
SAME = 1e-9


def gradients(evidence: Evidence, frameworks: Sequence[str]) -> dict[str, Right]:
    """By referee, for the trials in which the user's forward is what its name says."""
    found: dict[str, Right] = {}
    for trial in evidence.trials:
        if not is_what_it_says(evidence, trial):
            continue
        for name, evaluate in {"scratch": scratch, **{f: _evaluator(f) for f in frameworks}}.items():
            for tensor, g in _evaluate(of(evidence, trial), evaluate).items():
                found.setdefault(name, {})[trial.label, tensor] = g
    return found


def right(evidence: Evidence, trial: Trial) -> dict[str, Array]:
    """What scratch says the gradients of the operation of this name are, whatever the user's forward is."""
    return _evaluate(of(evidence, trial), scratch)


def is_what_it_says(evidence: Evidence, trial: Trial) -> bool:
    """Whether the user's forward gives what the operation of this name gives."""
    o = of(evidence, trial)
    if o.op == "softmax_loss":
        means, _ = _softmax_losses(o)
        return trial.loss is not None and bool(np.isclose(trial.loss, means, rtol=SAME, atol=0).any())
    right = forward(o)
    if right is None or trial.output is None:
        return False
    y = np.asarray(trial.output, np.float64)
    y = y.transpose(0, 3, 1, 2) if o.layout == "nhwc" else y.T if o.layout.startswith("columns") else y
    within = 2e-5 if evidence.facts.get("float32") else SAME
    return y.shape == right.shape and bool(np.allclose(y, right, rtol=within, atol=within))


def _softmax_losses(o: Op) -> tuple[Array, Array]:
    """(mean, sum) over the examples of the cross-entropy, and the same as factors of the mean."""
    t = np.asarray(o.options["t"], int)
    mean = float(ops.softmax_cross_entropy(o.x, t)[0])
    return np.array([mean, mean * len(t)]), np.array([1.0, float(len(t))])


def _evaluate(o: Op, evaluate: Evaluate) -> dict[str, Array]:
    """Gradients by the user's names, with the operation that frameworks/*/ops.py have for it."""
    match o.op:
        case "affine":
            b = o.arrays.get("b", np.zeros(o.w.shape[1]))
            x = o.x.reshape(len(o.x), -1)
            _, g = evaluate("dense", {"x": x, "w": o.w, "b": b}, {}, o.dy)
            return o.users(**g)
        case "conv":
            pad = o.options["pad"]
            x = np.pad(o.x.transpose(0, 2, 3, 1), [(0, 0), (pad, pad), (pad, pad), (0, 0)])
            _, height, width, _ = np.shape(x)
            b = o.arrays.get("b", np.zeros(len(o.w)))
            arrays = {"x": x, "w": o.w.transpose(2, 3, 1, 0), "b": b}
            options = {"stride": o.options["stride"], "padding": "VALID"}
            _, g = evaluate("conv2d", arrays, options, o.dy.transpose(0, 2, 3, 1))
            dx: Any = g["x"]
            dx = dx[:, pad : height - pad, pad : width - pad]
            return o.users(x=dx.transpose(0, 3, 1, 2), w=g["w"].transpose(3, 2, 0, 1), b=g["b"])
        case "max_pool":
            options = {"size": o.options["size"], "stride": o.options["stride"]}
            arrays = {"x": o.x.transpose(0, 2, 3, 1)}
            _, g = evaluate("max_pool2d", arrays, options, o.dy.transpose(0, 2, 3, 1))
            return o.users(x=g["x"].transpose(0, 3, 1, 2))
        case "softmax_loss":
            losses, factors = _softmax_losses(o)
            factor = float(factors[np.abs(losses - o.trial.loss).argmin()])
            t = np.asarray(o.options["t"], np.int64)
            _, g = evaluate("softmax_cross_entropy", {"z": o.x}, {"t": t}, np.array(factor))
            return o.users(x=g["z"])
        case op if op in POINTWISE:
            options = {"slope": o.options["slope"]} if "slope" in o.options else {}
            _, g = evaluate(POINTWISE[op], {"z": o.x}, options, o.dy)
            return o.users(x=g["z"])
    return {}


def scratch(
    op: str, arrays: dict[str, Array], options: dict[str, Any], cotangent: Array
) -> tuple[Array, dict[str, Array]]:
    """The same from scratch.ops."""
    y, backward = getattr(ops, op)(**arrays, **options)
    return y, dict(zip(arrays, backward(cotangent), strict=True))


def _evaluator(framework: str) -> Evaluate:
    if framework == "torch":
        from frameworks.pytorch.ops import evaluate
    else:
        from frameworks.keras_tf.ops import evaluate
    return evaluate
