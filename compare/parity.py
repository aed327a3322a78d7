"""The harness: the scratch network against every referee, on the same weights, batch and masks."""

from collections.abc import Callable
from functools import partial

import numpy as np

from compare import branches, tolerance
from compare.case import Case
from compare.noise import Analysis
from compare.numeric_referee import Derivative
from compare.referees import Referees
from compare.structure import gradient_order, stages, value_order
from compare.verdict import Quantity, Target
from scratch.learner import NumpyLearner
from scratch.network import Network, Watched

Array = np.ndarray
DTYPES = ("float64", "float32")
DRAWS = 4  # one, and up to three again where something was left untested
UNDERFLOW = 1e-270  # below it a complex step of 1e-30 leaves nothing of a derivative
LEFT_OUT = 0.1  # of the examples at most, by rounding flips


def check_network(
    target: str, draw: Callable[[int], Case], referees: Referees, dtypes: tuple[str, ...] = DTYPES
) -> list[Target]:
    """Compare one architecture, drawing again (`draw(attempt)`) while a parameter stays untested."""
    for attempt in range(DRAWS):
        results = compare_case(target, draw(attempt), referees, dtypes)
        for result in results:
            result.draws = attempt + 1
        if all(result.verdict != "untested" for result in results):
            break
    return results


def compare_case(
    target: str, case: Case, referees: Referees, dtypes: tuple[str, ...] = DTYPES
) -> list[Target]:
    """Compare the scratch network on one case, in each precision."""
    with np.errstate(all="ignore"):  # what is checked may overflow; the comparison says so
        runs = _Runs(case, referees, dtypes)
        clear, flipped = runs.clear_flips, runs.rounding_flips
        left_out, examples = int(flipped.sum()), len(case.x)
        results = [
            Target(target, dtype, referees.names, dropped=left_out, examples=examples) for dtype in dtypes
        ]
        if left_out > LEFT_OUT * examples:
            for result in results:
                result.reason = f"rounding decided a branch in {left_out} of {examples} examples"
        if 0 < left_out < examples:
            runs = _Runs(case.without(flipped), referees, dtypes)
        for result in results:
            _judge_frameworks(result, runs, clear)
            if "numeric" in referees.names:
                _judge_numerically(result, runs)
            values = [q for q in result.quantities if q.kind == "value"]
            if left_out == examples and all(q.verdict != "disagree" for q in values):
                result.quantities = values  # which do not jump at a flip, as gradients do
            result.quantities.sort(key=_order(case))
            result.tensors = partial(runs.tensors, result.dtype)
            result.passed = runs.scratch[result.dtype]
            if not result.reason and (unexercised := result.unexercised()):
                result.reason = f"nothing to judge in {', '.join(unexercised)}"
    return results


class _Runs:
    """The passes over one case: scratch and the frameworks in each precision, and what rounding may do."""

    def __init__(self, case: Case, referees: Referees, dtypes: tuple[str, ...]) -> None:
        self.case, self.referees = case, referees
        precisions = dict.fromkeys(("float64", *dtypes))  # float64 first: it is the oracle
        self.scratch = {dtype: _scratch(case, dtype) for dtype in precisions}
        self.framework = {
            (name, dtype): referees.watch(name, case, dtype)
            for name in referees.frameworks
            for dtype in precisions
        }
        self.oracle = (
            self.framework[referees.frameworks[0], "float64"]
            if referees.frameworks
            else self.scratch["float64"][1]
        )
        self.noise = self._analyse(propagate=True)
        self.local_noise = self._analyse(propagate=False)
        self.rounding_flips = np.zeros(len(case.x), bool)
        self.clear_flips: dict[tuple[str, str], dict[str, int]] = {}
        watched = [("numpy", dtype, run) for dtype, (_, run) in self.scratch.items()]
        watched += [(name, dtype, run) for (name, dtype), run in self.framework.items()]
        for name, dtype, run in watched:
            if run is not self.oracle:
                out, clear = branches.flips(
                    case.architecture, run, self.oracle, self.noise, tolerance.UNIT[dtype]
                )
                self.rounding_flips |= out
                self.clear_flips[name, dtype] = clear

    def _analyse(self, propagate: bool) -> Analysis:
        case = self.case

        def analyse() -> Analysis:
            with np.errstate(all="ignore"):  # a broken network may overflow; the comparison says so
                return Analysis(case.architecture, case.weights, self.oracle, case.t, case.masks, propagate)

        if not self.referees.frameworks:
            return analyse()  # along scratch's own values, which may change
        return self.referees.once(("noise", propagate, case.key), analyse)

    def tensors(self, dtype: str, quantity: Quantity) -> tuple[Array, Array] | None:
        """(mine, theirs) of a quantity, whole; None where the referee gave directions only."""
        kind = f"{quantity.kind}s"
        run = self.framework.get((quantity.referee, "float64"))
        if run is None or quantity.name not in getattr(run, kind, {}):
            return None
        return getattr(self.scratch[dtype][1], kind)[quantity.name], getattr(run, kind)[quantity.name]

    def reference_error(self, kind: str, name: str) -> float:
        """rms of what the frameworks' own float32 loses on a tensor, the largest of them."""
        oracle = getattr(self.oracle, kind)[name]
        return max(
            (
                tolerance.rms(getattr(run, kind)[name] - oracle)
                for (_, dtype), run in self.framework.items()
                if dtype == "float32"
            ),
            default=0.0,
        )


def _scratch(case: Case, dtype: str) -> tuple[Network, Watched]:
    """The scratch network's pass; in float64 after one over the batch in reverse: nothing may linger."""
    network = case.architecture.network(np.dtype(dtype))
    learner = NumpyLearner(network)
    learner.load(case.weights)
    with np.errstate(all="ignore"):
        if dtype == "float64":
            masks = {name: mask[::-1] for name, mask in case.masks.items()}
            learner.watch(case.x[::-1], case.t[::-1], masks)
        return network, learner.watch(case.x, case.t, case.masks)


def _judge_frameworks(result: Target, runs: _Runs, clear: dict[tuple[str, str], dict[str, int]]) -> None:
    architecture, dtype = runs.case.architecture, result.dtype
    network, mine = runs.scratch[dtype]
    noise, unit = runs.noise, tolerance.UNIT[dtype]
    for referee in runs.referees.frameworks:
        exact = dtype == "float64"
        theirs = runs.framework[referee, "float64"] if exact else runs.oracle
        local = _local(network, runs, theirs) if exact else {}
        result.loss[referee] = tolerance.judge_loss(
            mine.loss,
            theirs.loss if exact else runs.oracle.loss,
            noise.loss * unit,
            dtype,
            0.0 if exact else abs(runs.framework[referee, dtype].loss - runs.oracle.loss),
        )
        for kind, names in (
            ("values", value_order(architecture)),
            ("gradients", gradient_order(architecture)),
        ):
            for name in names:
                reference_error = 0.0 if exact else runs.reference_error(kind, name)
                found = getattr(mine, kind).get(name, np.empty(0))
                judgement = tolerance.judge(
                    found,
                    getattr(theirs, kind)[name],
                    getattr(noise, kind)[name] * unit,
                    dtype,
                    reference_error,
                )
                note = ""
                if kind == "values" and (count := clear.get(("numpy", dtype), {}).get(name)):
                    judgement = _as_disagreement(judgement)
                    note = f"{count} branches differ by more than rounding"
                result.quantities.append(
                    Quantity(name, kind[:-1], referee, judgement, local.get((kind, name)), note)
                )


def _judge_numerically(result: Target, runs: _Runs) -> None:
    _, mine = runs.scratch[result.dtype]
    noise, unit = runs.noise, tolerance.UNIT[result.dtype]
    loss, derivatives = runs.referees.derivatives(runs.case)
    result.loss["numeric"] = tolerance.judge_loss(mine.loss, loss, noise.loss * unit, result.dtype)
    for name in gradient_order(runs.case.architecture):
        rounding = noise.gradients[name] * unit
        nothing = Derivative(whole=np.full(rounding.shape, np.nan))  # scratch's chain lacks this tensor
        found, derivative = mine.gradients.get(name, np.empty(0)), derivatives.get(name, nothing)
        judgement = judge_derivative(found, derivative, rounding, result.dtype)
        result.quantities.append(Quantity(name, "gradient", "numeric", judgement))


def judge_derivative(mine: Array, derivative: Derivative, noise: Array, dtype: str) -> tolerance.Judgement:
    """One gradient against what arithmetic gives for it, entry by entry or along directions."""
    noise = noise + UNDERFLOW
    if derivative.whole is not None:
        return tolerance.judge(mine, derivative.whole, noise, dtype)
    if mine.shape != derivative.directions[0].shape:
        return tolerance.judge(mine, derivative.directions[0], noise, dtype)
    flat = mine.astype(np.float64).ravel()
    along = [float(flat @ direction.ravel()) for direction in derivative.directions]
    return tolerance.judge_directions(along, list(derivative.along), noise, dtype)


def _local(network: Network, runs: _Runs, theirs: Watched) -> dict[tuple[str, str], tolerance.Judgement]:
    """Each scratch layer by itself, fed the reference's own input and cotangent, in float64."""
    noise, out = runs.local_noise, {}

    def record(kind: str, name: str, mine: Array) -> None:
        allowed = getattr(noise, kind)[name] * tolerance.UNIT["float64"]
        if kind == "gradients" and name.endswith(("/W", "/b")) and network.penalty.covers(name):
            mine = mine + network.penalty.gradient(network.params[name])
        out[kind, name] = tolerance.judge(mine, getattr(theirs, kind)[name], allowed, "float64")

    with np.errstate(all="ignore"):
        for number, layer in enumerate(network.layers):
            source = network.input_of(number)
            y, backward = layer.forward(theirs.values[source], runs.case.masks.get(layer.output))
            record("values", layer.output, y)
            if y.shape != theirs.values[layer.output].shape:
                continue
            dx, gradients = backward(theirs.gradients[layer.output])
            record("gradients", source, dx)
            for name, gradient in gradients.items():
                record("gradients", name, gradient)
        logits = theirs.values[network.logits_name]
        record("values", network.probabilities_name, network.probabilities(logits))
        record("gradients", network.logits_name, network.loss_gradient(logits, runs.case.t))
    for stage in stages(runs.case.architecture):  # a second name for one tensor shares its judgement
        pairs = ("values", stage.output, stage.source), ("gradients", stage.source, stage.output)
        for kind, name, known in pairs if stage.op == "same" else ():
            if (kind, known) in out:
                out.setdefault((kind, name), out[kind, known])
    return out


def _as_disagreement(j: tolerance.Judgement) -> tolerance.Judgement:
    return tolerance.Judgement("disagree", j.error, j.allowed, j.max_abs, j.worst_index, j.mine, j.theirs)


def _order(case: Case) -> Callable[[Quantity], tuple[int, int]]:
    places = {
        "value": {name: i for i, name in enumerate(value_order(case.architecture))},
        "gradient": {name: i for i, name in enumerate(gradient_order(case.architecture))},
    }
    return lambda q: (list(places).index(q.kind), places[q.kind][q.name])
