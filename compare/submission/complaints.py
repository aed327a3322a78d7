"""What keeps a user's file from being loaded, as one sentence: what happened, where, what to do."""

import linecache
import re
from pathlib import Path

from compare.submission.culprit import Culprit, of_error, said
from compare.submission.source import LoadFailure, place

OURS = ("compare", "scratch", "frameworks")
GUARD = 'below `if __name__ == "__main__":`'
# What Python 2 wrote, as the line shows it that Python 3 stumbles over, and what Python 3 writes.
PYTHON2 = {
    r"^\s*(?:.*[:;]\s*)?print\b(?!\s*\()": "print(...)",
    r"^\s*except\s+[^:]+,\s*\w+\s*:": "`except X as e:`",
    r"^\s*raise\s+[\w.]+\s*,": '`raise X("...")`',
    r"^\s*exec\s+[\"\w]": "exec(...)",
    r"<>": "`!=`",
    r"`[^`]+`": "repr(...)",
    r"\b(?:\d+[lL]|0\d+)\b": "the number without a leading 0 and without an L",
    r"\bur\"": 'r"..."',
}
ASIDE = re.compile(r"""#.*|"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'""")  # comments and text
NAMES2 = {"xrange": "range", "raw_input": "input", "unicode": "str", "unichr": "chr", "long": "int"}
NAMES2 |= {"reduce": "functools.reduce", "basestring": "str"}
MODULES2 = {"cPickle": "pickle", "Queue": "queue", "StringIO": "io", "urllib2": "urllib.request"}
MODULES2 |= {"ConfigParser": "configparser", "Tkinter": "tkinter", "__builtin__": "builtins"}
PRINTS = "unsupported operand type(s) for >>: 'builtin_function_or_method'"  # print >>file, "text"
PACKAGES = {"sklearn": "scikit-learn", "cv2": "opencv-python", "PIL": "pillow", "skimage": "scikit-image"}
PACKAGES |= {"yaml": "pyyaml", "IPython": "ipython"}
PACKAGES |= dict.fromkeys(
    "torch torchvision tensorflow keras jax autograd scipy pandas matplotlib seaborn plotly tqdm numba "
    "h5py mlxtend sympy imageio theano requests pytest nose wandb tensorboard cupy".split(),
    "",
)


def complaint(error: BaseException, path: Path) -> LoadFailure:
    """The failure that an exception means which came while the user's file was read or ran."""
    file = getattr(error, "filename", None)
    if isinstance(error, SyntaxError) and file and Path(file).is_relative_to(path.parent):
        return _syntax(error, path)
    found = of_error(error, path.parent)
    at = place(found[0], found[1], path) if found[1] else "a line that is not known"
    if isinstance(error, SystemExit):
        sentence = (
            f"{path.name} ends itself while it is loaded, at {at}; take that call out or put it {GUARD}."
        )
        return _failure("load-exit", sentence, found)
    if isinstance(error, ImportError) and (sentence := _missing(error, path, at)):
        kind = "load-python2" if (error.name or "") in MODULES2 else "load-import"
        return _failure(kind, sentence, found)
    if old := _python2(error):
        sentence = f"{path.name} is written for Python 2, with {old[0]} at {at}; Python 3 has {old[1]}."
        return _failure("load-python2", sentence, found)
    todo = f"correct it, or put what a check does not need {GUARD}"
    if isinstance(error, EOFError) and "reading a line" in str(error):
        todo = f"nobody is there to answer input(): put it {GUARD}"
    return _failure(
        "load-exception", f"{path.name} stops while it is loaded: {said(error)} at {at}; {todo}.", found
    )


def _syntax(error: SyntaxError, path: Path) -> LoadFailure:
    file, line = error.filename or str(path), error.lineno or 0
    at = place(file, line, path)
    shown = ASIDE.sub('""', linecache.getline(file, line) or error.text or "")
    for pattern, new in PYTHON2.items():
        if re.search(pattern, shown):
            name = Path(file).name
            sentence = f"{name} is written for Python 2: {at}; Python 3 is needed here and has {new}."
            return LoadFailure("load-python2", sentence, line, file)
    sentence = f"{Path(file).name} is not Python 3: {error.msg} at {at}; correct it."
    return LoadFailure("load-syntax", sentence, line, file)


def _python2(error: BaseException) -> tuple[str, str] | None:
    """(what Python 2 had, what Python 3 has) where that is why a file stops."""
    if isinstance(error, NameError) and error.name in NAMES2:
        return error.name, NAMES2[error.name]
    if isinstance(error, TypeError) and PRINTS in str(error):
        return "a print statement", "print(..., file=...)"
    return None


def _missing(error: ImportError, path: Path, at: str) -> str:
    """The sentence for a module that is not here; empty for other troubles with imports."""
    wanted = error.name or ""
    top, folder = wanted.partition(".")[0], path.parent
    taken = top in OURS and "cannot import name" in str(error)  # for the user's own, which is missing
    if not wanted or not (taken or isinstance(error, ModuleNotFoundError)):
        return ""
    start = f"{path.name} needs the module {wanted} at {at}, which "
    if top in MODULES2:
        return start + f"only Python 2 has; Python 3 is needed here and has {MODULES2[top]}."
    if top in PACKAGES:
        return start + f"is not installed; pip install {PACKAGES[top] or top}."
    if not taken and ((folder / f"{top}.py").exists() or (folder / top).is_dir()):
        return start + f"the {top} beside it does not have; add it there."
    for above in (folder.parent, folder.parent.parent):
        if (above / f"{top}.py").exists() or (above / top / "__init__.py").exists():
            return start + f"lies in {above}; copy it beside {path.name}, or move {path.name} there."
    beside = f"put {top}.py beside {path.name}"
    return start + f"is not here and looks like a file of the same project; {beside}, or install it."


def _failure(kind: str, sentence: str, found: Culprit) -> LoadFailure:
    return LoadFailure(kind, sentence, found[1], found[0], found[2])
