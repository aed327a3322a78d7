"""The result of `gradparity check` for people: tables, what differs first and who says so, the verdict."""

import math
import re
from collections.abc import Iterable
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from compare.tolerance import Judgement
from compare.verdict import Quantity, Target

COLOURS = {"agree": "green", "untested": "yellow", "disagree": "bold red"}
SEVERITY = ("disagree", "untested", "agree")
FEW = 4  # names are listed, more are counted
NUMBERS = 51  # columns of a terminal that all but the two name columns of a table take


def show(
    targets: list[Target],
    not_checked: tuple[str, ...],
    details: dict[str, Any],
    verbose: bool,
    console: Console,
) -> None:
    """Print every target, then the referees that are not here, then the verdict line.

    `verbose` prints every quantity with its worst entry instead of the worst tensor per layer and kind.
    """
    if line := _origin(details, verbose):
        _say(console, line)
    for target in targets:
        _show_target(target, verbose, console)
    console.print()
    if not_checked:
        _say(console, not_checked_line(not_checked))
    if line := unjudged_line(targets):
        _say(console, line)
    _say(console, verdict_line(targets))


def verdict_line(targets: list[Target]) -> str:
    """The verdict over all targets, who judged, and how near to the limit the worst tensor came."""
    if not targets:
        return "untested: nothing was checked"
    found = {verdict: [t for t in targets if t.verdict == verdict] for verdict in SEVERITY}
    parts = [f"{verdict}: {_targets(those)}" for verdict, those in found.items() if those]
    referees = dict.fromkeys(name for t in targets for name in t.referees)
    line = f"{'; '.join(parts)}{'; ' if len(parts) > 1 else ', '}judged by {listed(referees)}"
    judged = [(t, q) for t in targets for q in t.quantities if q.verdict != "untested"]
    if judged:
        target, worst = max(judged, key=lambda pair: pair[1].judgement.ratio)
        where = f"{target.target} {target.dtype} {worst.name} {worst.kind}, {worst.referee}"
        line += f"; worst error/allowed {ratio(worst.judgement)} ({where})"
    return line


def not_checked_line(names: Iterable[str]) -> str:
    """Which referees had no say because they are not installed, and what brings them."""
    return f"not checked: {listed(names)} (not installed; pip install 'gradparity[{','.join(names)}]')"


def unjudged_line(targets: list[Target]) -> str:
    """What no referee at hand can judge; empty where a framework is among them."""
    if any(set(target.referees) - {"numeric"} for target in targets):
        return ""
    return "not judged: forward values and updates (numeric judges gradients alone; add torch or keras)"


def headline(target: Target) -> str:
    """What was compared in one line: `mlp  float64  agree  (torch, numeric; 12 examples)`."""
    facts = [", ".join(target.referees)]
    if target.examples:
        left_out = f", {target.dropped} left out: rounding decided a branch" if target.dropped else ""
        facts.append(f"{counted(target.examples, 'example')}{left_out}")
    if target.draws > 1:
        facts.append(f"drawn {target.draws} times")
    return f"{target.target}  {target.dtype}  {target.verdict}  ({'; '.join(facts)})"


def loss_line(target: Target) -> str:
    """Both losses and the verdict of each referee; empty where there is no loss."""
    if not target.loss:
        return ""
    worst = min(target.loss.values(), key=lambda j: SEVERITY.index(j.verdict))
    digits = _digits(worst)
    theirs = [f"{name} {j.theirs:.{digits}g} {j.verdict}" for name, j in target.loss.items()]
    return f"loss in nats per example: mine {worst.mine:.{digits}g}; {'; '.join(theirs)}"


def drift_line(target: Target) -> str:
    """How far free-running steps have parted, for each referee; empty where none were taken."""
    found: dict[str, list[str]] = {}
    for drift in target.drift:
        found.setdefault(drift.referee, []).append(f"{drift.optimizer} {size(drift.difference)}")
    if not found:
        return ""
    referees = "; ".join(f"{name}: {', '.join(rules)}" for name, rules in found.items())
    steps = counted(target.drift[0].steps, "free-running step")
    return f"after {steps}, weights apart by (of the largest move, not judged) {referees}"


def divergence(target: Target) -> list[str]:
    """Sentences on a disagreement: what differs first, why the rest does, and who says so."""
    first = target.first_divergence
    if first is not None:
        return [
            _first(first, target.dtype),
            *_by_itself(first),
            *_behind(target, first),
            *_witnesses(target, first),
        ]
    wrong = [name for name, j in target.loss.items() if j.verdict == "disagree"]
    return [f"No tensor disagrees, but the loss does, against {listed(wrong)}."] if wrong else []


def untested_line(target: Target, verbose: bool = False) -> str:
    """How many quantities could not be judged, and which where they are few; empty where there are none."""
    names = [f"{named(q)} ({q.referee})" for q in target.quantities if q.verdict == "untested"]
    which = f": {', '.join(names)}" if verbose or len(names) <= FEW else ""
    return f"{len(names)} untested, too small against rounding to show a fault{which}" if names else ""


def named(quantity: Quantity) -> str:
    """`fc2/W gradient`, and of an update also the rule and the step."""
    return f"{quantity.name} {quantity.kind}{f' ({quantity.note})' if quantity.note else ''}"


def pair(judgement: Judgement) -> tuple[str, str]:
    """(mine, theirs) with as many digits as it takes to see a disagreement."""
    digits = _digits(judgement)
    return f"{judgement.mine:.{digits}g}", f"{judgement.theirs:.{digits}g}"


def size(number: float) -> str:
    """An error or what is allowed of it, to two digits."""
    return f"{number:.1e}" if number else "0"


def ratio(judgement: Judgement) -> str:
    """error/allowed, to two digits where it is near 1."""
    r = judgement.ratio
    return f"{r:.2g}" if r < 100 else f"{r:.0f}" if r < 10_000 else f"{r:.1e}"


def listed(names: Iterable[str]) -> str:
    """`torch, keras and numeric`."""
    *others, last = names
    return f"{', '.join(others)} and {last}" if others else last


def counted(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _digits(judgement: Judgement) -> int:
    if judgement.verdict != "disagree":
        return 6
    mine, theirs = judgement.mine, judgement.theirs
    return next((n + 1 for n in range(3, 17) if f"{mine:.{n}g}" != f"{theirs:.{n}g}"), 17)


def _origin(details: dict[str, Any], verbose: bool) -> str:
    facts = [f"{key} {details[key]}" for key in ("data", "seed") if key in details]
    if verbose:
        facts += [str(details[key]) for key in ("date", "command") if key in details]
        facts += [f"{name} {version}" for name, version in details.get("versions", {}).items()]
    return "; ".join(facts)


def _targets(targets: list[Target]) -> str:
    """`mlp and ops in float64 and float32`, or one by one where not every pair is there."""
    names, dtypes = dict.fromkeys(t.target for t in targets), dict.fromkeys(t.dtype for t in targets)
    if len(targets) == len(names) * len(dtypes):
        return f"{listed(names)} in {listed(dtypes)}"
    return listed(f"{t.target} {t.dtype}" for t in targets)


def _show_target(target: Target, verbose: bool, console: Console) -> None:
    console.print()
    _say(console, headline(target))
    if target.reason:
        _say(console, f"untested: {target.reason}")
    if target.quantities:
        table = _every_quantity if verbose else _worst_per_layer
        console.print(table(target, max(8, (console.width - NUMBERS) // 2)))
    for line in (loss_line(target), drift_line(target), untested_line(target, verbose), *divergence(target)):
        if line:
            _say(console, line)


def _worst_per_layer(target: Target, room: int) -> Table:
    groups: dict[tuple[str, str], list[Quantity]] = {}
    for q in target.quantities:
        groups.setdefault((_layer(target, q), q.kind), []).append(q)
    table = _table("layer", "tensor", "kind", "referee", numbers=("error", "allowed", "error/\nallowed"))
    for (layer, kind), group in groups.items():
        worst = max(group, key=_badness)
        j = worst.judgement
        tensor = worst.name if kind == "update" else worst.name.removeprefix(layer).lstrip(" /")
        names = (_folded(layer, room), _folded(tensor, room), kind, worst.referee)
        table.add_row(*map(Text, (*names, size(j.error), size(j.allowed), ratio(j))), _coloured(j.verdict))
    return table


def _every_quantity(target: Target, room: int) -> Table:
    numbers = ("error\nallowed", "error/\nallowed", "mine\ntheirs")
    table = _table("tensor\nkind", "referee\nworst at", numbers=numbers)
    for q in target.quantities:
        j = q.judgement
        about = f"{q.kind}: {q.note}" if q.note else q.kind
        mine, theirs = pair(j)
        table.add_row(
            Text(f"{_folded(q.name, room * 2)}\n{_folded(about, room * 2)}"),
            Text(f"{q.referee}\n{place(j)}"),
            Text(f"{size(j.error)}\n{size(j.allowed)}"),
            Text(ratio(j)),
            Text(f"{mine}\n{theirs}"),
            _coloured(f"{q.verdict}\ninherited" if q.inherited else q.verdict),
        )
    return table


def _table(*names: str, numbers: tuple[str, ...]) -> Table:
    table = Table(box=None, padding=(0, 1, 0, 0), header_style="bold")
    for header in (*names, *numbers, "verdict"):
        table.add_column(header, justify="right" if header in numbers else "left", overflow="fold")
    return table


def place(judgement: Judgement) -> str:
    """The worst entry's index; nothing for a single number, and what stands in for an index otherwise."""
    if judgement.worst_index is None:
        return "shape" if _misshaped(judgement) else "direction"
    return str(judgement.worst_index) if judgement.worst_index else ""


def _layer(target: Target, quantity: Quantity) -> str:
    """What a table has one row for: a layer, an operation, or an update rule."""
    if quantity.kind == "update":
        return _rule(quantity)
    layer = quantity.name.partition("/")[0]
    return layer.split(" ")[0] if target.target == "ops" else layer


def _rule(quantity: Quantity) -> str:
    return re.sub(r", step \d+$", "", quantity.note)


def same_tensor(quantity: Quantity) -> tuple[str, str, str]:
    """What two referees must have in common to have judged the same tensor."""
    return quantity.kind, quantity.name, _rule(quantity) if quantity.kind == "update" else ""


def _badness(quantity: Quantity) -> tuple[int, bool, float]:
    """What to show of many: a layer wrong by itself, then any disagreement, then what came nearest to one."""
    rank = ("untested", "agree", "disagree").index(quantity.verdict)
    return rank, not quantity.inherited, quantity.judgement.ratio


def _misshaped(judgement: Judgement) -> bool:
    return judgement.worst_index is None and math.isnan(judgement.mine) and math.isnan(judgement.theirs)


def _first(first: Quantity, dtype: str) -> str:
    j = first.judgement
    start = f"First divergence: {named(first)}, against {first.referee}:"
    if _misshaped(j):
        return f"{start} the shapes differ."
    mine, theirs = pair(j)
    where = "" if j.worst_index == () else f" at {j.worst_index}" if j.worst_index else " along a direction"
    if math.isinf(j.error):
        return f"{start} mine {mine}{where}, theirs {theirs}; NaN and infinity never agree."
    error = "rms error" if dtype == "float32" and j.worst_index is not None else "error"
    return f"{start} mine {mine}{where}, theirs {theirs}; {error} {size(j.error)}, allowed {size(j.allowed)}."


def _fed(quantities: list[Quantity]) -> str:
    whose = "'s or ".join(dict.fromkeys(q.referee for q in quantities))
    return f"fed {whose}'s own input{' and cotangent' if {q.kind for q in quantities} != {'value'} else ''}"


def _by_itself(first: Quantity) -> list[str]:
    if first.local is None:
        return []
    if first.inherited:
        return [f"The layer itself agrees when {_fed([first])}: what reaches it differs already."]
    return [f"The layer itself is wrong: {_fed([first])}, it still disagrees."]


def _behind(target: Target, first: Quantity) -> list[str]:
    """How many further tensors disagree, and which of them only because of what came in."""
    further: dict[tuple[str, str, str], list[Quantity]] = {}
    for q in target.quantities:
        if q.verdict == "disagree" and same_tensor(q) != same_tensor(first):
            further.setdefault(same_tensor(q), []).append(q)
    if not further:
        return ["Nothing else disagrees."]
    alone = [[q for q in found if q.local is not None] for found in further.values()]
    inherited = [q for found in alone if found and all(q.inherited for q in found) for q in found[:1]]
    wrong = [found[0] for found in alone if any(not q.inherited for q in found)]
    unknown = [found[0] for found, known in zip(further.values(), alone, strict=True) if not known]
    text = f"{counted(len(further), 'further tensor')} disagree{'s' if len(further) == 1 else ''}"
    if len(unknown) == len(further):
        return [f"{text}: {_some(unknown)}."]
    fed = f"the layers agree when {_fed(inherited)}" if inherited else ""
    if len(inherited) == len(further):
        return [f"Behind it {text}, {'all ' if inherited[1:] else ''}inherited: {fed}."]
    parts = [f"{len(inherited)} inherited: {fed}"] if inherited else []
    parts += [f"{len(wrong)} wrong by themselves too: {_some(wrong)}"] if wrong else []
    parts += [f"{len(unknown)} not judged by themselves: {_some(unknown)}"] if unknown else []
    return [f"Behind it {text}; {'; '.join(parts)}."]


def _some(quantities: list[Quantity]) -> str:
    names = [named(q) for q in quantities[:FEW]]
    return f"{', '.join(names)} and {len(quantities) - FEW} more" if quantities[FEW:] else listed(names)


def _witnesses(target: Target, first: Quantity) -> list[str]:
    """Which referees say so. numeric differentiates our own forward pass, so it fits even a wrong one."""
    verdicts = {q.referee: q.verdict for q in target.quantities if same_tensor(q) == same_tensor(first)}
    against = [name for name in target.referees if verdicts.get(name) == "disagree"]
    agreeing = [name for name in target.referees if verdicts.get(name) == "agree"]
    sentences = []
    if agreeing == ["numeric"]:
        differs = any(j.verdict == "disagree" for j in target.loss.values())
        what = "the loss differs" if differs else "no value differs, a tie or kink may be taken otherwise"
        sentences.append(f"numeric alone agrees: {what}; our backward pass fits our forward pass.")
    elif agreeing:
        sentences.append(f"{_do(agreeing, 'agree')}; {_do(against, 'disagree')}.")
    elif len(against) > 1:
        sentences.append(f"{listed(against)} say the same.")
    if first.kind == "value" and target.target != "ops":
        found = [q for q in target.quantities if (q.referee, q.kind) == ("numeric", "gradient")]
        if wrong := [q for q in found if q.verdict == "disagree"]:
            sentences.append(f"numeric disagrees too: our backward pass does not fit in {_some(wrong)}.")
        elif any(q.verdict == "agree" for q in found):
            who = "numeric agrees" if agreeing else "numeric alone agrees"
            sentences.append(f"{who}: the forward pass differs, its backward pass fits it.")
    return sentences


def _do(names: list[str], verb: str) -> str:
    return f"{listed(names)} {verb}{'' if names[1:] else 's'}"


def _folded(text: str, width: int) -> str:
    """Break after `/`, `_` or a space, so that no line is wider."""
    lines = [""]
    for piece in re.findall(r"[^/_ ]*[/_ ]|[^/_ ]+", text):
        if lines[-1] and len(lines[-1] + piece.rstrip()) > width:
            lines.append("")
        lines[-1] += piece
    return "\n".join(line.rstrip() for line in lines)


def _coloured(line: str) -> Text:
    text = Text(line)
    for verdict, colour in COLOURS.items():
        text.highlight_regex(rf"(?<!\w){verdict}(?=:|  |$|\n)", colour)
    return text


def _say(console: Console, line: str) -> None:
    """One line: wrapped on a terminal; whole in a file, where a program may look for it."""
    console.print(_coloured(line), soft_wrap=not console.is_terminal)
