"""What is said of a sweep, on made-up runs: the ranking, the documents, the tables, the picture."""

import io
import json
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from compare import sweep_figure, sweep_report
from compare.grid import Point
from compare.sweep import Run
from compare.train import Options


def made_up(tmp_path, *rows, stopping=False, measure="validation_error"):
    """A sweep of (varied, errors at steps 10, 20, ... or a state) rows; the test error is 0.01 more."""
    runs = []
    for i, (varied, found) in enumerate(rows):
        run = Run(Point(f"run{i}", Options(), varied, 30), tmp_path)
        run.state, errors = (found, []) if isinstance(found, str) else ("finished", found)
        for step, error in enumerate(errors, start=1):
            record = {"step": 10 * step, "train_loss": 2.5, "train_eval_error": error + 0.5}
            record |= {measure: error, "test_error": error + 0.01}
            run.metrics.evaluations.append(record)
            run.metrics.last = record
        run.earlier = float(i)
        runs.append(run)
    return SimpleNamespace(
        runs=runs,
        folder=tmp_path,
        stopping=stopping,
        complete=all(run.finished for run in runs),
        interrupted=stopping,
    )


def by_lr(*pairs):
    return [({"lr": lr, "seed": seed}, found) for seed, (lr, found) in enumerate(pairs)]


def told(swept, figure=None, width=100):
    file = io.StringIO()
    sweep_report.show(swept, figure, Console(file=file, width=width))
    return file.getvalue()


def test_settings_are_ranked_by_the_mean_final_validation_error_over_their_seeds(tmp_path):
    swept = made_up(
        tmp_path, *by_lr((0.1, [0.9, 0.30]), (0.2, [0.1, 0.20]), (0.1, [0.9, 0.20]), (0.2, [0.8, 0.26]))
    )
    first, second = sweep_report.ranking(swept.runs)
    assert first["options"] == {"lr": 0.2} and second["options"] == {"lr": 0.1}
    assert (first["rank"], first["runs"], first["finished"]) == (1, 2, 2)
    assert [first[key] for key in ("error", "half_range", "test_error", "seconds")] == pytest.approx(
        [0.23, 0.03, 0.24, 2.0]
    )
    assert (second["rank"], second["error"]) == (2, pytest.approx(0.25))


def test_the_test_error_does_not_rank(tmp_path):
    swept = made_up(tmp_path, *by_lr((0.1, [0.3]), (0.2, [0.2])))
    swept.runs[1].metrics.evaluations[-1]["test_error"] = 0.9
    assert [row["options"]["lr"] for row in sweep_report.ranking(swept.runs)] == [0.2, 0.1]


def test_ties_share_a_rank_and_what_has_no_finished_run_has_none(tmp_path):
    swept = made_up(
        tmp_path,
        *by_lr(
            (0.5, "failed"), (0.1, [0.3]), (0.2, [0.25]), (0.3, [0.3]), (0.4, [0.4]), (0.3, "interrupted")
        ),
    )
    rows = sweep_report.ranking(swept.runs)
    assert [(row["options"]["lr"], row["rank"]) for row in rows] == [
        (0.2, 1),
        (0.1, 2),
        (0.3, 2),
        (0.4, 4),
        (0.5, None),
    ]
    assert [(row["finished"], row["runs"]) for row in rows] == [(1, 1), (1, 1), (1, 2), (1, 1), (0, 1)]
    assert all(row["half_range"] is None for row in rows)


def test_an_unfinished_run_counts_for_nothing_but_the_number_of_runs(tmp_path):
    swept = made_up(tmp_path, *by_lr((0.1, [0.3]), (0.1, [0.01])))
    swept.runs[1].state = "failed"
    (row,) = sweep_report.ranking(swept.runs)
    assert (row["error"], row["test_error"], row["seconds"]) == (0.3, pytest.approx(0.31), 0.0)
    assert (row["finished"], row["runs"]) == (1, 2)


def test_without_a_validation_part_the_training_examples_rank_and_it_is_said(tmp_path):
    swept = made_up(tmp_path, *by_lr((0.1, [0.3]), (0.2, [0.2])), measure="nothing")
    assert sweep_report.ranked_by(swept.runs) == "train_eval_error"
    assert [row["error"] for row in sweep_report.ranking(swept.runs)] == [0.7, 0.8]
    said = told(swept)
    assert "no validation part" in said and "train eval error" in said and "70.00%" in said


def test_where_nothing_is_known_yet_no_part_is_missed(tmp_path):
    said = told(made_up(tmp_path, *by_lr((0.1, "interrupted"), (0.2, "waiting")), stopping=True))
    assert "validation error" in said and "no validation part" not in said


def test_one_seed_and_no_option_that_varies_make_one_row(tmp_path):
    swept = made_up(tmp_path, ({}, [0.3]))
    (row,) = sweep_report.ranking(swept.runs)
    assert row["options"] == {} and row["half_range"] is None
    assert "±" not in told(swept) and "30.00%" in told(swept)


def test_the_table_says_what_is_missing_and_why_and_where_to_look(tmp_path):
    swept = made_up(tmp_path, *by_lr((0.1, [0.3]), (0.2, "failed"), (0.3, "waiting")), stopping=True)
    swept.runs[1].reason = "the layer [fc1] is not finite"
    said = told(swept, tmp_path / "summary.png")
    assert "failed: run1: the layer [fc1] is not finite" in said
    assert "not started: 1 of 3 runs" in said and "run2:" not in said
    assert f"figure: {tmp_path}/summary.png" in said
    assert f"gradparity board --runs-dir {tmp_path}" in said
    assert "figure" not in told(swept)


def test_the_document_is_json_with_every_run_and_the_ranking(tmp_path):
    swept = made_up(tmp_path, *by_lr((0.1, [0.4, 0.3]), (0.2, "failed"), (0.1, [0.2])))
    swept.runs[1].reason, swept.runs[2].state = "too fast", "skipped"
    document = json.loads(json.dumps(sweep_report.document(swept, None), allow_nan=False))
    assert document["runs"][0] == {
        "name": "run0",
        "options": {"lr": 0.1, "seed": 0},
        "state": "finished",
        "steps": 20,
        "train_loss": 2.5,
        "validation_error": 0.3,
        "test_error": 0.31,
        "seconds": 0.0,
        "reason": "",
        "run_dir": str(tmp_path / "run0"),
    }
    assert document["runs"][1]["reason"] == "too fast" and document["runs"][1]["validation_error"] is None
    assert document["runs"][2]["state"] == "finished"
    assert document["ranked_by"] == "validation_error" and document["figure"] is None
    assert [row["rank"] for row in document["ranking"]] == [1, None]


def test_the_table_of_a_terminal_shows_what_is_under_way_where_not_all_fits(tmp_path):
    rows = [({"seed": seed}, "waiting") for seed in range(40)]
    swept = made_up(tmp_path, *rows)
    for i, state in ((7, "running"), (30, "failed"), (3, "skipped")):
        swept.runs[i].state = state
    file = io.StringIO()
    Console(file=file, width=100).print(sweep_report._table(swept, 9))
    names = [
        line.split()[0] for line in file.getvalue().splitlines() if line.startswith("run") and "/" in line
    ]
    assert names == ["run0", "run1", "run3", "run7", "run30"]
    assert "1 running, 1 failed, 1 skipped, 37 waiting" in file.getvalue()


def test_elsewhere_than_on_a_terminal_every_start_and_end_is_a_line(tmp_path, capsys):
    swept = made_up(tmp_path, *by_lr((0.1, [0.3]), (0.2, "failed")))
    swept.runs[1].reason = "too fast"
    with sweep_report.watching() as look:
        for state in ("waiting", "running", "running", "finished", "finished"):
            swept.runs[0].state = state
            look(swept)
    out, err = capsys.readouterr()
    assert out == "" and err.splitlines() == [
        "failed run1 after 1.0 s (0 of 2 done): too fast",
        "running run0",
        "finished run0 after 0.0 s (1 of 2 done): validation error 30.00%",
    ]


# The picture


def drawn(swept):
    path = sweep_figure.write(swept)
    with Image.open(path) as image:
        assert path.name == "summary.png" and image.format == "PNG"
        return image.size


def test_the_picture_has_a_panel_for_every_option_but_the_seed(tmp_path, monkeypatch):
    panels = []
    original = sweep_figure._panel
    monkeypatch.setattr(
        sweep_figure, "_panel", lambda axes, name, *rest: panels.append(name) or original(axes, name, *rest)
    )
    rows = [
        ({"activation": a, "lr": lr, "hidden": h, "seed": s}, [0.9, 0.1 + lr, 0.2 * s + 0.05])
        for a in ("relu", "tanh")
        for lr in (0.1, 0.2, 0.3)
        for h in ((64, 32), ())
        for s in (0, 1)
    ]
    drawn(made_up(tmp_path, *rows))
    assert panels == ["activation", "lr", "hidden"]
    panels.clear()
    drawn(made_up(tmp_path, *[({"seed": seed}, [0.5, 0.1 * seed]) for seed in range(3)]))
    assert panels == [""]


@pytest.mark.parametrize(
    "rows",
    [
        [({}, [0.3])],
        [({}, [0.0, 0.0])],
        [({"lr": 0.1}, [0.5]), ({"lr": 0.2}, [0.5]), ({"lr": 0.3}, "failed")],
        [({"lr": 0.1}, [1.0, 1.0]), ({"lr": 0.2}, "waiting")],
        [({"init": f"init{i}"}, [0.5, 0.5 / (i + 1)]) for i in range(25)],
        [({f"option{i}": value for i in range(7)}, [0.5, 0.1]) for value in (0, 1)],
    ],
    ids=["one point", "no error", "one evaluation", "flat", "many values", "many options"],
)
def test_odd_sweeps_are_drawn_too(rows, tmp_path):
    width, height = drawn(made_up(tmp_path, *rows))
    assert 500 < width < 2000 and 300 < height < 2000


def test_there_is_no_picture_of_nothing(tmp_path):
    assert sweep_figure.write(made_up(tmp_path, ({}, "failed"))) is None
    assert not list(tmp_path.iterdir())


def test_means_are_over_the_finished_runs_at_the_steps_that_all_of_them_have():
    curves = [[(10, 0.4), (20, 0.2)], [(10, 0.2), (20, 0.0), (30, 0.1)]]
    assert sweep_figure._mean(curves) == [(10, pytest.approx(0.3)), (20, pytest.approx(0.1))]
    assert sweep_figure._mean([]) == []


def test_labels_do_not_lie_on_each_other():
    from matplotlib.figure import Figure

    axes = Figure().subplots()
    axes.set_yscale("log")
    axes.set_ylim(0.01, 1)
    sweep_figure._label(axes, [(error, f"{error}", "k") for error in (0.9, 0.0101, 0.01, 0.91, 0.011, 0.99)])
    places = sorted(text.get_position()[1] for text in axes.texts)
    assert np.diff(places).min() >= 0.99 * sweep_figure.GAP and places[0] >= 0 and places[-1] <= 1
    assert [text.get_text() for text in sorted(axes.texts, key=lambda text: text.get_position()[1])] == [
        "0.01",
        "0.0101",
        "0.011",
        "0.9",
        "0.91",
        "0.99",
    ]
