"""Update rules: right forms agree, one mistake is named, and what is no update rule is left alone."""

import types
from pathlib import Path

import numpy as np
import pytest

from compare.adapters import optimizers
from compare.adapters.collect import context_of, evidence_on
from compare.diagnosis.update_fit import Block, Fit, run
from compare.diagnosis.update_rules import RULES, forms
from compare.submission import update_references
from compare.submission.evidence import load, save
from compare.submission.hyperparameters import ROLES
from compare.submission.judge import Checked, judge

EXAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "optimizers.py"
SOURCE = EXAMPLE.read_text()
OTHERS = """
import numpy as np

def adagrad(w, dw, config=None):
    c = {"lr": 0.1, "eps": 1e-8, "cache": np.zeros_like(w)} | (config or {})
    cache = c["cache"] + dw**2
    return w - c["lr"] * dw / (np.sqrt(cache) + c["eps"]), c | {"cache": cache}

def adadelta(w, dw, config=None):
    c = {"lr": 1.0, "rho": 0.95, "eps": 1e-6, "a": np.zeros_like(w), "s": np.zeros_like(w)} | (config or {})
    a = c["rho"] * c["a"] + (1 - c["rho"]) * dw**2
    d = np.sqrt(c["s"] + c["eps"]) / np.sqrt(a + c["eps"]) * dw
    s = c["rho"] * c["s"] + (1 - c["rho"]) * d**2
    return w - c["lr"] * d, c | {"a": a, "s": s}

def nesterov(w, dw, config=None):
    c = {"lr": 0.1, "mu": 0.9, "v": np.zeros_like(w)} | (config or {})
    v = c["mu"] * c["v"] - c["lr"] * dw
    return w + c["mu"] * v - c["lr"] * dw, c | {"v": v}

def adamw(w, dw, config=None):
    c = {"lr": 0.1, "betas": (0.9, 0.999), "eps": 1e-8, "wd": 0.01, "m": 0, "v": 0, "t": 0} | (config or {})
    (b1, b2), t = c["betas"], c["t"] + 1
    m = b1 * c["m"] + (1 - b1) * dw
    v = b2 * c["v"] + (1 - b2) * dw * dw
    w = w * (1 - c["lr"] * c["wd"])
    step = c["lr"] * m / (1 - b1**t) / (np.sqrt(v / (1 - b2**t)) + c["eps"])
    return w - step, c | {"m": m, "v": v, "t": t}

def heavy_ball(x, grad, conf=None):
    conf = dict(conf or {})
    alpha, beta = conf.setdefault("alpha", 0.05), conf.setdefault("beta", 0.8)
    before = conf.get("before", x)
    conf["before"] = x.copy()
    return x - alpha * grad + beta * (x - before), conf
"""


def check(source: str, tmp_path: Path, frameworks=(), wanted=None) -> dict[str, Checked]:
    """The verdicts on everything in a source, with the evidence written and read as it is by the command."""
    file = tmp_path / "student.py"
    file.write_text(source)
    module = types.ModuleType("student")
    module.__file__ = str(file)
    exec(compile(source, str(file), "exec"), module.__dict__)
    out = {}
    for subject in optimizers.find(context_of(module, str(tmp_path), {"object": wanted})):
        save([evidence_on(subject, str(tmp_path))], tmp_path)
        (evidence,) = load(tmp_path)
        out[subject.name] = judge(evidence, frameworks)
    return out


def change(source: str, old: str, new: str) -> str:
    assert source.count(old) == 1, old
    return source.replace(old, new)


@pytest.mark.parametrize("source", [SOURCE, OTHERS], ids=["example", "rules"])
def test_right_rules_agree_with_every_reference(source, tmp_path, referees):
    found = check(source, tmp_path, referees.frameworks)
    assert len(found) == 5
    for name, result in found.items():
        assert result.verdict == "agree", (name, result.diagnosis, result.reason, result.error)
        assert "scratch" in result.referees
    seen = {referee for result in found.values() for referee in result.referees}
    assert {"torch", "keras"} <= seen


STEP = 'w - config["learning_rate"] * dw'
PLACEMENT = "optimizer-learning-rate-placement"
MISTAKES = [
    # function, old, new, cause
    (SOURCE, "adam", ', "t": t}', "}", "optimizer-bias-correction"),
    (SOURCE, "adam", "m / (1 - beta1**t)", "m", "optimizer-bias-correction"),
    (SOURCE, "adam", 'config["t"] + 1', 'config["t"] + 2', "optimizer-bias-correction"),
    (SOURCE, "adam", '"m": m, "v": v,', '"m": v, "v": m,', "swapped-tensors"),
    (SOURCE, "adam", "(1 - beta1) * dw", "dw", "constant-factor"),
    (SOURCE, "adam", '(np.sqrt(v_hat) + config["epsilon"])', "np.sqrt(v_hat)", "overflow"),
    (SOURCE, "sgd", STEP, STEP.replace("-", "+"), "optimizer-sign"),
    (SOURCE, "sgd", STEP, "w - 0.01 * dw", PLACEMENT),
    (SOURCE, "sgd", f"return {STEP}", "return w", "returns-early"),
    (SOURCE, "sgd", STEP, f"({STEP}).ravel()", "wrong-shape"),
    (SOURCE, "sgd", STEP, 'w - config["rate"] * dw', "crash"),
    (SOURCE, "sgd", STEP, STEP.replace("dw", "np.clip(dw, -1, 1)"), "gradient-clipped"),
    (SOURCE, "sgd_momentum", 'config | {"velocity": v}', "config", "stale-activations"),
    (SOURCE, "sgd_momentum", "return w + v, ", "w += v\n    return w, ", "mutates-input"),
    (SOURCE, "sgd_momentum", "return w + v, ", "dw *= 2\n    return w + v, ", "mutates-input"),
    (SOURCE, "sgd_momentum", 'w + v, config | {"velocity": v}', 'config | {"velocity": v}, w + v',
     "swapped-tensors"),
    (SOURCE, "sgd_momentum", 'v = config["momentum"] * config["velocity"] - config["learning_rate"] * dw',
     'v = config["learning_rate"] * (config["momentum"] * config["velocity"] - dw)',
     PLACEMENT),
    (SOURCE, "rmsprop", "(1 - rho) * dw**2", "dw**2", "constant-factor"),
    (SOURCE, "sgd_step", " + lam * w", "", "weight-decay-ignored"),
    (SOURCE, "sgd_step", " + lam * w", ' + lam * w * (key == "W")', "weight-decay-ignored"),
    (SOURCE, "sgd_step", "step = -lr * (module.gradient[key] + lam * w)",
     "module.gradient[key] += lam * w\n            step = -lr * module.gradient[key]", "mutates-input"),
    (SOURCE, "sgd_step", "            w += step", "            w = w + step", "returns-early"),
    (SOURCE, "sgd_step", "                momentum[name, key] = step\n", "", "stale-activations"),
    (OTHERS, "nesterov", '* v - c["lr"] * dw, c', '* v + c["lr"] * dw, c', "optimizer-sign"),
    (OTHERS, "adamw", '    w = w * (1 - c["lr"] * c["wd"])\n', "", "weight-decay-ignored"),
    (OTHERS, "adagrad", 'c["cache"] + dw**2', "dw**2", "stale-activations"),
    (OTHERS, "adadelta", "* d**2", "* dw**2", "wrong-cached-value"),
    (OTHERS, "heavy_ball", 'conf["before"] = x.copy()', 'conf.setdefault("before", x)', "stale-weights"),
    (OTHERS, "heavy_ball", "beta * (x - before)", "alpha * beta * (x - before)", PLACEMENT),
]  # fmt: skip


@pytest.mark.parametrize("source, name, old, new, cause", MISTAKES)
def test_one_mistake_is_named_and_nothing_else_is_blamed(source, name, old, new, cause, tmp_path):
    found = check(change(source, old, new), tmp_path)
    assert {n for n, r in found.items() if r.verdict != "agree"} == {name}
    result = found[name]
    assert result.verdict == "disagree"
    assert (result.diagnosis[0].cause, result.diagnosis[0].tensor) == (cause, f"{name}/w")
    if cause != "wrong-shape":
        assert result.sources[f"{name}/w"].line > 0


def test_a_part_that_is_wrong_is_named(tmp_path):
    found = check(change(SOURCE, " + lam * w", ' + lam * w * (key == "W")'), tmp_path)
    assert "b of every module" in found["sgd_step"].diagnosis[0].text


def test_what_no_mistake_explains_is_located(tmp_path):
    wrong = change(SOURCE, 'w - config["learning_rate"] * dw', 'w - config["learning_rate"] * np.tanh(dw)')
    (finding,) = check(wrong, tmp_path)["sgd"].diagnosis
    assert finding.cause == "unexplained"
    assert "after step 1, at (" in finding.text


def test_single_entries_are_listed(tmp_path):
    wrong = change(SOURCE, "return w + v, ", "v.flat[-1] = 0\n    return w + v, ")
    (finding,) = check(wrong, tmp_path)["sgd_momentum"].diagnosis
    assert finding.cause == "single-entries"
    assert "left alone" in finding.text and "(3, 2)" in finding.text


FORMS = [
    ("np.sqrt(cache) + config[\"epsilon\"]", "np.sqrt(cache + config[\"epsilon\"])",
     "rmsprop", "inside the root"),
    ("m_hat / (np.sqrt(v_hat) + config[\"epsilon\"])",
     "np.sqrt(1 - beta2**t) * m_hat / (np.sqrt(v) + config[\"epsilon\"])", "adam", "epsilon hat"),
    ("config[\"momentum\"] * config[\"velocity\"] - config[\"learning_rate\"] * dw",
     "-(config[\"learning_rate\"] * dw - config[\"momentum\"] * config[\"velocity\"])", "sgd_momentum", ""),
]  # fmt: skip


@pytest.mark.parametrize("old, new, name, said", FORMS)
def test_other_right_forms_are_conventions(old, new, name, said, tmp_path):
    result = check(change(SOURCE, old, new), tmp_path)[name]
    assert result.verdict == ("agree-up-to-convention" if said else "agree")
    assert said in " ".join(result.conventions)


OUTSIDE = '''
import numpy as np
def momentum(w, dw, config=None):
    """{doc}"""
    c = {{"lr": 0.1, "mu": 0.9, "v": np.zeros_like(w)}} | (config or {{}})
    v = c["mu"] * c["v"] + {weight}dw
    return w - c["lr"] * v, c | {{"v": v}}
'''


def test_rate_outside_the_velocity_is_a_convention_unless_the_docstring_has_it_inside(tmp_path):
    plain = check(OUTSIDE.format(doc="Momentum.", weight=""), tmp_path)["momentum"]
    assert plain.verdict == "agree-up-to-convention" and "outside" in plain.conventions[0]
    said = check(OUTSIDE.format(doc="v = mu v - lr dw, w + v", weight=""), tmp_path)["momentum"]
    assert said.diagnosis[0].cause == "optimizer-learning-rate-placement"
    same = check(OUTSIDE.format(doc="v = mu v + dw, w - lr v", weight=""), tmp_path)["momentum"]
    assert same.verdict == "agree-up-to-convention"
    mean = check(OUTSIDE.format(doc="", weight='(1 - c["mu"]) * '), tmp_path)["momentum"]
    assert mean.verdict == "agree-up-to-convention" and "running mean" in mean.conventions[0]


def test_float32_inside_is_judged_at_that_precision(tmp_path):
    single = SOURCE.replace("return w - step, config | {", "return np.float32(w - step), config | {")
    result = check(single, tmp_path)["adam"]
    assert result.verdict == "agree-up-to-convention" and "float32" in result.conventions[0]
    wrong = check(change(single, "m / (1 - beta1**t)", "m"), tmp_path)["adam"]
    assert wrong.diagnosis[0].cause == "optimizer-bias-correction"


LEAKS = [
    ("config=None):\n", "config={}):\n", 'config = config if config is not None else {}'),
    ("config=None):\n", "config=None):\n", "config = config if config is not None else STORE"),
]  # fmt: skip


@pytest.mark.parametrize("head, leaky, line", LEAKS)
def test_memory_that_leaks_into_a_second_start_is_named(head, leaky, line, tmp_path):
    source = f"""
import numpy as np
STORE = {{}}
def momentum(w, dw, {leaky}    {line}
    config.setdefault("lr", 0.1); config.setdefault("mu", 0.9)
    config["v"] = config["mu"] * config.get("v", 0) - config["lr"] * dw
    return w + config["v"], config
"""
    (finding,) = check(source, tmp_path)["momentum"].diagnosis
    assert finding.cause == "accumulated-gradients"


def test_randomness_is_named(tmp_path):
    noisy = change(
        SOURCE, '["learning_rate"] * dw, config\n', '["learning_rate"] * dw * np.random.rand(), config\n'
    )
    assert check(noisy, tmp_path)["sgd"].diagnosis[0].cause == "nondeterministic"


def test_rules_that_all_change_w_in_place_get_a_note(tmp_path):
    source = """
def sgd(w, dw, config=None):
    config = config or {"lr": 0.1}
    w -= config["lr"] * dw
    return w, config
"""
    result = check(source, tmp_path)["sgd"]
    assert result.verdict == "agree" and "in place" in result.notes[0]


CALLS = {
    "one by one": """
def momentum(w, dw, v, lr=0.1, mu=0.9):
    v = mu * v - lr * dw
    return w + v, v
""",
    "attributes": """
def sgd(w, dw, config):
    return w - config.lr * dw, config
""",
    "hard-coded": """
def momentum(w, dw, c=None):
    c = c or {}
    c["v"] = 0.8 * c.get("v", 0) - c.get("lr", 0.1) * dw
    return w + c["v"], c
""",
    "memory required": """
def momentum(w, g, state):
    state["v"] = state["mu"] * state["v"] - state["lr"] * g
    return w + state["v"], state
""",
    "an odd name of the rate": """
def sgd(w, dw, cfg=None):
    cfg = cfg or {}
    cfg.setdefault("how_far", 0.1)
    return w - cfg["how_far"] * dw, cfg
""",
    "another name": """
def update(theta, g, state):
    state["v"] = state["mu"] * state.get("v", 0) - state["lr"] * g
    return theta + state["v"], state
""",
    "another order": """
def step(layers, velocity, lr, mu=0.9, wd=0.0):
    for i, l in enumerate(layers):
        for k in l.params:
            velocity[i, k] = mu * velocity.get((i, k), 0) - lr * (l.grads[k] + wd * l.params[k])
            l.params[k] = l.params[k] + velocity[i, k]
""",
    "prepared memory": """
def step(model, momentum, lam, alpha, lr):
    for n, m in model.items():
        for k in m.params:
            momentum[n][k] = alpha * momentum[n][k] - lr * (m.gradient[k] + lam * m.params[k])
            m.params[k] += momentum[n][k]
""",
    "one module": """
def sgd_step(net, reg, eta):
    for k in net.params:
        net.params[k] -= eta * (net.grads[k] + reg * net.params[k])
""",
}


@pytest.mark.parametrize("source", CALLS.values(), ids=CALLS)
def test_other_ways_to_be_called(source, tmp_path):
    (result,) = check(source, tmp_path).values()
    assert result.verdict == "agree", (result.diagnosis, result.error, result.conventions)
    for step in ("- lr", "- c", '- state["lr"]', "-= eta"):
        source = source.replace(step, step.replace("-", "+"))
    (wrong,) = check(source, tmp_path).values()
    assert wrong.diagnosis[0].cause == "optimizer-sign"


NEAR_MISSES = """
import numpy as np
def affine_backward(dout, cache): return dout, cache
def sgd(X, y, config=None): return X, {}
def train(model, X, y, lr): return model
def evaluate(model, lr): return 0.0
def loss(w, dw): return 0.0
def grad_check(f, grad_f, x): return x
def unpack(w, dw, config): return config, dw, w
def gradient_step(f, dw): return dw
def add_momentum(model): return {}
def _helper(w, dw, config=None): return w - 0.1 * dw, {}
def f(x, dx, h=1e-5): return x
def sgd_history(w): return w
class Adam:
    def update(self, w, dw): return w
"""


def test_what_is_no_update_rule_is_left_alone(tmp_path):
    assert check(NEAR_MISSES, tmp_path) == {}


@pytest.mark.parametrize("name", ["nadam", "amsgrad", "lion", "adamax"])
def test_a_rule_that_is_not_known_is_untested(name, tmp_path):
    source = f"def {name}(w, dw, config=None):\n    return w - 0.1 * dw / (1 + abs(dw)), config or {{}}"
    result = check(source, tmp_path)[name]
    assert result.verdict == "untested" and "does not know" in result.reason


def test_a_function_whose_name_tells_nothing_is_not_blamed_for_being_unusual(tmp_path):
    source = "def step(w, dw, config):\n    return w - config['lr'] * dw / (1 + abs(dw)), config"
    result = check(source, tmp_path)["step"]
    assert result.verdict == "untested" and "name it after" in result.reason


def test_what_cannot_be_called_is_said_in_a_sentence(tmp_path):
    source = "def sgd(w, dw, config):\n    return w - config['lr'] * dw * config['zeta'], config"
    result = check(source, tmp_path)["sgd"]
    assert result.verdict == "error" and "'zeta'" in result.error
    source = "def step(model, lam, lr):\n    for m in model.values():\n        m.weights -= lr * m.slopes"
    result = check(source, tmp_path)["step"]
    assert result.verdict == "error" and "each with dicts `params` and `gradient`" in result.error
    source = "def sgd(w, dw, config=None):\n    return 'done'"
    assert "must return (next_w, config)" in check(source, tmp_path)["sgd"].error


NUMBERS = {"momentum": 0.875, "rho": 0.8125, "beta_1": 0.75, "beta_2": 0.9375, "epsilon": 0.0625}


@pytest.mark.parametrize("rule", RULES)
def test_scratch_and_frameworks_confirm_every_form_that_they_have(rule, referees):
    rng = np.random.default_rng(3)
    gradients = rng.normal(size=(6, 3, 2))
    rates = np.array([0.5] * 3 + [0.1875] * 3)
    h = {name: NUMBERS[name] for name in ROLES[rule] if name in NUMBERS} | {"weight_decay": 0.125}
    seen = set()
    for form in forms(rule, starts=(0.125,)):
        block = Block("", "", rng.normal(size=(3, 2)), gradients, rates, gradients, {})
        path = run(RULES[rule], form, h, block)
        found = update_references.paths(Fit(form, RULES[rule], [h], [path], []), [block], referees.frameworks)
        assert bool(found) == (update_references.dialect_of(form) is not None)
        seen |= found.keys()  # `paths` raises where one of them differs
    assert seen == {"scratch", "torch", "keras"}
