"""`gradparity check FILE.py`: a user's own hand-written gradients. Arguments in, exit code out."""

import argparse
import json
import sys
from typing import Any

from scratch.errors import UsageError

OWN = """\
FILE.py or FILE.ipynb, with :OBJECT for one class, function or object in it: runs the file in a process of its
own, finds the hand-written gradients in it, and says for each tensor whether it is right, which is wrong
first, and why. The limits in time and memory protect from accidents, not from code that means harm."""
EXIT_CODES = {"agree": 0, "agree-up-to-convention": 0, "disagree": 1, "untested": 1, "error": 4}


def add_own(check: argparse.ArgumentParser) -> None:
    """The options of `check` that concern files."""
    group = check.add_argument_group("your own code", OWN)
    add = group.add_argument
    add("--style", metavar="S", help="how the code is written (default: found out); see --styles")
    add("--styles", action="store_true", help="show a short example of every style")
    add("--sizes", metavar="D,H,C", help="layer sizes that your constructor is given (default: 6,5,4)")
    add(
        "--loss", metavar="L", help="cross_entropy, binary_cross_entropy, quadratic or squared, where unclear"
    )
    levels = "how much is told: which tensor, the kind of error, cause and fix (default: 3)"
    add("--hint-level", type=int, choices=(1, 2, 3), default=3, metavar="1|2|3", help=levels)
    add("--strict", action="store_true", help="a factor N over every tensor is never a convention")
    add("--lenient", action="store_true", help="a factor N over every tensor is a convention in every style")
    add("--timeout", type=float, metavar="S", help="seconds that your code may take (default: 60)")
    add("--memory", type=float, metavar="GB", help="memory that it may take (default: 4)")
    add("--csv", metavar="FILE.csv", help="several files: one row each, in the order given")
    add("--jobs", type=int, metavar="J", help="files checked at the same time with --csv (default: cores)")
    add("--repro", metavar="FILE.py", help="write a script that shows the failure without gradparity")


def check_own(arguments: argparse.Namespace) -> int:
    """Check the files named as targets."""
    from compare import console
    from compare.submission import request as asking
    from compare.submission import show

    targets = arguments.targets
    if other := [t for t in targets if not asking.is_file(t)]:
        raise UsageError(
            f"files and the targets mlp, dcn, ops are checked one at a time, but {other[0]!r} came."
        )
    if arguments.strict and arguments.lenient:
        raise UsageError("--strict and --lenient exclude each other.")
    if arguments.csv:
        from compare.submission import marks

        return marks.write(arguments.csv, [request(arguments, target) for target in targets], arguments)
    if len(targets) > 1:
        raise UsageError("several files need --csv FILE.csv, which gets a row for each.")
    if arguments.repro:
        from compare.submission import repro

        repro.destination(arguments.repro, targets[0])
    if arguments.report:
        from compare.destination import destination

        destination(arguments.report, "the report")
    wanted = request(arguments, targets[0])
    with console.progress() as progress:
        answer = asking.check(wanted, progress)
    details = console.details(arguments.argv, 0, "random numbers of the check")
    if arguments.json:
        print(json.dumps(document(answer, arguments.hint_level, details), allow_nan=False))
    else:
        show.show(answer, arguments.hint_level, arguments.verbose, console.stdout())
    if arguments.repro:
        why_not = repro.write(arguments.repro, answer)
        print(f"no script: {why_not}" if why_not else f"script: {arguments.repro}", file=sys.stderr)
    if arguments.report:
        from compare.submission import page

        page.write(arguments.report, answer, details, arguments.hint_level)
        print(f"report: {arguments.report}", file=sys.stderr)
    from compare.verdict import overall

    return EXIT_CODES[overall(answer.subjects)]


def request(arguments: argparse.Namespace, target: str) -> Any:
    """What the arguments ask of one file."""
    from compare import check as checking
    from compare.submission.request import MEMORY, SECONDS, Request

    names, _ = checking.choose_referees(arguments.framework)
    options = {
        name: value for name, value in (("loss", arguments.loss), ("l2", arguments.l2)) if value is not None
    }
    if arguments.sizes:
        options["sizes"] = _sizes(arguments.sizes)
    if "--activation" in arguments.argv or any(a.startswith("--activation=") for a in arguments.argv):
        options["activation"] = arguments.activation
    for name in ("timeout", "memory"):
        value = getattr(arguments, name)
        if value is not None and not value > 0:
            raise UsageError(f"--{name} must be above 0, but {value:g} came.")
    return Request(
        target,
        arguments.style,
        options,
        tuple(name for name in names if name != "numeric"),
        True if arguments.strict else False if arguments.lenient else None,
        arguments.timeout or SECONDS,
        int(arguments.memory * (1 << 30)) if arguments.memory else MEMORY,
        bool(arguments.repro),
    )


def document(answer: Any, hint_level: int, details: dict[str, Any]) -> dict[str, Any]:
    """The JSON document of one file; lower hint levels leave out what they do not tell."""
    from compare import verdict
    from compare.diagnosis.causes import family

    out = verdict.document(answer.subjects, (), **details) | {"file": answer.target}
    for target in out["targets"]:
        if hint_level < 3:
            target["diagnosis"] = [
                {"tensor": d["tensor"], **({"kind": family(d["cause"])} if hint_level == 2 else {})}
                for d in target["diagnosis"]
            ]
        if hint_level == 1:
            for quantity in target["quantities"]:
                for key in ("mine", "theirs", "error", "max_abs", "worst_index"):
                    quantity[key] = None
            target["first_divergence"] = None
    out["diagnosis"] = [{"target": t["target"], **d} for t in out["targets"] for d in t["diagnosis"]]
    out["notes"], out["printed"] = answer.notes, answer.printed
    return out


def show_styles() -> int:
    """A short example of every style."""
    from compare.adapters import STYLES

    for name, adapter in STYLES.items():
        print(f"{name}\n")
        print("\n".join(f"    {line}" for line in adapter.EXAMPLE.splitlines()) + "\n")
    return 0


def selftest_styles(arguments: argparse.Namespace) -> int:
    """Check the catalogue of planted bugs in files as users write them."""
    from compare import check as checking
    from compare import console, listing
    from compare.referees import FRAMEWORKS, Referees
    from compare.submission import catalogue

    chosen = catalogue.entries(arguments.style)
    names, _ = checking.choose_referees(arguments.framework)
    frameworks = tuple(name for name in names if name in FRAMEWORKS)
    with console.progress() as progress:
        progress(f"loading {', '.join(frameworks)}")
        Referees(frameworks)
        outcomes = catalogue.selftest(
            chosen,
            frameworks,
            arguments.jobs or catalogue.jobs_here(),
            lambda outcome, done: progress(f"checked {done} of {len(chosen)}: {outcome.entry.name}"),
        )
    found = catalogue.document(outcomes, frameworks)
    if arguments.json:
        print(json.dumps(found, allow_nan=False))
    else:
        listing.show_styles(found, arguments.verbose, console.stdout())
    return 0 if catalogue.passed(found) else 1


def _sizes(text: str) -> list[int]:
    try:
        sizes = [int(part) for part in text.split(",")]
    except ValueError:
        sizes = []
    if len(sizes) < 2 or min(sizes) < 1:
        raise UsageError(f"--sizes takes whole numbers such as 6,5,4, but {text!r} came.")
    return sizes
