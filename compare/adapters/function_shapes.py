"""What a text says of the arguments' shapes and values: `x: (N, D), W (D, M)`, `b : ndarray of shape (M,)`.

Docstrings, comments and type hints are read; a sign that is not understood says nothing.
"""

import ast
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

Dims = tuple[str, ...]
ANY = ("...",)  # any shape will do, one for all that say so
GAP = 60  # characters between a name and its shape
TYPES = re.compile(
    r"\(\s*(?:[\w.]*\.)?(?:nd)?(?:array|tensor|ndarray|arraylike|array_like|matrix|vector)[\w .\[\]|]*(?:,\s*optional)?\s*\)",
    re.I,
)
WORDS = frozenset(
    "optional default float floats int ints bool str array ndarray tensor scalar vector matrix number numbers none true "
    "false required inclusive exclusive positive input inputs output outputs e g i eg ie see the a an of or and if".split()
)
SCALAR = re.compile(
    r"\b(scalars?|(real )?numbers?(?! of)|floats?\b(?!\w|\s*(array|tensor|matrix|vector)))", re.I
)
EVERYWHERE = re.compile(r"any shape|arbitrary shape|shape \*|of all shapes|whatever (the )?shape", re.I)
BY_ENTRY = re.compile(
    r"element[- ]?wise|entry by entry|point[- ]?wise|any shape|arbitrary shape|component[- ]?wise", re.I
)
DOMAINS = (  # (values, what says so, what denies it)
    ("spd", r"positive[- ](semi[- ]?)?definite|\bspd\b|\bpsd\b|covariance", r""),
    ("symmetric", r"\bsymmetric", r"\b(not|non|need not|un)\b[^.;,]*symmetric|nonsymmetric|unsymmetric"),
    ("onehot", r"one[- ]?hot", r""),
    ("pm1", r"-\s*1\s*(,|or|and|/)\s*\+?\s*1|\+?1\s*(,|or|and|/)\s*-\s*1|±\s*1|\+/?-\s*1\b", r""),
    ("binary", r"\b0\s*(,|or|and|/)\s*1\b(?!\.)(?!\s*[\])])|\{\s*0\s*,\s*1\s*\}|\bbinary\b|zero or one", r""),
    ("distribution", r"sum(s|ming)? to (1|one)|distribution|simplex|histogram", r""),
    ("unit", r"probabilit|[\[(]\s*0\s*,\s*1\s*[\])]|between 0 and 1|in the unit interval", r""),
    (
        "positive",
        r"\bpositive\b|(?<![-\w])>\s*0|non-?negative|>=\s*0|greater than (0|zero)",
        r"positive part|negative or|or negative|and negative",
    ),
    ("mask", r"\bboolean|\bmask\b|\bbool\b", r""),
    ("labels", r"\binteger|\blabels?\b|\bindices\b|\bint\b|\bclass(es)?\b(?! prob)|\bids?\b", r"float"),
)


@dataclass(frozen=True)
class Said:
    """What is known of an argument: dims, each an expression in symbols, or None; values, or ""."""

    dims: Dims | None = None
    domain: str = ""
    rank: int | None = None


def said(name: str, names: Sequence[str], texts: Sequence[str]) -> Said:
    """All that the texts say of one argument; the first text that says something wins. names: all arguments."""
    dims, domain, rank = None, "", None
    for text in texts:
        plain = TYPES.sub(" ", text)
        for before, segment in _segments(plain, name, names):
            dims = dims if dims is not None else dims_of(segment)
            domain = domain or _domain(segment) or _domain(before)
            rank = rank if rank is not None else _rank(before, segment, names)
    if dims is None and rank == 0:
        dims = ()
    if dims is None and len(names) == 1 and any(BY_ENTRY.search(text) for text in texts):
        dims = ANY
    return Said(dims, domain, rank)


def _segments(text: str, name: str, names: Sequence[str]) -> Iterator[tuple[str, str]]:
    """What stands before the name and behind it, up to the next argument or the end of the sentence."""
    others = "|".join(re.escape(n) for n in sorted(names, key=len, reverse=True) if n != name) or "(?!)"
    listed = rf"(?:\s*(?:,|and|&)\s*(?:{others})\b(?!\s*[(\[]))*"
    for match in re.finditer(rf"(?<![\w.^_\\]){re.escape(name)}(?![\w]){listed}", text):
        rest = text[match.end() : match.end() + 4 * GAP]
        stop = re.search(rf"(?<![\w.])(?:{others})\s*(?::|--|\(|\[|=|\bis\b|\bin\b)|\.\s|;|->|\n\s*\n", rest)
        every = "|".join(map(re.escape, names))
        stops = rf"[.;:()\n]|->|\b(?:{others})\b(?!\s*(?:,|and)\s*(?:and\s*)?(?:(?:{every})\b|$))"
        before = re.split(stops, text[max(0, match.start() - GAP) : match.start()])
        if not re.match(r"[(\[]\s*[^,()\[\]]*[)\]]", rest):  # x[i], f(x)
            yield before[-1] or "", rest[: stop.start()] if stop else rest


def dims_of(segment: str) -> Dims | None:
    """The shape that follows a name at once, or after a few words about it."""
    head = segment[: 2 * GAP]
    if EVERYWHERE.search(head.split("\n")[0]):
        return ANY
    if match := re.match(
        rf"(?P<gap>(?:\.shape)?\s*[^()\[\]{{}}\n]{{0,{GAP}}})[(\[](?P<dims>[^()\[\]]*)[)\]]", head
    ):
        if (dims := _listed(match["dims"], match["gap"])) is not None and "=" not in match["gap"].replace(
            "==", ""
        ).replace(".shape =", ""):
            return dims
    short = r"(?:[A-Za-z]\w{0,7}|\d+)"
    times = r"\s*(?:x|×|by|-by-)\s*"
    if match := re.match(
        rf"[^()\n]{{0,{GAP}}}?(?:[:=]|--|\bis an?|\ban?|\bof shape|\bof size|\bin R\^?\{{?)\s*(?P<dims>{short}(?:{times}{short})+)\b",
        head,
    ):
        return tuple(re.split(times, match["dims"]))
    if match := re.match(
        rf"[^()\n]{{0,{GAP}}}?(?:R|ℝ|RR)\s*\^\s*[{{(]?\s*(?P<dims>{short}(?:{times}{short})*)", head
    ):
        return tuple(re.split(times, match["dims"]))
    if match := re.match(
        rf"[^()\n]{{0,{GAP}}}?\b(?:(?P<a>{short})-vector|vectors? of (?:length|size|dimension) (?P<b>{short})|of length (?P<c>{short}))",
        head,
    ):
        return (match["a"] or match["b"] or match["c"],)
    if match := re.match(rf"[^()\n]{{0,{GAP}}}?\}}\s*\^\s*\{{?\s*(?P<dims>{short}(?:{times}{short})*)", head):
        return tuple(re.split(times, match["dims"]))
    line = head.split("\n")[0]
    if re.match(r"[^()]{0,30}?\bsquare\b", line) and re.search(r"matri", line):
        return ("n", "n")
    if re.match(
        r"[^()]{0,30}?\b(an? )?(int|integer)\b( class)?( label| index)?(?! *(s\b|array|label|class|indic|vector|matri|tensor|code))",
        line,
    ) and not re.search(r"integers|ints\b|labels|vector|arrays?\b|list", line[:GAP]):
        return ()
    if SCALAR.search(line[:GAP]) and not re.search(r"vector|matri|arrays?\b|list", line[:GAP]):
        return ()
    return None


def _listed(inside: str, gap: str) -> Dims | None:
    """`N, D` or `2 m` or `T - K + 1,` as dims; None for what is no shape."""
    parts = [p.strip() for p in inside.split(",")]
    if not inside.strip():
        return () if "shape" in gap else None
    if parts[-1] == "":
        parts = parts[:-1]
    elif len(parts) == 1 and not (
        re.search(r"shape|length|size|array|vector|^\s*:?\s*$", gap) and len(parts[0]) < 8
    ):
        return None
    for part in parts:
        if part in ("...", "*", ":"):
            return ANY if len(parts) == 1 or part in ("...", "*") else None
        if normal(part) is None or {w.lower() for w in re.findall(r"[A-Za-z_]\w*", part)} & WORDS:
            return None
    return tuple(str(normal(p)) for p in parts)


def _rank(before: str, segment: str, names: Sequence[str]) -> int | None:
    """1 for a vector, 2 for a matrix, 0 for a number, by the words around the name."""
    behind = re.split(rf"\b(?:{'|'.join(map(re.escape, names))})\b|\n", segment[:GAP])[0]
    for line in (before, behind.split(" and ")[0]):
        if re.search(r"\bvectors?\b|1-?d\b|\blist of (floats|numbers)", line, re.I):
            return 1
        if re.search(r"\bmatri(x|ces)\b|2-?d\b|\bbatch of vectors", line, re.I):
            return 2
    return 0 if SCALAR.search(before) else None


def _domain(segment: str) -> str:
    line = segment[: 2 * GAP].split("\n")[0]
    for domain, says, denies in DOMAINS:
        if re.search(says, line, re.I) and not (denies and re.search(denies, line, re.I)):
            return domain
    return ""


def of_signature(function: str, names: Sequence[str], texts: Sequence[str]) -> dict[str, Dims]:
    """What `f: (n, d), (d,) -> (n,)` says of the arguments in their order."""
    for text in texts:
        for match in re.finditer(
            r"(?P<name>\w+)?\s*:?\s*(?P<all>(?:\([^()]*\)[\s,x×*]*)+)(?:->|→|\bto\b)", text
        ):
            listed = [_listed(inside, "shape") for inside in re.findall(r"\(([^()]*)\)", match["all"])]
            if (
                match["name"] in (None, function, "shapes", "shape")
                and len(listed) == len(names)
                and None not in listed
            ):
                return {n: dims for n, dims in zip(names, listed, strict=True) if dims is not None}
    return {}


def of_hint(annotation: object) -> Said:
    """What a type hint says: `float`, `int`, `Float[Array, "n d"]`."""
    text = (
        annotation if isinstance(annotation, str) else getattr(annotation, "__name__", "") or str(annotation)
    )
    if match := re.search(r"\w+\[[\w.]+,\s*['\"]([^'\"]*)['\"]\]", str(annotation)):
        parts = match[1].split()
        return Said(ANY if "..." in parts else tuple(parts))
    if text in ("float", "np.float64", "numpy.float64", "complex"):
        return Said(())
    if text == "int":
        return Said((), "int")
    return Said()


def of_code(names: Sequence[str], sources: Sequence[str]) -> dict[str, Dims]:
    """What `n, d = x.shape` and `assert w.shape == (d, m)` in the code say."""
    found: dict[str, Dims] = {}
    for source in sources:
        for match in re.finditer(
            r"^\s*([\w, ]+?),?\s*=\s*(?:np\.shape\((\w+)\)|(\w+)\.shape)\s*(?:#.*)?$", source, re.M
        ):
            name = match[2] or match[3]
            if name in names and "," in match[0].split("=")[0]:
                dims = tuple(p.strip() for p in match[1].split(",") if p.strip())
                if "_" not in dims and len(set(dims)) == len(dims):
                    found.setdefault(name, dims)
        for match in re.finditer(r"\b(\w+)\.shape\s*==\s*\(([^()]*)\)", source):
            if match[1] in names and (dims := _listed(match[2], "shape")) is not None:
                found.setdefault(match[1], dims)
    return found


def symbols_of(dims: Sequence[str]) -> list[str]:
    """The symbols in a shape, in their order."""
    return [s for dim in dims for s in re.findall(r"[A-Za-z_]\w*", dim)]


def size_of(dim: str, sizes: Mapping[str, int]) -> int:
    """The number that an expression such as `T - K + 1` gives. Raises KeyError for a symbol without a size."""
    return int(_evaluate(ast.parse(dim, mode="eval").body, sizes))


def normal(dim: str) -> str | None:
    """`2 m` as `2*m`; None for what is no arithmetic of symbols."""
    text = re.sub(r"(\d)\s*(?=[A-Za-z_(])", r"\1*", dim.strip()).replace("^", "**").replace("·", "*")
    try:
        body = ast.parse(text, mode="eval").body
        _evaluate(body, dict.fromkeys(symbols_of([text]), 7))
    except (SyntaxError, KeyError, TypeError, ValueError, ZeroDivisionError):
        return None
    return text


def _evaluate(node: ast.expr, sizes: Mapping[str, int]) -> int:
    match node:
        case ast.Constant(value=int(number)):
            return number
        case ast.Name(id=name):
            return sizes[name]
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -_evaluate(operand, sizes)
        case ast.BinOp(left=left, op=op, right=right):
            a, b = _evaluate(left, sizes), _evaluate(right, sizes)
            if isinstance(op, ast.Add):
                return a + b
            if isinstance(op, ast.Sub):
                return a - b
            if isinstance(op, ast.Mult):
                return a * b
            if isinstance(op, ast.FloorDiv | ast.Div):
                return a // b
    raise TypeError("no size")
