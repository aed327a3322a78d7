"""The document of a check: its keys, what JSON can hold, and which divergence comes first."""

import json
import math

import numpy as np
import pytest

from compare import check
from compare.tolerance import judge, judge_loss
from compare.verdict import Quantity, Target, document, overall

GOOD = judge(np.ones(3), np.ones(3), 0.0, "float64")
BAD = judge(np.ones(3), np.array([1.0, 3.0, 1.0]), 0.0, "float64")
SILENT = judge(np.zeros(3), np.zeros(3), 0.0, "float64")
NAN = judge(np.array([1.0, np.nan]), np.ones(2), 0.0, "float64")
SHAPE = judge(np.ones(3), np.ones(2), 0.0, "float64")
JUDGEMENTS = {"agree": GOOD, "disagree": BAD, "untested": SILENT}

TARGET_KEYS = {"target", "dtype", "referees", "verdict", "loss", "quantities", "first_divergence"}
QUANTITY_KEYS = {
    *("name", "kind", "referee", "verdict", "error", "allowed"),
    *("max_abs", "worst_index", "mine", "theirs"),
}


def target(*rows, loss=(), reason="", name="mlp"):
    """rows: (name, kind, referee, judgement)."""
    losses = {referee: judge_loss(*pair, 0.0, "float64") for referee, pair in dict(loss).items()}
    return Target(
        name, "float64", ("torch", "keras"), losses, [Quantity(*row) for row in rows], reason=reason
    )


def test_document_has_the_promised_keys():
    found = document(
        [target(("fc1/W", "gradient", "torch", BAD), loss={"torch": (1.0, 1.0), "keras": (1.0, 1.0)})], ()
    )
    assert found["schema"] == "gradparity/check/1" and found["verdict"] == "disagree"
    (only,) = found["targets"]
    assert only.keys() >= TARGET_KEYS
    assert (only["target"], only["dtype"], only["referees"]) == ("mlp", "float64", ["torch", "keras"])
    assert only["loss"] == {"mine": 1.0, "theirs": {"torch": 1.0, "keras": 1.0}, "verdict": "agree"}
    (row,) = only["quantities"]
    assert row.keys() == QUANTITY_KEYS
    assert row == only["first_divergence"]
    assert (row["name"], row["kind"], row["referee"]) == ("fc1/W", "gradient", "torch")
    assert (row["error"], row["worst_index"], row["mine"], row["theirs"]) == (2.0, [1], 1.0, 3.0)


def test_a_real_check_writes_it_too(referees):
    options = check.Options(targets=("ops",), dtypes=("float64",))
    found = json.loads(json.dumps(document(check.check(options, referees), ("jax",)), allow_nan=False))
    assert found["verdict"] == "agree" and found["not_checked"] == ["jax"]
    assert found["referees"] == ["keras", "numeric", "torch"]
    assert all(row.keys() >= QUANTITY_KEYS for row in found["targets"][0]["quantities"])
    assert {row["kind"] for row in found["targets"][0]["quantities"]} == {"value", "gradient"}
    assert found["targets"][0]["first_divergence"] is None


@pytest.mark.parametrize("judgement", [NAN, SHAPE, BAD, SILENT], ids=["nan", "shape", "bad", "silent"])
@pytest.mark.parametrize("local", [None, NAN, GOOD], ids=["alone", "nan", "good"])
def test_json_holds_every_judgement(judgement, local):
    row = Quantity("fc1/W", "gradient", "torch", judgement, local)
    made = Target("mlp", "float64", ("torch",), {"torch": judge_loss(math.nan, 1.0, 0.0, "float64")}, [row])
    found = json.loads(json.dumps(document([made], (), seed=3), allow_nan=False))
    assert found["seed"] == 3
    assert found["targets"][0]["loss"]["mine"] is None
    assert found["targets"][0]["quantities"][0]["verdict"] == judgement.verdict
    assert ("local_verdict" in found["targets"][0]["quantities"][0]) == (local is not None)


def test_json_has_null_for_what_is_not_finite():
    row = Quantity("fc1/W", "gradient", "torch", NAN).document()
    assert (row["error"], row["mine"], row["theirs"], row["worst_index"]) == (None, None, 1.0, [1])
    row = Quantity("fc1/W", "gradient", "torch", SHAPE).document()
    assert (row["error"], row["worst_index"], row["mine"], row["theirs"]) == (None, None, None, None)


@pytest.mark.parametrize(
    ("verdicts", "loss", "expected"),
    [
        (["agree", "agree"], (1.0, 1.0), "agree"),
        (["agree", "untested"], (1.0, 1.0), "agree"),
        (["untested", "untested"], None, "untested"),
        ([], None, "untested"),
        (["agree", "disagree"], (1.0, 1.0), "disagree"),
        (["agree"], (1.0, 2.0), "disagree"),
        (["agree"], (math.nan, math.nan), "disagree"),
    ],
)
def test_verdict_of_a_target(verdicts, loss, expected):
    rows = [(f"fc{i}/x", "value", "torch", JUDGEMENTS[v]) for i, v in enumerate(verdicts)]
    assert target(*rows, loss={"torch": loss} if loss else {}).verdict == expected


@pytest.mark.parametrize(("verdict", "expected"), [("agree", "untested"), ("disagree", "disagree")])
def test_a_reason_makes_agreement_untested_and_excuses_nothing(verdict, expected):
    row = ("fc1/x", "value", "torch", JUDGEMENTS[verdict])
    assert target(row, reason="too little").verdict == expected


@pytest.mark.parametrize(
    ("verdicts", "expected"),
    [
        ([], "untested"),
        (["agree", "agree"], "agree"),
        (["agree", "untested"], "untested"),
        (["untested", "disagree", "agree"], "disagree"),
    ],
)
def test_overall(verdicts, expected):
    targets = [target(("fc1/x", "value", "torch", JUDGEMENTS[v])) for v in verdicts]
    assert overall(targets) == expected


def test_values_come_before_gradients_before_updates():
    rows = [
        ("a", "update", "torch", BAD),
        ("b", "gradient", "torch", BAD),
        ("c", "value", "torch", GOOD),
        ("d", "value", "torch", BAD),
        ("e", "value", "torch", BAD),
    ]
    assert target(*rows).first_divergence.name == "d"
    assert target(*rows[:3]).first_divergence.name == "b"
    assert target(rows[0], rows[2]).first_divergence.name == "a"
    assert target(rows[2]).first_divergence is None


def test_the_first_tensor_counts_whichever_referee_names_it():
    rows = [
        ("a", "gradient", "torch", GOOD),
        ("b", "gradient", "torch", BAD),
        ("a", "gradient", "keras", BAD),
    ]
    first = target(*rows).first_divergence
    assert (first.name, first.referee) == ("a", "keras")


def test_untested_is_no_divergence():
    assert target(("a", "value", "torch", SILENT)).first_divergence is None


@pytest.mark.parametrize(
    ("judgement", "local", "inherited"),
    [(BAD, GOOD, True), (BAD, SILENT, True), (BAD, BAD, False), (BAD, None, False), (GOOD, GOOD, False)],
)
def test_inherited(judgement, local, inherited):
    assert Quantity("a", "value", "torch", judgement, local).inherited == inherited


def test_seen_by_one_referee():
    whole = target(
        ("a", "value", "torch", BAD),
        ("a", "value", "keras", GOOD),
        loss={"torch": (1.0, 1.0), "keras": (1.0, 1.0)},
    )
    assert whole.verdict == whole.seen_by("torch").verdict == "disagree"
    assert whole.seen_by("keras").verdict == "agree"
    assert whole.seen_by("keras").loss.keys() == {"keras"}
    assert whole.seen_by("numeric").verdict == "untested"


@pytest.mark.parametrize("referee", ["torch", "keras"])
def test_a_wrong_loss_is_seen_by_its_referee_alone(referee):
    losses = {"torch": (1.0, 1.0), "keras": (1.0, 1.0)} | {referee: (1.0, 2.0)}
    whole = target(("a", "value", "torch", GOOD), ("a", "value", "keras", GOOD), loss=losses)
    assert [r for r in ("torch", "keras") if whole.seen_by(r).verdict == "disagree"] == [referee]


def test_unexercised_names_parameters_that_nobody_could_judge():
    rows = [
        ("fc1/W", "gradient", "torch", SILENT),
        ("fc1/W", "gradient", "keras", GOOD),
        ("fc1/b", "gradient", "torch", SILENT),
        ("fc1/b", "gradient", "keras", SILENT),
        ("fc1/input", "gradient", "torch", SILENT),
        ("fc2/W", "value", "torch", SILENT),
    ]
    assert target(*rows).unexercised() == ["fc1/b"]
    assert target(("relu/z", "gradient", "torch", SILENT), name="ops").unexercised() == ["relu/z"]


def test_merging_parts_keeps_one_target_each():
    values = target(("a", "value", "torch", GOOD))
    steps = target(("a", "update", "torch", BAD))
    other = target(("a", "value", "torch", GOOD), name="dcn")
    found = check.merge([[values], [other], [steps]])
    assert [t.target for t in found] == ["mlp", "dcn"]
    assert [q.kind for q in found[0].quantities] == ["value", "update"]
    assert found[0].first_divergence.kind == "update"
