"""The HTML report: one file that needs no network, escapes everything, and appears whole or not at all."""

import base64
import io
import math
import os
import re
from html.parser import HTMLParser

import matplotlib.image
import numpy as np
import pytest

from compare import html
from compare.check import Options, check
from compare.diagnosis.hypothesis import Finding
from compare.referees import Referees
from compare.submission import maps, page
from compare.submission.evidence import Source
from compare.submission.judge import Checked
from compare.submission.request import Answer
from compare.tolerance import Judgement, judge
from compare.verdict import Quantity, Target
from scratch import ops
from scratch.errors import GradparityError, UsageError

DETAILS = {
    "command": "gradparity check mlp --seed 7",
    "versions": {"numpy": "2.4.6"},
    "seed": 7,
    "data": "mnist-5k",
    "date": "2026-01-02",
}
AGREE = Judgement("agree", 1e-15, 1e-12, 2.0, (1, 1), 0.5, 0.5)


class Page(HTMLParser):
    """What a browser would see: text, links to elsewhere, pictures, open sections."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.text, self.tags, self.links, self.sections = "", set(), [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.links += [value for name, value in attrs if name in ("src", "href", "srcset", "action", "data")]
        if tag == "details":
            self.sections.append(("open", None) in attrs)

    def handle_data(self, data):
        self.text += data

    @property
    def pictures(self):
        return [
            base64.b64decode(link.removeprefix("data:image/png;base64,"), validate=True)
            for link in self.links
        ]


def case(name, mine, theirs, kind="gradient", dtype="float64", target="mlp", note="", referee="torch"):
    """A target of one tensor, judged as the harness would."""
    mine, theirs = np.asarray(mine), np.asarray(theirs)
    quantity = Quantity(name, kind, referee, judge(mine, theirs, 1e-9, dtype), note=note)
    return Target(target, dtype, (referee,), quantities=[quantity], tensors=lambda _: (mine, theirs))


def wrong_at(shape, index, rng):
    theirs = rng.normal(size=shape)
    mine = theirs.copy()
    mine[index] += 1.0
    return mine, theirs


def written(tmp_path, *targets, not_checked=(), details=DETAILS):
    path = tmp_path / "report.html"
    html.write(path, list(targets), not_checked, details)
    return path.read_text("utf-8")


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def test_page_tells_verdict_origin_and_worst_tensor_and_needs_no_network(tmp_path, rng):
    bad = case("fc2/W", *wrong_at((6, 5), (3, 4), rng))
    fine = Target("dcn", "float32", ("keras",), quantities=[Quantity("conv1/b", "gradient", "keras", AGREE)])
    text = written(tmp_path, bad, fine, not_checked=("numeric",))
    page = Page(text)
    for words in (
        "gradparity: disagree",
        "disagree: mlp in float64; agree: dcn in float32; judged by torch and keras; worst",
        "First divergence: fc2/W gradient, against torch: mine ",
        "gradparity check mlp --seed 7",
        "mnist-5k",
        "2026-01-02",
        "2.4.6",
        "not checked: numeric",
        "conv1/b",
        "(3, 4)",
    ):
        assert words in page.text
    assert not re.search(r"https?:|//[a-z]|@import|url\(", re.sub(r"base64,[^\"]*", "", text))
    assert page.links and all(link.startswith("data:image/png;base64,") for link in page.links)
    assert page.tags.isdisjoint({"script", "link", "iframe", "object"})
    assert page.sections == [True, False]  # what disagrees is open


def test_every_quantity_has_a_row(tmp_path):
    local = Judgement("untested", 0.0, 1e-12, 0.0, (0,), 0.0, 0.0)
    quantities = [Quantity(f"fc{n}/W", "gradient", "torch", AGREE, local) for n in range(40)]
    quantities += [Quantity("fc1/b", "update", "torch", AGREE, note="adam, step 2")]
    text = written(tmp_path, Target("mlp", "float64", ("torch",), quantities=quantities, reason="too few"))
    assert all(f"<td>fc{n}/W</td>" in text for n in range(40))
    assert text.count('<td class="untested">untested</td>') == 40
    assert '<td class="note">adam, step 2</td>' in text and "untested: too few" in text


def test_pictures_are_png_and_colour_the_wrong_entry(tmp_path, rng):
    (png,) = Page(written(tmp_path, case("fc2/W", *wrong_at((6, 5), (3, 4), rng)))).pictures
    assert png.startswith(b"\x89PNG\r\n\x1a\n") and b"matplotlib" not in png
    pixels = matplotlib.image.imread(io.BytesIO(png), format="png")[..., :3]
    brightest = np.array(html.COLOURS(1.0)[:3])
    assert (np.abs(pixels - brightest).max(axis=-1) < 0.01).sum() > 500  # the cell of the entry


def test_nan_is_red_and_told_apart_from_exact(tmp_path):
    def share(colour, mine, theirs):
        (png,) = Page(written(tmp_path, case("fc2/W", mine, theirs))).pictures
        pixels = matplotlib.image.imread(io.BytesIO(png), format="png")[..., :3]
        return (np.abs(pixels - colour).max(axis=-1) < 0.01).mean()

    red, wrong, nan = (1, 0, 0), [[1.0, 2.0]], [[math.nan, 2.0]]
    assert share(red, nan, [[0.0, 2.0]]) > 0.2 > 0.01 > share(red, wrong, [[0.0, 2.0]])


def test_at_most_six_tensors_are_drawn_the_first_divergence_first(tmp_path, rng):
    mine, theirs = wrong_at((4, 3), (2, 1), rng)
    judgement = judge(mine, theirs, 1e-9, "float64")
    largest = Judgement("disagree", 9.0, 1e-12, 2.0, (0, 0), 9.0, 0.0)
    quantities = [
        Quantity(f"fc{n}/W", "gradient", "torch", judgement if n else largest) for n in (9, *range(9))
    ]
    quantities += [Quantity("fc9/W", "gradient", "keras", judgement)]
    target = Target("mlp", "float64", ("torch",), quantities=quantities, tensors=lambda _: (mine, theirs))
    text = written(tmp_path, target)
    captions = re.findall(r"<figcaption>(.*?)</figcaption>", text)
    assert len(captions) == len(set(captions)) == html.MAPS
    assert captions[:2] == [f"fc{n}/W gradient, against torch (mlp float64)" for n in (9, 0)]


def test_nothing_is_drawn_where_entries_are_not_known_or_shapes_differ(tmp_path):
    quantity = Quantity("fc1/W", "gradient", "numeric", judge(np.ones(3), np.zeros(3), 0.0, "float64"))
    unknown = Target("mlp", "float64", ("numeric",), quantities=[quantity])
    assert Page(written(tmp_path, unknown, case("fc1/W", np.ones((2, 3)), np.ones((3, 2))))).pictures == []


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("kind", ["value", "gradient"])
@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("fc1/b", (7,)),
        ("fc1/b", (1,)),
        ("loss", ()),
        ("fc1/W", (700, 301)),
        ("fc1/W", (1, 1)),
        ("conv1/W", (5, 5, 1, 3)),
        ("conv2/W", (5, 3, 4, 6)),
        ("conv1/input", (3, 28, 20, 1)),
        ("conv1/input", (1, 1, 1, 1)),
        ("odd", (2, 3, 4)),
    ],
)
def test_every_shape_is_drawn(tmp_path, rng, name, shape, kind, dtype):
    mine, theirs = wrong_at(shape, tuple(n - 1 for n in shape), rng)
    assert len(Page(written(tmp_path, case(name, mine, theirs, kind, dtype))).pictures) == 1


@pytest.mark.parametrize(
    ("mine", "theirs"),
    [
        ([[np.nan, 1.0]], [[1.0, 1.0]]),
        ([[np.inf, np.nan]], [[np.inf, np.nan]]),
        ([[1e308, 1.0]], [[-1e308, 1.0]]),
        ([[5e-324, 0.0]], [[0.0, 0.0]]),
        ([[1.0, 1.0]], [[3.0, 3.0]]),
    ],
)
def test_extreme_values_are_drawn(tmp_path, mine, theirs):
    mine, theirs = np.array(mine), np.array(theirs)
    for allowed in (1e-12, 0.0, 1e-300):
        error = Judgement("disagree", math.inf, allowed, 1.0, (0, 0), 1.0, 2.0)
        quantities = [Quantity("fc1/W", "gradient", "torch", error)]
        target = Target("mlp", "float64", ("torch",), quantities=quantities, tensors=lambda _: (mine, theirs))
        assert len(Page(written(tmp_path, target)).pictures) == 1


def test_worst_kernel_slices_are_chosen_and_the_worst_entry_marked():
    error = np.zeros((5, 4, 20, 30))
    error[4, 3, 7, 29], error[0, 1, 2, 3] = 2.0, 5.0
    panels, axes, remark = html._panels("conv2/W", error, (4, 3, 7, 29))
    assert [label for label, _, _ in panels[:2]] == ["channel 7, filter 29", "channel 2, filter 3"]
    assert panels[0][1][4, 3] == 2.0 and panels[1][1][0, 1] == 5.0
    assert [mark for _, _, mark in panels] == [(4, 3)] + [None] * 7
    assert axes == ("row", "column") and remark == ", the worst 8 of 600 planes"
    image = html._panels("conv1/input", np.zeros((3, 8, 6, 2)), (2, 7, 5, 1))[0]
    assert image[0][0] == "example 2, channel 1" and image[0][1].shape == (8, 6) and image[0][2] == (7, 5)


@pytest.mark.parametrize("shape", [(1, 1), (120, 121), (3136, 1024), (1, 3137)])
def test_reducing_a_matrix_loses_no_entry(rng, shape):
    for _ in range(20):
        matrix, at = np.zeros(shape), tuple(int(rng.integers(n)) for n in shape)
        matrix[at] = 3.0
        reduced, (height, width) = html._reduced(matrix)
        assert max(reduced.shape) <= html.PIXELS
        assert reduced[at[0] // height, at[1] // width] == 3.0 and reduced.sum() == 3.0


def test_hostile_names_are_text(tmp_path, rng):
    evil = '<script>alert("x")</script>&$\\frac{💥'
    mine, theirs = wrong_at((3, 2), (0, 0), rng)
    target = case(evil, mine, theirs, note=evil, referee=evil, target=evil)
    target.reason = evil
    text = written(
        tmp_path,
        target,
        not_checked=(evil,),
        details={name: evil for name in ("command", "seed", "data", "date")} | {"versions": {evil: "\udcff"}},
    )
    page = Page(text)
    assert "script" not in page.tags and page.text.count(evil) > 8
    assert len(page.pictures) == 1 and "\\udcff" in page.text


def test_a_report_replaces_the_old_one_and_leaves_nothing_else(tmp_path):
    target = Target("mlp", "float64", ("torch",), quantities=[Quantity("fc1/W", "gradient", "torch", AGREE)])
    real = tmp_path / "real.html"
    real.write_text("old")
    (tmp_path / "report.html").symlink_to(real)
    assert "agree" in written(tmp_path, target, details={})
    assert real.read_text("utf-8").startswith("<!doctype html>")
    assert (tmp_path / "report.html").is_symlink()
    assert sorted(os.listdir(tmp_path)) == ["real.html", "report.html"]


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_failure_leaves_the_old_report_and_nothing_else(tmp_path, monkeypatch, error):
    path = tmp_path / "report.html"
    path.write_text("old")

    def fail(*_):
        raise error

    monkeypatch.setattr(os, "replace", fail)
    expected = GradparityError if isinstance(error, OSError) else KeyboardInterrupt
    with pytest.raises(expected, match=r"the disk is full|^$"):
        html.write(path, [], (), {})
    assert path.read_text() == "old" and os.listdir(tmp_path) == ["report.html"]


@pytest.mark.parametrize(
    ("place", "words"),
    [
        (".", "is a folder; name a file"),
        ("", "is a folder; name a file"),
        ("missing/report.html", "does not exist"),
        ("file/report.html", "is not a folder"),
        ("x" * 300, "came: "),
        ("nul\0l", "came: "),
        ("pipe", "no ordinary file"),
    ],
)
def test_where_no_report_can_be_is_told_in_one_sentence(tmp_path, monkeypatch, place, words):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UsageError, match=words) as raised:
        html.write(place, [], (), {})
    assert raised.value.exit_code == 2 and "\n" not in str(raised.value)
    assert sorted(os.listdir(tmp_path)) == ["file", "pipe"]


def test_a_folder_without_permission_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may write everywhere
    with pytest.raises(UsageError, match="no permission in"):
        html.write(tmp_path / "report.html", [], (), {})


def test_a_planted_bug_stands_in_the_report(tmp_path, monkeypatch):
    dense = ops.dense

    def wrong(x, w, b):
        y, backward = dense(x, w, b)
        return y, lambda dy: (backward(dy)[0], backward(dy)[1], 1.5 * backward(dy)[2])

    monkeypatch.setattr(ops, "dense", wrong)
    options = Options(targets=("mlp",), dtypes=("float64",), hidden=(5,), optimizer="sgd", batch_size=4)
    page = Page(written(tmp_path, *check(options, Referees(("numeric",)))))
    assert "First divergence: fc2/b gradient, against numeric:" in page.text
    assert "disagree: mlp in float64, judged by numeric" in page.text and page.sections == [True]


def users(verdict="disagree", shape=(4, 3), name="W1", **more):
    """A user's class with a right tensor and, where it disagrees, a wrong one."""
    mine, theirs = wrong_at(shape, tuple(n - 1 for n in shape), np.random.default_rng(0))
    wrong = Quantity(name, "gradient", "numeric", judge(mine, theirs, 0.0, "float64"), note="a batch of 7")
    one = Checked("Net", "float64", ("numeric",), style="loss-and-grads", examples=7)
    one.quantities = [Quantity("W2", "gradient", "numeric", AGREE, note="one example")]
    if verdict == "disagree":
        one.quantities.append(wrong)
        text = "The mask is taken from the gradient."
        one.diagnosis = [Finding("relu-mask-of-gradient", name, text, (name,), 0.0, "predicts it to 2e-16")]
        one.sources = {name: Source("net.py", 24, "Net.loss", "def loss(self, X, y):")}
        one.tensors = lambda q: (mine, theirs) if q.name == name else None
    if verdict == "error":
        one.quantities, one.error = [], "net.py did not finish within 60 s."
    if verdict == "agree-up-to-convention":
        one.conventions = ["The loss is a sum over the examples."]
    vars(one).update(more)
    return one


def page_of(tmp_path, *subjects, hint_level=3, **more):
    path = tmp_path / "report.html"
    page.write(path, Answer("net.py", list(subjects), **more), DETAILS, hint_level)
    return path.read_text("utf-8")


def test_a_users_file_is_told_what_is_wrong_first_why_and_where(tmp_path):
    text = page_of(tmp_path, users(notes=["not tried: x"]), notes=["cell 2 is left out."], printed="epoch 1")
    seen = Page(text)
    for words in (
        "gradparity: disagree",
        "disagree: W1 of Net in net.py",
        "What is wrong first, and why",
        "Net  loss-and-grads  float64  disagree  (numeric; 7 examples)",
        "First wrong tensor, going backward: W1: yours ",
        "Why: W1: relu-mask-of-gradient. The mask is taken from the gradient.",
        "Evidence: predicts it to 2e-16.",
        "Where: Net.loss, net.py line 24.",
        "24  def loss(self, X, y):",
        "Note: not tried: x",
        "Note: cell 2 is left out.",
        "W1 of Net, against numeric (a batch of 7)",
        "(3, 2)",
    ):
        assert words in seen.text, words
    assert text.index("Where:") < text.index("def loss") < text.index("Note: not tried")
    assert len(seen.pictures) == 1 and seen.sections == [True, False] and "epoch 1" in seen.text
    assert not re.search(r"https?:|//[a-z]|@import|url\(", re.sub(r"base64,[^\"]*", "", text))
    assert "by itself" not in seen.text and "First divergence" not in seen.text


def test_a_report_tells_no_more_than_the_hint_level(tmp_path):
    first, second = (Page(page_of(tmp_path, users(), hint_level=level)) for level in (1, 2))
    assert "First wrong tensor, going backward: W1." in first.text and first.pictures == []
    assert not any(words in first.text for words in ("yours", "mask", "line 24", "def loss", "(3, 2)"))
    assert "the derivative of an activation" in second.text and "yours " in second.text
    assert not any(words in second.text for words in ("relu-mask", "The mask", "line 24", "def loss"))


@pytest.mark.parametrize(
    ("verdict", "words"),
    [
        ("error", "net.py did not finish within 60 s."),
        ("agree-up-to-convention", "Convention: The loss is a sum over the examples."),
        ("agree", "agree: 1 tensor of 1 subject in net.py"),
    ],
)
def test_other_verdicts_have_their_words_and_colours(tmp_path, verdict, words):
    text = page_of(tmp_path, users(verdict))
    assert f'<span class="{verdict}">{verdict}</span>' in text and words in Page(text).text
    assert re.search(rf"^  \.{verdict} {{ color: var\(--", text, re.M) and Page(text).pictures == []
    assert ("What is wrong first" in text) == (verdict == "error") and ("Every tensor" in text) == (
        verdict != "error"
    )


def test_hostile_names_in_a_users_file_are_text(tmp_path):
    evil = '<script>alert("x")</script>&$\\frac{💥'
    seen = Page(page_of(tmp_path, users(name=evil, target=evil, notes=[evil]), printed=evil))
    assert "script" not in seen.tags and seen.text.count(evil) > 5 and len(seen.pictures) == 1


@pytest.mark.parametrize("shape", [(), (7,), (40, 30), (2, 3, 4, 5)])
def test_a_wrong_tensor_of_any_shape_is_drawn_beside_the_right_one(shape):
    worst = tuple(n - 1 for n in shape)
    mine, theirs = wrong_at(shape, worst, np.random.default_rng(0))
    mine[tuple(0 for _ in shape)] = np.nan
    figure = maps.draw("W", mine, theirs, 1e-12, worst)
    assert html.picture(figure).startswith("data:image/png")
    assert [axes.get_title() for axes in figure.axes[:3]] == ["your gradient", "right gradient", "apart"]
    assert figure.get_suptitle() == ("W[1, 2, :, :]" if len(shape) == 4 else "W")
    shown = figure.axes[0].get_images()[0].get_array()
    plane = mine[worst[:-2]] if len(shape) > 1 else mine.reshape(1, -1)
    assert np.array_equal(np.ma.filled(shown, np.nan), plane, equal_nan=True)
