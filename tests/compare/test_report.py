"""What people read: the verdict, the worst tensors, what differs first and who says so."""

import io
import math

import pytest
from rich.console import Console

from compare import report
from compare.check import Options, check
from compare.referees import Referees
from compare.tolerance import Judgement
from compare.verdict import Quantity, Target
from scratch import ops

AGREE = Judgement("agree", 1e-15, 1e-12, 2.0, (3, 4), 0.5, 0.5)
WRONG = Judgement("disagree", 0.33, 1.2e-12, 2.0, (3, 4), 0.123, 0.456)
TINY = Judgement("untested", 0.0, 1e-12, 0.0, (0, 0), 0.0, 0.0)
NAN = Judgement("disagree", math.inf, 0.0, 2.0, (1,), math.nan, 0.5)
SHAPE = Judgement("disagree", math.inf, 0.0, 2.0, None, math.nan, math.nan)


def target(*quantities, referees=("torch", "keras", "numeric"), dtype="float64", name="mlp", **facts):
    return Target(name, dtype, referees, quantities=list(quantities), **facts)


def gradient(name, judgement, referee="torch", local=None):
    return Quantity(name, "gradient", referee, judgement, local)


def shown(*targets, width=100, verbose=False, not_checked=(), details=None, terminal=False):
    file = io.StringIO()
    colours = "standard" if terminal else "auto"
    console = Console(file=file, width=width, force_terminal=terminal, color_system=colours, no_color=False)
    report.show(list(targets), not_checked, details or {}, verbose, console)
    return file.getvalue()


def row(text, *words):
    """The table's line that begins with these words."""
    return next(line for line in text.splitlines() if line.split()[: len(words)] == list(words))


def test_last_line_is_the_verdict_with_referees_and_the_worst_ratio():
    near = Judgement("agree", 3.1e-8, 1e-7, 2.0, (0,), 0.5, 0.5)
    text = shown(
        target(gradient("fc1/W", Judgement("agree", 1e-6, 1e-3, 2.0, (0,), 0.5, 0.5))),  # larger, yet far
        target(gradient("fc1/W", near, "keras"), dtype="float32"),
        not_checked=("torch", "keras"),
        width=60,
    )
    *_, missing, last = text.rstrip("\n").split("\n")
    assert last == (
        "agree: mlp in float64 and float32, judged by torch, keras and numeric; "
        "worst error/allowed 0.31 (mlp float32 fc1/W gradient, keras)"
    )
    assert missing == "not checked: torch and keras (not installed; pip install 'gradparity[torch,keras]')"


def test_the_verdict_line_tells_which_targets_do_not_agree():
    line = report.verdict_line(
        [
            target(gradient("fc1/W", WRONG)),
            target(gradient("fc1/W", AGREE), dtype="float32"),
            target(gradient("relu/z", AGREE), name="ops"),
            target(gradient("conv1/b", TINY), name="dcn"),
        ]
    )
    assert line.startswith("disagree: mlp in float64; untested: dcn in float64; ")
    assert "; agree: mlp float32 and ops float64; judged by torch, keras and numeric; worst" in line
    assert report.verdict_line([]) == "untested: nothing was checked"


def test_headline_counts_examples_left_out_and_draws():
    assert report.headline(target(gradient("fc1/W", AGREE), examples=12, dropped=1, draws=2)) == (
        "mlp  float64  agree  "
        "(torch, keras, numeric; 12 examples, 1 left out: rounding decided a branch; drawn 2 times)"
    )
    assert report.headline(target(gradient("fc1/W", AGREE), examples=12)).endswith("numeric; 12 examples)")


def test_one_row_per_layer_and_kind_shows_the_worst_tensor():
    worse = Judgement("agree", 5e-13, 1e-12, 2.0, (0,), 0.5, 0.5)
    text = shown(
        target(
            Quantity("fc2/net_input", "value", "torch", AGREE),
            gradient("fc2/W", AGREE),
            gradient("fc2/b", worse, "keras"),
            gradient("fc2/input", TINY, "numeric"),
        )
    )
    assert row(text, "fc2", "net_input").split()[2:4] == ["value", "torch"]
    assert row(text, "fc2", "b").split() == [
        "fc2",
        "b",
        "gradient",
        "keras",
        "5.0e-13",
        "1.0e-12",
        "0.5",
        "agree",
    ]
    assert not any(line.startswith(("fc2 W", "fc2 input")) for line in text.splitlines())


def test_a_layer_wrong_by_itself_is_shown_before_a_larger_inherited_error():
    larger = Judgement("disagree", 9.0, 1e-12, 2.0, (0, 0), 9.0, 0.0)
    text = shown(target(gradient("fc2/W", larger, local=AGREE), gradient("fc2/b", WRONG, local=WRONG)))
    assert row(text, "fc2", "b").endswith("disagree ")


def test_updates_have_one_row_per_rule_and_operations_one_per_operation():
    def update(tensor, ratio, note):
        judgement = Judgement("agree", ratio, 1.0, 2.0, (0,), 0.5, 0.5)
        return Quantity(tensor, "update", "torch", judgement, note=note)

    text = shown(
        target(
            update("fc1/W", 0.1, "adam, step 1"),
            update("fc1/W/mean", 0.2, "adam, step 3"),
            update("fc1/b", 0.3, "adam+decay, step 2"),
        ),
        target(gradient("dense plain/w", AGREE), gradient("dense square/x", WRONG), name="ops"),
    )
    assert row(text, "adam", "fc1/W/mean", "update")
    assert row(text, "adam+decay", "fc1/b", "update")
    assert not any(line.startswith("adam fc1/W ") for line in text.splitlines())
    assert row(text, "dense", "square/x", "gradient")


def test_untested_is_counted_and_named_where_few():
    few = shown(target(gradient("fc1/W", AGREE), gradient("conv1/input", TINY)))
    assert "1 untested, too small against rounding to show a fault: conv1/input gradient (torch)" in few
    many = target(gradient("fc1/W", AGREE), *[gradient(f"fc{i}/b", TINY) for i in range(9)])
    assert "9 untested" in shown(many) and "fc7/b gradient" not in shown(many)
    assert "fc7/b gradient (torch)" in shown(many, verbose=True)
    assert "untested" not in shown(target(gradient("fc1/W", AGREE)))
    reason = "nothing to judge in conv1/b"
    assert f"untested: {reason}" in shown(target(gradient("conv1/b", TINY), reason=reason))


def test_loss_line_shows_every_referee_with_digits_that_differ():
    off = Judgement("disagree", 1e-9, 1e-13, 2.0, (), 2.302585094, 2.302585093)
    fits = Judgement("agree", 0.0, 1e-13, 2.0, (), 2.302585094, 2.302585094)
    found = target(gradient("fc1/W", AGREE), loss={"torch": off, "numeric": fits})
    assert report.loss_line(found) == (
        "loss in nats per example: mine 2.302585094; torch 2.302585093 disagree; numeric 2.302585094 agree"
    )
    assert report.divergence(found) == ["No tensor disagrees, but the loss does, against torch."]


@pytest.mark.parametrize(
    ("mine", "theirs", "text"),
    [
        (0.12345678, 0.1236, ("0.1235", "0.1236")),  # one digit more than tells them apart
        (1.0, 1.0 + 2**-52, ("1", "1.0000000000000002")),
        (1.0, 1.0, ("1", "1")),
        (math.nan, 0.123456, ("nan", "0.1235")),
    ],
)
def test_values_that_disagree_are_written_so_that_they_differ(mine, theirs, text):
    assert report.pair(Judgement("disagree", 1.0, 0.0, 1.0, (0,), mine, theirs)) == text


def test_first_divergence_inherited_tensors_and_witnesses():
    said = report.divergence(
        target(
            *[gradient("fc2/W", WRONG, name, WRONG) for name in ("torch", "keras")],
            gradient("fc2/W", WRONG, "numeric"),
            gradient("fc1/W", WRONG, local=AGREE),
            gradient("fc1/b", WRONG, local=AGREE),
            gradient("fc1/b", WRONG, "numeric"),
        )
    )
    assert said == [
        "First divergence: fc2/W gradient, against torch: mine 0.123 at (3, 4), theirs 0.456; "
        "error 3.3e-01, allowed 1.2e-12.",
        "The layer itself is wrong: fed torch's own input and cotangent, it still disagrees.",
        "Behind it 2 further tensors disagree, all inherited: the layers agree when fed torch's own input "
        "and cotangent.",
        "torch, keras and numeric say the same.",
    ]


def test_what_is_behind_is_told_apart():
    found = [gradient("fc2/W", WRONG, local=WRONG)]
    assert "Nothing else disagrees." in report.divergence(target(*found))
    found += [
        gradient("fc2/input", WRONG, local=AGREE),
        gradient("fc1/W", WRONG, local=WRONG),
        gradient("fc1/b", WRONG, "numeric"),
    ]
    assert report.divergence(target(*found))[2] == (
        "Behind it 3 further tensors disagree; 1 inherited: the layers agree when fed torch's own input and "
        "cotangent; 1 wrong by themselves too: fc1/W gradient; 1 not judged by themselves: fc1/b gradient."
    )
    alone = [gradient(f"fc{n}/W", WRONG) for n in range(7)]
    assert report.divergence(target(*alone, dtype="float32"))[1] == (
        "6 further tensors disagree: fc1/W gradient, fc2/W gradient, fc3/W gradient, fc4/W gradient "
        "and 2 more."
    )


def value(judgement, referee="torch"):
    return Quantity("fc1/activation", "value", referee, judgement)


@pytest.mark.parametrize(
    ("quantities", "loss", "sentence"),
    [
        (
            [value(WRONG), value(WRONG, "keras"), gradient("fc1/W", AGREE, "numeric")],
            AGREE,
            "numeric alone agrees: the forward pass differs, its backward pass fits it.",
        ),
        (
            [value(WRONG), value(AGREE, "keras"), gradient("fc1/W", AGREE, "numeric")],
            AGREE,
            "numeric agrees: the forward pass differs, its backward pass fits it.",
        ),
        (
            [value(WRONG), gradient("fc1/W", WRONG, "numeric")],
            AGREE,
            "numeric disagrees too: our backward pass does not fit in fc1/W gradient.",
        ),
        (
            [gradient("fc1/W", WRONG), gradient("fc1/W", AGREE, "numeric")],
            WRONG,
            "numeric alone agrees: the loss differs; our backward pass fits our forward pass.",
        ),
        (
            [gradient("fc1/W", WRONG), gradient("fc1/W", AGREE, "numeric")],
            AGREE,
            "numeric alone agrees: no value differs, a tie or kink may be taken otherwise; our backward pass "
            "fits our forward pass.",
        ),
        (
            [
                gradient("fc1/W", AGREE),
                gradient("fc1/W", AGREE, "keras"),
                gradient("fc1/W", WRONG, "numeric"),
            ],
            AGREE,
            "torch and keras agree; numeric disagrees.",
        ),
    ],
)
def test_who_says_so(quantities, loss, sentence):
    assert sentence in report.divergence(target(*quantities, loss={"torch": loss}))


@pytest.mark.parametrize(
    ("judgement", "dtype", "words"),
    [
        (NAN, "float64", "mine nan at (1,), theirs 0.5; NaN and infinity never agree."),
        (SHAPE, "float64", "against torch: the shapes differ."),
        (WRONG, "float32", "theirs 0.456; rms error 3.3e-01, allowed 1.2e-12."),
        (
            Judgement("disagree", 1.0, 0.5, 2.0, None, 1.5, 2.5),
            "float32",
            "mine 1.5 along a direction, theirs 2.5; error 1.0e+00, allowed 5.0e-01.",
        ),
        (Judgement("disagree", 1.0, 0.5, 2.0, (), 1.5, 2.5), "float64", "mine 1.5, theirs 2.5; error"),
    ],
)
def test_first_divergence_of_every_sort(judgement, dtype, words):
    assert words in report.divergence(target(gradient("fc1/b", judgement), dtype=dtype))[0]


def test_verbose_shows_every_quantity_with_place_values_and_note():
    late = Judgement("disagree", 1e-9, 1e-12, 2.0, (3, 4), 1.000000001, 1.0)
    text = shown(
        target(
            gradient("fc2/W", late, local=AGREE),
            gradient("fc2/b", AGREE, "keras"),
            Quantity("fc2/W", "update", "torch", AGREE, note="adam, step 2"),
        ),
        verbose=True,
    )
    first, second = text[text.index("\nfc2/W") :].strip().splitlines()[:2]
    assert first.split() == ["fc2/W", "torch", "1.0e-09", "1000", "1.000000001", "disagree"]
    assert second.split() == ["gradient", "(3,", "4)", "1.0e-12", "1", "inherited"]
    assert row(text, "fc2/b", "keras") and row(text, "update:", "adam,", "step", "2")


@pytest.mark.parametrize("verbose", [False, True])
@pytest.mark.parametrize("width", [80, 100])
def test_tables_fit_the_terminal_and_break_names_only_between_words(width, verbose):
    found = [
        gradient("sigmoid_cross_entropy logits of +-1000/z", WRONG, "numeric"),
        gradient("max_pool2d overlapping ties/x", WRONG, "numeric"),
    ]
    text = shown(target(*found, name="ops"), width=width, verbose=verbose)
    table = text[text.index("verdict") :].split("First divergence")[0]
    assert all(len(line.rstrip()) <= width for line in table.splitlines())
    assert {"max_pool2d", "disagree"} < set(table.split())
    assert ("sigmoid_cross_entropy" in table) == (width == 100 or verbose)
    for piece in ("entropy", "overlapping", "ties/", "+-1000/z"):
        assert piece in table


def test_colours_on_a_terminal_only_and_hostile_names_stay_text():
    name = "[bold]fc1[/]:smile:/W"
    plain = shown(target(gradient(name, WRONG)))
    assert "\x1b" not in plain and name in plain
    coloured = shown(target(gradient(name, WRONG)), terminal=True)
    assert "\x1b[1;31mdisagree\x1b[0m" in coloured
    assert "\x1b[32magree\x1b[0m" in shown(target(gradient("fc1/W", AGREE)), terminal=True)


def test_origin_names_data_and_seed_and_verbose_also_versions():
    details = {"data": "mnist-5k", "seed": 7, "command": "gradparity check", "versions": {"numpy": "2.4"}}
    found = target(gradient("fc1/W", AGREE))
    assert shown(found, details=details).startswith("data mnist-5k; seed 7\n")
    assert "gradparity check; numpy 2.4" in shown(found, details=details, verbose=True)


def test_a_planted_bug_is_named(monkeypatch):
    dense = ops.dense

    def wrong(x, w, b):
        y, backward = dense(x, w, b)

        def wrong_backward(dy):
            dx, dw, db = backward(dy)
            return dx, dw, 1.5 * db

        return y, wrong_backward

    options = Options(targets=("mlp",), dtypes=("float64",), hidden=(5,), optimizer="sgd", batch_size=4)
    fine = shown(*check(options, Referees(("numeric",))))
    assert fine.splitlines()[-1].startswith(
        "agree: mlp in float64, judged by numeric; worst error/allowed 0.0"
    )
    monkeypatch.setattr(ops, "dense", wrong)
    text = shown(*check(options, Referees(("numeric",))))
    assert "First divergence: fc2/b gradient, against numeric:" in text
    assert "1 further tensor disagrees: fc1/b gradient." in text
    assert text.splitlines()[-1].startswith(
        "disagree: mlp in float64, judged by numeric; worst error/allowed "
    )
