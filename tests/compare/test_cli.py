"""What the command says when all is well, when a gradient is wrong, and when nothing could be judged."""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from compare import check, cli, mutants, selftest
from compare.planting import Mutant, planted
from frameworks import guard
from scratch import data
from scratch.layers import ACTIVATIONS
from scratch.optimizers import OPTIMIZERS

ROOT = Path(__file__).parents[2]
QUICK = "check mlp --framework numeric --dtype float64 --hidden 5 --batch-size 4 --no-log"
MASK_MISSING = Mutant("relu", "z", "mask missing", lambda call: call.dy)

DOCUMENT = {"schema", "verdict", "referees", "not_checked", "command", "seed", "data", "date", "versions"}
TARGET = {"target", "dtype", "referees", "verdict", "reason", "examples", "examples_left_out", "draws"}
QUANTITY = {"name", "kind", "referee", "verdict", "error", "allowed", "max_abs", "worst_index"}
SELFTEST = {"schema", "referees", "planted", "caught", "named", "mutants"}


@pytest.fixture(autouse=True)
def elsewhere(tmp_path_factory, monkeypatch):
    """A check leaves its log in the current folder."""
    monkeypatch.chdir(tmp_path_factory.mktemp("here"))


@pytest.fixture
def run(capsys):
    """(exit code, stdout, stderr) of one command."""

    def run_(command: str) -> tuple[int, str, str]:
        try:
            code = cli.main(shlex.split(command))
        except SystemExit as end:  # --help and --version leave through argparse
            code = end.code
        return code, *capsys.readouterr()

    return run_


@pytest.fixture
def without_frameworks(monkeypatch):
    monkeypatch.setattr(guard, "installed", lambda name: False)


def shell(command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """A pipeline around the command, in a process of its own and buffered as a user's is."""
    clean = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    python = f"{shlex.quote(sys.executable)} -m compare.cli"
    return subprocess.run(
        ["bash", "-c", f"set -o pipefail; {command.replace('gradparity', python)}"],
        capture_output=True,
        text=True,
        cwd=os.getcwd(),
        env=clean | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "2"} | environment,
    )


def strict(text: str):
    """The one JSON document that `text` is; NaN and Infinity are not JSON."""
    return json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))


def help_of(run, command: str = "check --help") -> str:
    return " ".join(run(command)[1].split())


# Exit codes and verdicts


def test_agreement_is_exit_0_and_the_last_line_says_so(run):
    code, out, err = run(QUICK)
    assert code == 0 and err == ""
    assert out.splitlines()[-1].startswith("agree: mlp in float64, judged by numeric; worst error/allowed 0.")


@pytest.mark.parametrize("target", ["mlp", "ops"])
def test_a_planted_bug_is_exit_1_and_the_tensor_is_named(run, target):
    with planted(MASK_MISSING):
        code, out, err = run(f"check {target} --framework numeric --dtype float64 --no-log")
    assert code == 1 and err == ""
    assert out.splitlines()[-1].startswith(f"disagree: {target} in float64, judged by numeric")
    named = {"mlp": "fc2/net_input", "ops": "relu/z"}[target]
    assert f"First divergence: {named} gradient, against numeric" in out
    assert run(f"check {target} --framework numeric --dtype float64")[0] == 0


def test_nothing_to_judge_is_exit_1(run):
    code, out, err = run(f"{QUICK} --init zeros")
    assert code == 1 and err == ""
    assert "untested: nothing to judge in fc1/W" in out and "drawn 4 times" in out
    assert out.splitlines()[-1].startswith("untested: mlp in float64")


def test_frameworks_that_are_not_here_are_listed(run, without_frameworks):
    code, out, _ = run("check mlp --dtype float64 --hidden 5")
    assert code == 0
    assert "\nnot checked: torch and keras (not installed; pip install 'gradparity[torch,keras]')\n" in out
    assert strict(run("check mlp --dtype float64 --hidden 5 --json")[1])["not_checked"] == ["torch", "keras"]
    assert strict(run(f"{QUICK} --json")[1])["not_checked"] == []  # numeric was asked for: nothing is missing


def test_updates_that_no_referee_could_judge_are_said_to_be_unjudged(run):
    """Asked for adam and told `agree`, a reader believes that adam was compared; numeric has no updates."""
    code, out, _ = run(f"{QUICK} --optimizer adam")
    assert code != 0 or "update" in out


def test_every_choice_of_the_help_runs(run):
    command = (
        "check mlp --framework numeric --dtype float32 --activation maxout --init orthogonal --hidden 7,6,5 "
        "--output sigmoid --dropout 0.1 --l1 0.001 --l2 0.1 --penalize-biases --optimizer adam,sgd --steps 3 "
        "--batch-size 5 --data digits --seed 3 -v"
    )
    code, out, _ = run(command)
    assert code == 0 and out.splitlines()[-1].startswith("agree: mlp in float32")
    assert "load_digits" in out and command in " ".join(out.split())
    assert {f"fc{n}/{p}" for n in (1, 2, 3, 4) for p in "Wb"} <= set(out.split())


def test_hidden_none_is_one_layer(run):
    document = strict(run(f"{QUICK} --hidden none --json")[1])
    names = {quantity["name"].split("/")[0] for quantity in document["targets"][0]["quantities"]}
    assert names == {"fc1"}


# JSON


def test_json_is_one_document_on_stdout(run):
    code, out, _ = run(f"{QUICK} --dtype both --seed 5 --json")
    document = strict(out)
    assert code == 0 and out.count("\n") == 1
    assert set(document) == DOCUMENT | {"targets"} and document["schema"] == "gradparity/check/1"
    assert (document["verdict"], document["referees"], document["seed"]) == ("agree", ["numeric"], 5)
    assert document["command"] == f"gradparity {QUICK} --dtype both --seed 5 --json"
    assert document["data"].startswith("mnist-5k, ")
    assert {"python", "gradparity", "numpy"} <= set(document["versions"])
    assert [(t["target"], t["dtype"]) for t in document["targets"]] == [
        ("mlp", "float64"),
        ("mlp", "float32"),
    ]
    for target in document["targets"]:
        assert set(target) == TARGET | {"loss", "quantities", "drift", "first_divergence"}
        assert set(target["loss"]) == {"mine", "theirs", "verdict"} and set(target["loss"]["theirs"]) == {
            "numeric"
        }
        assert target["examples"] == 4 and target["first_divergence"] is None
        assert all(set(q) == QUANTITY | {"mine", "theirs"} for q in target["quantities"])
        assert {q["verdict"] for q in target["quantities"]} <= {"agree", "untested"}


def test_json_of_a_bug_names_the_first_divergence(run):
    with planted(MASK_MISSING):
        code, out, _ = run(f"{QUICK} --json")
    document = strict(out)
    (target,) = document["targets"]
    assert (code, document["verdict"], target["verdict"]) == (1, "disagree", "disagree")
    first = target["first_divergence"]
    assert (first["name"], first["kind"], first["referee"]) == ("fc1/net_input", "gradient", "numeric")
    assert first in target["quantities"]


def test_json_of_all_referees_in_spite_of_their_chatter():
    """PyTorch and TensorFlow write to the file descriptors themselves: only a new process shows it."""
    end = shell(
        "gradparity check mlp --hidden 5 --optimizer sgd --framework torch,keras,numeric --json --no-log"
    )
    document = strict(end.stdout)
    assert end.returncode == 0 and document["referees"] == ["keras", "numeric", "torch"]
    assert {"torch", "keras", "tensorflow"} <= set(document["versions"])
    kinds = {(q["referee"], q["kind"]) for target in document["targets"] for q in target["quantities"]}
    both = {(name, kind) for name in ("torch", "keras") for kind in ("value", "gradient", "update")}
    assert kinds == both | {("numeric", "gradient")}
    assert [line for line in end.stderr.splitlines() if not line.startswith("data: mnist-5k")] == []


def test_same_seed_same_document_and_another_seed_another_loss(run):
    def found(seed: int) -> dict:
        document = strict(run(f"{QUICK} --framework torch,numeric --optimizer adam --seed {seed} --json")[1])
        return {key: value for key, value in document.items() if key != "date"}

    first, again, other = found(7), found(7), found(8)
    assert first == again
    assert first["targets"][0]["loss"]["mine"] != other["targets"][0]["loss"]["mine"]


def test_data_json_is_one_document_with_every_data_set(run):
    code, out, err = run("data --json")
    document = strict(out)
    assert (code, err, document["schema"]) == (0, "", "gradparity/data/1")
    assert tuple(entry["name"] for entry in document["data"]) == data.NAMES
    assert all(set(e) == {"name", "looked", "found", "verdict", "sizes", "split"} for e in document["data"])
    assert document["data"][0]["verdict"] == "verified" and document["data"][0]["split"] == [3000, 1000, 1000]


@pytest.fixture
def three_bugs(monkeypatch):
    chosen = [
        m for m in mutants.catalogue() if m.operation in ("relu", "dense") and m.argument in ("z", "w")
    ][:3]
    assert len(chosen) == 3
    for module in (mutants, selftest):
        monkeypatch.setattr(module, "catalogue", lambda: list(chosen))
    return chosen


def test_selftest_in_json_and_for_people(run, three_bugs):
    code, out, err = run(f"{QUICK} --selftest --json")
    document = strict(out)
    assert (code, err, set(document), document["schema"]) == (0, "", SELFTEST, "gradparity/selftest/1")
    assert (document["planted"], document["caught"], document["named"]) == (3, 3, 3)
    assert [m["name"] for m in document["mutants"]] == [m.name for m in three_bugs]
    assert all(m["caught"] is True and m["by"] == ["numeric"] for m in document["mutants"])
    code, out, err = run(f"{QUICK} --selftest")
    assert (code, err) == (0, "")
    last = "3 of 3 planted bugs caught (100.0%), the right tensor named for 3 (100.0%); referees: numeric"
    assert out.splitlines()[-1] == last


def test_selftest_fails_where_a_bug_goes_unseen(run, three_bugs):
    three_bugs[0] = Mutant("dense", "w", "no bug at all", lambda call: call.gradients[1])
    code, out, _ = run(f"{QUICK} --selftest")
    assert code == 1 and out.splitlines()[-1].startswith("2 of 3 planted bugs caught (66.7%)")


# The report


def test_report_is_one_file_that_names_the_verdict(run, tmp_path):
    with planted(MASK_MISSING):
        code, out, err = run(f"{QUICK} --report {tmp_path}/report.html")
    assert code == 1 and err == f"report: {tmp_path}/report.html\n"
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]
    page = (tmp_path / "report.html").read_text("utf-8")
    assert out.splitlines()[-1] in page and page.startswith("<!doctype html>")


def test_report_and_json_together_keep_stdout_json(run, tmp_path):
    code, out, err = run(f"{QUICK} --json --report {tmp_path}/report.html")
    assert code == 0 and strict(out)["verdict"] == "agree"
    assert err.splitlines()[-1] == f"report: {tmp_path}/report.html"
    assert "agree: mlp in float64" in (tmp_path / "report.html").read_text("utf-8")


# Help


def test_without_arguments_it_says_what_users_do_next(run):
    code, out, err = run("")
    assert (code, err) == (0, "")
    for command in (
        "gradparity check",
        "gradparity check --selftest",
        "gradparity train mlp",
        "gradparity board",
        "gradparity data",
        "gradparity --help",
    ):
        assert command in out
    assert max(map(len, out.splitlines())) <= 80


def test_version(run):
    code, out, err = run("--version")
    assert code == 0 and re.fullmatch(r"gradparity \d+\.\d+\.\d+\n", out) and err == ""


@pytest.mark.parametrize("columns", [60, 80, 100])
@pytest.mark.parametrize("command", ["--help", "check --help", "data --help", "train --help", "board --help"])
def test_help_fits_the_terminal_and_breaks_between_words(run, monkeypatch, command, columns):
    monkeypatch.setenv("COLUMNS", str(columns))
    code, out, err = run(command)
    assert (code, err) == (0, "")
    assert max(map(len, out.splitlines())) <= columns
    said = " ".join(out.split())
    assert " ".join(cli.EXIT.split()) in said
    assert command != "check --help" or " ".join(cli.CHECK.split()) in said


def test_help_tells_the_defaults_of_each_network(run):
    told = re.findall(r"--([\w-]+) [A-Z][^()]*\(default: (\S+) for mlp, (\S+) for dcn\)", help_of(run))
    names = {"init", "dropout", "l1", "l2", "optimizer"}
    assert {name for name, *_ in told} == names | {"hidden"}
    for name, *defaults in told:
        if name in names:
            expected = [str(check.DEFAULTS[target][name]) for target in ("mlp", "dcn")]
            if name in ("dropout", "l1", "l2"):
                assert [*map(float, defaults)] == [*map(float, expected)], name
            else:
                assert defaults == expected, name


def test_help_tells_the_default_sizes():
    digits = data.Examples(data.np.zeros((3, 28, 28, 1)), data.np.zeros(3, int))
    mlp, dcn = (check.architecture(check.Options(), target, digits, 10) for target in ("mlp", "dcn"))
    assert (mlp.sizes[1:-1], dcn.sizes[:-1]) == ((64, 32), (1024,))  # what the help says; see above


def test_help_and_options_have_the_same_defaults(run):
    said, parsed = help_of(run), cli._parser().parse_args(["check"])
    for name, field in check.Options.__dataclass_fields__.items():
        if name in ("targets", "dtypes"):
            continue
        assert getattr(parsed, name) == field.default, name
        if name not in ("data_dir", "penalize_biases") and field.default is not None:
            option = f"--{name.replace('_', '-')} "
            assert re.search(rf"{option}[^()]*\(default: {field.default}\)", said), name


def test_help_names_every_choice(run):
    said = help_of(run)
    for choices in (
        check.TARGETS,
        ACTIVATIONS,
        OPTIMIZERS,
        ("torch", "keras", "numeric"),
        ("float64", "both"),
    ):
        assert all(re.search(rf"\b{choice}\b", said) for choice in choices), choices


# Terminals and pipes


def test_data_table_shows_names_and_splits_whole_and_no_markup(run, tmp_path, monkeypatch):
    """A folder may be called anything, and 55000,5000,10000 broken in two is another split."""
    odd = tmp_path / "[bold]odd[/x] :smile:"
    (odd / "mnist").mkdir(parents=True)
    names = [part.name for part in data.idx.SETS["mnist"]]
    for name in names:
        (odd / "mnist" / name).write_bytes(b"abc")
    monkeypatch.setenv("GRADPARITY_DATA", str(odd))
    code, out, err = run("data")
    assert (code, err) == (0, "")
    table = [line.split() for line in out.split("\n\n")[0].splitlines()]
    for entry in data.catalogue():
        (row,) = (cells for cells in table if cells[:1] == [entry.name])
        assert row[-1] == ",".join(map(str, entry.split))
    assert f"\n  {odd}\n" in out
    assert f"\nmnist: {odd}/mnist/{names[0]} should hold mnist's {names[0]}" in out


@pytest.mark.parametrize(
    "command", ["gradparity", "gradparity --help", "gradparity data --json", f"gradparity {QUICK}"]
)
def test_a_reader_that_leaves_is_no_crash(command):
    end = shell(f"{command} | true")
    assert "Traceback" not in end.stderr and "Exception ignored" not in end.stderr, end.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a Linux device")
@pytest.mark.parametrize("command", ["gradparity data --json", f"gradparity {QUICK} --json"])
def test_what_could_not_be_written_is_no_agreement(command):
    end = shell(f"{command} > /dev/full")
    assert end.returncode not in (0, 1) and "No space left" in end.stderr


def test_no_colours_and_no_progress_in_a_pipe():
    end = shell(f"gradparity {QUICK} | cat", FORCE_COLOR="", TERM="xterm-256color")
    assert end.returncode == 0 and "\x1b" not in end.stdout + end.stderr and end.stderr == ""
