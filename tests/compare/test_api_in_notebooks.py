"""check_gradients in a notebook: classes without a file, and a report that is a table."""

import contextlib
import html.parser
import io
import re
import sys
import types
from pathlib import Path

import pytest
from live_things import EXAMPLES, Softmax, example

from compare import check_gradients


@pytest.fixture
def right():
    return example("loss_and_grads")


@pytest.fixture
def broken():
    return example("loss_and_grads_broken")


class Page(html.parser.HTMLParser):
    """Text by cell, and the styles of elements."""

    def __init__(self, text):
        super().__init__()
        self.cells, self.words, self.styles, self.tags = [], [], [], set()
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.styles.append(dict(attrs).get("style") or "")
        if tag in ("td", "th"):
            self.cells.append("")

    def handle_data(self, data):
        self.words.append(data)
        if self.cells:
            self.cells[-1] += data.strip()


NOTEBOOK = [
    "import numpy as np\nfrom compare import check_gradients",
    (EXAMPLES / "loss_and_grads_broken.py").read_text(),
    "net = TwoLayerNet(6, 4, 3)\nnet_report = check_gradients(net)\nreport = check_gradients(TwoLayerNet)",
    "everything = check_gradients(globals())\nOut = {1: net}\n_1 = net",
]


@pytest.fixture
def notebook():
    """The names of a notebook that has been run: its classes have no file, and no source to be read."""
    names = {"__name__": "__main__"}
    for number, cell in enumerate(NOTEBOOK):
        exec(compile(cell, f"<cell {number}>", "exec"), names)
    return names


def test_code_of_a_notebook_is_checked(notebook):
    report = notebook["report"]
    assert report.verdict == "disagree" and report.diagnosis[0].cause == "relu-mask-of-gradient"
    assert repr(report) == "<Report: disagree: W1 of TwoLayerNet in __main__>"
    assert notebook["net_report"].subjects[0].target == "TwoLayerNet()"
    assert [s.target for s in notebook["everything"].subjects] == ["TwoLayerNet", "net"]
    assert [s.target for s in check_gradients(notebook).subjects] == ["TwoLayerNet", "net"]


def test_a_report_is_a_table_in_a_notebook(notebook):
    page = Page(notebook["report"]._repr_html_())
    assert page.cells[:6] == ["tensor", "verdict", "error/allowed", "yours", "right", "worst at"]
    rows = [page.cells[i : i + 6] for i in range(6, len(page.cells), 6)]
    assert [row[:2] for row in rows] == [
        ["W2", "agree"],
        ["b2", "agree"],
        ["W1", "disagree"],
        ["b1", "disagree"],
    ]
    assert float(rows[2][2]) > 1e9 and rows[2][3] != rows[2][4]
    text = " ".join(page.words)
    assert "Why: W1: relu-mask-of-gradient. The mask is taken" in text and "First wrong tensor" in text
    assert not page.tags & {"script", "style", "link", "img"}


def test_the_table_escapes_what_comes_from_the_code():
    class Net(Softmax):
        pass

    Net.__name__ = "<script>alert(1)</script>"
    page = check_gradients(Net)._repr_html_()
    assert "<script>" not in page and "&lt;script&gt;" in page


def test_verdicts_can_be_read_on_light_and_dark_pages(broken):
    page = Page(check_gradients(broken.TwoLayerNet)._repr_html_())
    coloured = [style for style in page.styles if "color:#" in style]
    assert len(coloured) >= 6
    for style in coloured:  # each on a ground of its own, whatever the page's is
        ground, ink = (re.search(rf"(?<![\w-]){key}:(#\w+)", style) for key in ("background", "color"))
        assert _contrast(ground[1], ink[1]) >= 4.5


def _contrast(a, b):
    """As WCAG 2 defines it."""

    def luminance(colour):
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    high, low = sorted((luminance(a), luminance(b)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def test_cells_are_named_as_ipython_names_them(monkeypatch, broken):
    """A stand-in for the three names of IPython that are asked for."""
    file = broken.TwoLayerNet.loss.__code__.co_filename
    names = types.SimpleNamespace(format_code_name=lambda name: ("Cell", "In[7]") if name == file else None)
    shell = types.SimpleNamespace(compile=names)
    monkeypatch.setitem(sys.modules, "IPython", types.SimpleNamespace(get_ipython=lambda: shell))
    assert "Where: TwoLayerNet.loss, cell In[7] line 24." in str(check_gradients(broken.TwoLayerNet))
    failing = {"__name__": "__main__"}
    exec(compile("def spoil(own):\n    1 / 0", file, "exec"), failing)
    assert "line 2 of cell In[7]" in check_gradients(Softmax(spoil=failing["spoil"])).subjects[0].error
    home = {"__name__": "__main__"}
    exec(compile(Path(file).read_text(), file, "exec"), home)
    assert repr(check_gradients(home["TwoLayerNet"])).endswith("in this notebook>")


def test_stdout_is_free_again_after_a_check(right):
    text = io.StringIO()
    with contextlib.redirect_stdout(text):
        check_gradients(right.TwoLayerNet)
        print("here")
    assert text.getvalue() == "here\n"
