"""The computation of an architecture as a chain of named stages: the order in which divergence is sought.

Written down apart from scratch's layer list, so that a layer that scratch forgets is noticed here.
"""

from dataclasses import dataclass

from scratch.learner import Architecture


@dataclass(frozen=True)
class Stage:
    """`op` turns the tensor named `source` into the one named `output`; `layer` owns W and b, if any.

    op: dense, conv, activation, pool, dropout, reshape (flatten) or same (a second name for one tensor).
    """

    op: str
    layer: str
    source: str
    output: str


def stages(architecture: Architecture) -> list[Stage]:
    """The chain from `<first layer>/input` to the logits, `<last layer>/net_input`."""
    chain: list[Stage] = []

    def affine(op: str, layer: str) -> None:
        chain.append(Stage(op, layer, f"{layer}/input", f"{layer}/net_input"))

    def activate(layer: str) -> None:
        chain.append(Stage("activation", layer, f"{layer}/net_input", f"{layer}/activation"))

    if architecture.kind == "mlp":
        last = len(architecture.sizes) - 1
        for number in range(1, last + 1):
            layer = f"fc{number}"
            if number > 1:
                link = "dropout" if architecture.dropout else "same"
                chain.append(Stage(link, layer, f"fc{number - 1}/activation", f"{layer}/input"))
            affine("dense", layer)
            if number < last:
                activate(layer)
        return chain

    for layer, following, link in (("conv1", "conv2", "same"), ("conv2", "fc1", "reshape")):
        affine("conv", layer)
        activate(layer)
        chain.append(Stage("pool", layer, f"{layer}/activation", f"{layer}/pooled"))
        chain.append(Stage(link, following, f"{layer}/pooled", f"{following}/input"))
    affine("dense", "fc1")
    activate("fc1")
    chain.append(Stage("dropout" if architecture.dropout else "same", "fc2", "fc1/activation", "fc2/input"))
    affine("dense", "fc2")
    return chain


def dropouts(architecture: Architecture) -> dict[str, int]:
    """Units by the name of what a dropout gives, such as `fc2/input`."""
    sizes = architecture.sizes
    units = (
        {"fc2": sizes[0]} if architecture.kind == "dcn" else {f"fc{i + 1}": n for i, n in enumerate(sizes)}
    )
    return {stage.output: units[stage.layer] for stage in stages(architecture) if stage.op == "dropout"}


def value_order(architecture: Architecture) -> list[str]:
    """Every watched value in forward order, the probabilities last."""
    chain = stages(architecture)
    logits = chain[-1].output
    names = [chain[0].source, *(stage.output for stage in chain)]
    return [*names, logits.replace("net_input", "activation")]


def gradient_order(architecture: Architecture) -> list[str]:
    """Every gradient in backward order: a layer's net input, its W and b, then its input."""
    chain = stages(architecture)
    names = [chain[-1].output]
    for stage in reversed(chain):
        if stage.op in ("dense", "conv"):
            names += [f"{stage.layer}/W", f"{stage.layer}/b"]
        names.append(stage.source)
    return names
