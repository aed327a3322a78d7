"""Several runs side by side: what differs, what they shared, where they part, and the picture of it."""

import json
import shutil
import struct

import numpy as np
import pytest

from compare import cli, compare_runs, curves, train
from scratch import files, optimizers
from scratch.errors import DataError, UsageError
from scratch.events import EventWriter
from scratch.rundir import RunDirectory

SHORT = {
    "steps": 30,
    "log_every": 10,
    "eval_every": 15,
    "checkpoint_every": 30,
    "hidden": (12,),
    "dropout": 0.3,
    "split": (600, 100, 100),
}
MADE = {"model": "mlp", "framework": "numpy", "hidden": (12,), "steps": 4, "split": (600, 100, 100)}


@pytest.fixture(scope="module")
def runs(tmp_path_factory, referees):
    """Real runs, by name."""
    folder = tmp_path_factory.mktemp("runs")
    exact = {"dtype": "float64", "optimizer": "sgd", "lr": 0.01}
    chosen = {
        "numpy": {},
        "dialect": {"dialect": "keras"},
        "seed": {"seed": 1},
        "exact": exact,
        "torch": exact | {"framework": "torch"},
        "keras": exact | {"framework": "keras"},
    }
    for name, options in chosen.items():
        train.start(train.Options(**(SHORT | options)), str(folder), name)
    with pytest.raises(Exception, match="not finite"), np.errstate(all="ignore"):
        train.start(train.Options(**SHORT, lr=1e30, optimizer="sgd"), str(folder), "failed")
    shutil.copytree(folder / "numpy", folder / "copy")
    return folder


def against(folder, a, b):
    return compare_runs.pair(*compare_runs.read([str(folder / a), str(folder / b)]))


def made(folder, name, losses, errors=None, noted=None, **config):
    """A run's folder without training."""
    with RunDirectory.create(folder, MADE | config, name, noted) as run:
        errors = errors or [0.5] * len(losses)
        for step, (loss, error) in enumerate(zip(losses, errors, strict=True), start=1):
            run.log({"step": step, "epoch": 0, "train_loss": loss, "train_error": error})
        run.mark("finished", len(losses))
    return str(run.path)


def test_two_dialects_of_adam_part_at_the_second_step(runs):
    pair = against(runs, "numpy", "dialect")
    assert pair["differs"] == {"epsilon": [1e-8, 1e-7], "dialect": ["torch", "keras"]}
    assert pair["shared"] == {"weights": True, "batches": True, "masks": True}
    assert pair["parting"]["bits"] == 2 and pair["parting"]["of"] == 30
    (note,) = pair["notes"]
    assert "bias-corrected root, keras to the uncorrected" in note
    assert "epsilon is 1e-08 in torch, 1e-07 in keras" in note


@pytest.mark.parametrize("framework", ["torch", "keras"])
def test_a_framework_stays_with_numpy_in_float64(runs, framework):
    pair = against(runs, "exact", framework)
    assert pair["differs"].pop("framework") == ["numpy", framework]
    assert pair["differs"] == ({} if framework == "torch" else {"dialect": ["torch", "keras"]})
    assert all(pair["shared"].values())
    assert pair["parting"]["of"] == 30
    assert pair["parting"]["1e-6"] is pair["parting"]["1e-2"] is None
    assert pair["notes"] == ([] if framework == "torch" else ["sgd: the same rule in both dialects."])


def test_a_copy_never_parts(runs):
    pair = against(runs, "numpy", "copy")
    assert pair["differs"] == {} and pair["notes"] == []
    assert pair["parting"] == {"bits": None, "1e-6": None, "1e-2": None, "of": 30}


def test_runs_of_two_seeds_shared_nothing_and_part_nowhere(runs):
    pair = against(runs, "numpy", "seed")
    assert pair["differs"] == {"seed": [0, 1]} and pair["parting"] is None
    assert pair["shared"] == {"weights": False, "batches": False, "masks": False}


@pytest.mark.parametrize(
    ("config", "unshared"),
    [
        ({"activation": "tanh", "lr": 1.0, "l2": 0.1, "output": "sigmoid"}, {}),
        ({"optimizer": "sgd", "threads": 1, "log_every": 7, "data_dir": "x"}, {}),
        ({"activation": "maxout"}, {"weights": ["activation"]}),
        ({"init": "xavier_normal"}, {"weights": ["init"]}),
        ({"dtype": "float64"}, {"weights": ["dtype"]}),
        ({"batch_size": 25}, {"batches": ["batch_size"], "masks": ["batch_size"]}),
        ({"split": (500, 100, 100)}, {"batches": ["split"]}),
        ({"data": "mnist"}, {"batches": ["data"]}),
        ({"data": "digits"}, {"weights": ["data"], "batches": ["data"]}),
        ({"dropout": 0.2}, {"masks": ["dropout"]}),
        ({"dropout": 0.0}, {"masks": ["dropout"]}),
        ({"hidden": (13,)}, {"weights": ["hidden"], "masks": ["hidden"]}),
    ],
)
def test_what_decides_over_weights_batches_and_masks(tmp_path, config, unshared):
    made(tmp_path, "a", [1.0], dropout=0.3)
    made(tmp_path, "b", [2.0], **({"dropout": 0.3} | config))
    pair = against(tmp_path, "a", "b")
    assert pair["not_shared_for"] == unshared
    assert pair["shared"] == {kind: kind not in unshared for kind in ("weights", "batches", "masks")}
    assert (pair["parting"] is None) == bool(unshared)


def test_another_order_of_the_examples_is_another_batch(tmp_path):
    made(tmp_path, "a", [1.0], noted={"order": "as in the files"})
    made(tmp_path, "b", [1.0], noted={"order": "shuffled"})
    pair = against(tmp_path, "a", "b")
    assert pair["differs"] == {} and pair["not_shared_for"] == {"batches": ["order"]}


def test_settings_that_change_no_update_do_not_differ(tmp_path):
    made(tmp_path, "a", [1.0] * 4)
    made(tmp_path, "b", [1.0] * 3, threads=1, eval_every=2, steps=3, epochs=1, lr=1e-3)  # 1e-3 is the default
    pair = against(tmp_path, "a", "b")
    assert pair["differs"] == {"steps": [4, 3]} and pair["parting"]["of"] == 3


def test_each_threshold_is_met_at_its_own_step(tmp_path):
    made(tmp_path, "a", [1.0, 2.0, 3.0, 4.0, 5.0])
    made(tmp_path, "b", [1.0, np.nextafter(2.0, 3.0), 3.0 * (1 + 2e-6), 4.0 * 1.009, 5.0 * 1.02])
    parting = against(tmp_path, "a", "b")["parting"]
    assert parting == {"bits": 2, "1e-6": 3, "1e-2": 5, "of": 5}


def test_a_loss_that_is_not_finite_differs_from_every_number_and_from_no_other(tmp_path):
    made(tmp_path, "a", [1.0, 2.0, float("nan")])
    made(tmp_path, "b", [1.0, float("inf"), float("nan")])
    assert against(tmp_path, "a", "b")["parting"] == {"bits": 2, "1e-6": 2, "1e-2": 2, "of": 3}
    made(tmp_path, "c", [1.0, 2.0, float("nan")])
    assert against(tmp_path, "a", "c")["parting"]["bits"] is None


DECAY = "weight decay: torch adds it to the gradient, keras shrinks the weight by it."


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"optimizer": "sgd"}, ["sgd: the same rule in both dialects."]),
        ({"optimizer": "sgd", "weight_decay": 0.1}, ["sgd: the same rule in both dialects.", DECAY]),
        ({"optimizer": "nesterov"}, ["nesterov: the same rule in both dialects."]),
        (
            {"optimizer": "momentum", "schedule": "step"},
            [
                "momentum: the velocity sums up gradients in torch, steps in keras: they part when the "
                "learning rate changes."
            ],
        ),
        (
            {"optimizer": "adagrad"},
            [
                "adagrad: torch adds epsilon outside the root, keras inside; epsilon is 1e-10 in torch, "
                "1e-07 in keras; square_sum starts at 0 in torch, 0.1 in keras."
            ],
        ),
        (
            {"optimizer": "rmsprop"},
            [
                "rmsprop: torch adds epsilon outside the root, keras inside; rho is 0.99 in torch, 0.9 in "
                "keras; epsilon is 1e-08 in torch, 1e-07 in keras."
            ],
        ),
        (
            {"optimizer": "adadelta"},
            ["adadelta: rho is 0.9 in torch, 0.95 in keras; epsilon is 1e-06 in torch, 1e-07 in keras."],
        ),
        (
            {"optimizer": "adamw"},
            [
                "adamw: torch adds epsilon to the bias-corrected root, keras to the uncorrected one; epsilon "
                "is 1e-08 in torch, 1e-07 in keras."
            ],
        ),
    ],
)
@pytest.mark.parametrize("swapped", [False, True])
def test_what_two_dialects_mean_for_a_rule_is_said(tmp_path, config, said, swapped):
    first, second = ("keras", "torch") if swapped else ("torch", "keras")
    made(tmp_path, "a", [1.0], dialect=first, **config)
    made(tmp_path, "b", [1.0], dialect=second, **config)
    pair = against(tmp_path, "a", "b")
    assert pair["notes"] == said
    decay = {"torch": 1e-2, "keras": 4e-3}
    expected = [decay[first], decay[second]] if config["optimizer"] == "adamw" else None
    assert pair["differs"].get("weight_decay") == expected


def test_no_dialect_is_spoken_of_where_the_rule_is_another(tmp_path):
    made(tmp_path, "a", [1.0], optimizer="adam")
    made(tmp_path, "b", [1.0], optimizer="rmsprop", dialect="keras")
    pair = against(tmp_path, "a", "b")
    assert pair["notes"] == [] and pair["differs"].keys() == {"optimizer", "dialect", "epsilon"}


@pytest.mark.parametrize("name", optimizers.OPTIMIZERS)
def test_the_rules_said_to_differ_in_kind_are_those_that_do(name):
    """With the same constants and a constant rate, the two dialects part exactly where a sentence says so."""
    constants = optimizers.OPTIMIZERS[name].defaults["torch"] | {"learning_rate": 0.1, "weight_decay": 0.0}
    constants |= {"epsilon": 0.1} if "epsilon" in constants else {}
    went = []
    for dialect in optimizers.DIALECTS:
        rule, w = optimizers.make(name, dialect, **constants), np.ones(5)
        for step in range(5):
            rule.update(w, np.linspace(-1, 1, 5) + step)
        went.append(w)
    assert (np.abs(went[0] - went[1]).max() > 1e-9) == (name in compare_runs.DIALECT)


def test_runs_under_way_torn_and_failed_are_read(runs, tmp_path):
    shutil.copytree(runs / "numpy", tmp_path / "torn")
    with open(tmp_path / "torn" / "metrics.jsonl", "ab") as file:
        file.write(b'{"step": 31, "tra')
    with RunDirectory.create(tmp_path, MADE, "running") as run:
        run.log({"step": 1, "train_loss": 1.0, "train_error": 0.5})
        found = compare_runs.read([str(tmp_path / "torn"), str(run.path), str(runs / "failed")])
        document = compare_runs.document(found, "none")
        states = [(told["state"], told["step"]) for told in document["runs"]]
        run.mark("finished")
    assert states[:2] == [("finished", 30), ("running", 1)] and states[2][0] == "failed"
    assert "not finite" in document["runs"][2]["reason"] and document["runs"][2]["train_loss"] is None
    assert document["runs"][1]["validation_error"] is None
    json.dumps(document, allow_nan=False)
    with open(tmp_path / "torn" / "metrics.jsonl", "ab") as file:
        file.write(b"\n{}\n")
    with pytest.raises(DataError, match="line 31"):
        compare_runs.read([str(tmp_path / "torn"), str(runs / "numpy")])


def test_a_run_is_told_as_its_folder_holds_it(runs):
    found = compare_runs.read([str(runs / "numpy"), str(runs / "seed")])
    told = compare_runs.document(found, "x.png")["runs"][0]
    rows = RunDirectory.view(runs / "numpy").metrics()
    assert (told["name"], told["framework"], told["step"]) == ("numpy", "numpy", 30)
    assert told["train_loss"] == pytest.approx(np.mean([row["train_loss"] for row in rows]))
    assert told["validation_error"] == rows[-1]["validation_error"] != rows[14]["validation_error"]
    assert told["test_error"] == rows[-1]["test_error"] and 0 < told["milliseconds"] < 10_000


def test_the_time_of_a_step_is_the_median_of_what_the_event_files_hold(tmp_path):
    with EventWriter(tmp_path) as writer:
        for step, time in enumerate((3.0, 1.0, 100.0), start=1):
            writer.scalars({"train/loss": 7.0, "time/step_ms": time, "learning_rate": 9.0}, step)
    assert compare_runs.milliseconds(tmp_path) == 3.0
    assert compare_runs.milliseconds(tmp_path / "none") is None


def test_two_runs_of_one_name_are_told_apart(tmp_path):
    paths = [made(tmp_path / folder, "run", [1.0]) for folder in ("one", "two")]
    assert [run.name for run in compare_runs.read(paths)] == paths


def test_the_mean_runs_over_the_window_and_leaves_out_what_is_not_finite(tmp_path):
    made(tmp_path, "a", [4.0, 2.0, float("nan"), 6.0])
    (run, _) = compare_runs.read([str(tmp_path / "a"), made(tmp_path, "b", [1.0])])
    steps, means = curves._smoothed(run, "train_loss", 2)
    np.testing.assert_array_equal(steps, [1, 2, 3, 4])
    np.testing.assert_array_equal(means, [4.0, 3.0, np.nan, 6.0])


def picture(paths, folder, ending=".svg"):
    found = compare_runs.read(paths)
    pairs = compare_runs.document(found, "x")["pairs"]
    return curves.draw(found, pairs, folder / f"x{ending}")


def test_the_picture_names_the_runs_and_marks_where_they_part(tmp_path):
    paths = [
        made(tmp_path, "first", [1.0, 2.0, 3.0]),
        made(tmp_path, "$odd_$", [1.0, 2.0, 3.1]),
        made(tmp_path, "_close", [1.0, 2.0 + 1e-4, 3.0]),
        made(tmp_path, "other", [1.0, 2.0, 3.0], seed=1),
    ]
    drawn = picture(paths, tmp_path).decode()  # an SVG keeps its texts as comments
    for words in ("first", "$odd_$, parts by 1 % at step 3", "_close, parts by 1e-6 at step 2", "other"):
        assert f"<!-- {words} -->" in drawn
    assert "line: minibatch; marker" in drawn


@pytest.mark.parametrize(
    "losses", [[], [0.0, 0.0], [float("nan")] * 2, [1.0, 1e300], [1e-300, 1e-310]], ids=str
)
def test_whatever_was_logged_can_be_drawn(tmp_path, losses):
    paths = [made(tmp_path, name, losses, [0.0] * len(losses)) for name in "abcdefghi"]
    for ending, start in ((".png", b"\x89PNG"), (".pdf", b"%PDF")):
        assert picture(paths, tmp_path, ending).startswith(start)


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_command_tells_and_draws(runs, here, capsys):
    names = ("numpy", "copy", "dialect", "seed", "failed")
    assert cli.main(["compare-runs", *(str(runs / name) for name in names)]) == 0
    said = " ".join(capsys.readouterr().out.split())
    for words in (
        "copy against numpy differs no setting shared initial weights, batches, dropout masks "
        "losses part nowhere: the same bits in all 30 steps that both have",
        "dialect against numpy differs dialect keras (torch), epsilon 1e-07 (1e-08)",
        "losses part in their bits at step 2, by more than 1e-6 at step 2,",
        "note adam: torch adds epsilon",
        "seed against numpy differs seed 1 (0) not shared initial weights (seed), batches (seed), "
        "dropout masks (seed)",
        "failed failed: training stopped at step",
        "figure: comparison.png",
    ):
        assert words in said
    width, height = struct.unpack(">II", (here / "comparison.png").read_bytes()[16:24])
    assert width > 500 and height > 500


def test_json_is_one_document(runs, here, capsys):
    (here / "out.svg").write_text("old")
    command = ["compare-runs", str(runs / "numpy"), str(runs / "failed"), "--json", "--output", "out.svg"]
    assert cli.main(command) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["schema"] == "gradparity/compare-runs/1" and document["figure"] == "out.svg"
    assert [run["name"] for run in document["runs"]] == ["numpy", "failed"]
    (pair,) = document["pairs"]
    assert {"a", "b", "differs", "shared", "parting", "notes"} <= pair.keys()
    assert (here / "out.svg").read_text().startswith("<?xml") and len(list(here.iterdir())) == 1


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ("", "two runs or more"),
        ("{runs}/numpy", "but 1 came"),
        ("{runs}/numpy {runs}/none", "there is no run"),
        ("{runs}/numpy {runs}", "not a run directory"),
        ("{runs}/numpy {runs}/seed/../numpy", "twice"),
        ("{runs}/numpy {runs}/seed --output x.jpg", ".png or .svg or .pdf"),
        ("{runs}/numpy {runs}/seed --output missing/x.png", "does not exist"),
        ("{runs}/numpy {runs}/seed --output folder.png", "is a folder"),
        ("{runs}/numpy {runs}/seed --output file/x.png", "is not a folder"),
    ],
)
def test_wrong_usage_is_one_sentence_and_leaves_nothing(runs, here, capsys, arguments, word):
    (here / "folder.png").mkdir()
    (here / "file").touch()
    assert cli.main(["compare-runs", *arguments.format(runs=runs).split()]) == 2
    out, err = capsys.readouterr()
    assert out == "" and word in err and err.startswith("gradparity: ") and err.count("\n") == 1
    assert sorted(path.name for path in here.iterdir()) == ["file", "folder.png"]


def test_a_full_disk_leaves_the_old_picture(runs, here, capsys, monkeypatch):
    (here / "comparison.png").write_bytes(b"old")

    def full(path, data):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files, "write", full)
    assert cli.main(["compare-runs", str(runs / "numpy"), str(runs / "seed")]) == 4
    assert "the disk is full" in capsys.readouterr().err
    assert (here / "comparison.png").read_bytes() == b"old" and len(list(here.iterdir())) == 1


def test_fewer_than_two_runs_are_refused():
    with pytest.raises(UsageError, match="two runs"):
        compare_runs.read([])
