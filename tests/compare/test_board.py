"""`gradparity board`: TensorBoard itself, on this machine only, with the runs in it."""

import json
import re
import subprocess
import sys
import time
import urllib.request

import pytest

from compare import cli, train


def test_board_serves_the_runs_on_the_loopback_address(tmp_path):
    options = train.Options(steps=4, log_every=2, eval_every=4, hidden=(5,), split=(100, 20, 20))
    train.start(options, str(tmp_path), "first")
    command = [sys.executable, "-m", "compare.cli", "board", "--runs-dir", str(tmp_path), "--port", "0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True) as board:
        try:
            assert board.stderr is not None
            found = (re.search(r"http://127\.0\.0\.1:\d+", line) for line in board.stderr)
            address = next(match for match in found if match)[0]
            with urllib.request.urlopen(f"{address}/data/environment", timeout=60) as answer:
                assert json.load(answer)["window_title"] == "gradparity"
            for _ in range(60):
                with urllib.request.urlopen(f"{address}/data/runs", timeout=60) as answer:
                    runs = json.load(answer)
                if "first" in runs:
                    break
                time.sleep(0.5)
            assert "first" in runs
        finally:
            board.kill()


def test_no_folder_with_runs_is_refused(tmp_path, capsys):
    assert cli.main(["board", "--runs-dir", str(tmp_path / "none")]) == 2
    assert "no folder" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [[], ["mlp", "--resume", "somewhere"]])
def test_train_wants_a_model_or_a_run(arguments, capsys):
    assert cli.main(["train", *arguments]) == 2
    assert "--resume RUN" in capsys.readouterr().err
