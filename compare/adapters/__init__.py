"""Adapters: one file for each way in which people write their own backward pass.

Each has STYLE, EXAMPLE (about ten lines, for the help text) and find(context), which yields subjects.
"""

from compare.adapters import (
    function,
    layer_functions,
    loss_and_grads,
    modules,
    network,
    optimizers,
    three_layer,
)

STYLES = {
    adapter.STYLE: adapter
    for adapter in (modules, loss_and_grads, layer_functions, network, three_layer, optimizers, function)
}
