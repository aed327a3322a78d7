"""Where torch.optim takes weights, step by step, for gradients that are given."""

import numpy as np
import torch

Array = np.ndarray


def trajectory(
    rule: str,
    w: Array,
    gradients: Array,
    rates: Array,
    hyperparameters: dict[str, float],
    start: float = 0.0,
    decoupled: bool = False,
) -> Array:
    """w after every step (steps, ...), in float64; hyperparameters by the names of scratch.optimizers.

    start: of Adagrad's sum of squares; decoupled: weight decay shrinks w, which only AdamW has.
    """
    weight = torch.tensor(w, dtype=torch.float64, requires_grad=True)
    optimizer = _make(rule, weight, float(rates[0]), hyperparameters, start, decoupled)
    path = []
    for g, rate in zip(gradients, rates, strict=True):
        optimizer.param_groups[0]["lr"] = float(rate)
        weight.grad = torch.tensor(g, dtype=torch.float64)
        optimizer.step()
        path.append(weight.detach().numpy().copy())
    return np.array(path)


def _make(
    rule: str, weight: torch.Tensor, lr: float, h: dict[str, float], start: float, decoupled: bool
) -> torch.optim.Optimizer:
    decay = h.get("weight_decay", 0.0)
    match rule:
        case "sgd":
            return torch.optim.SGD([weight], lr, weight_decay=decay)
        case "momentum" | "nesterov":
            return torch.optim.SGD(
                [weight], lr, momentum=h["momentum"], nesterov=rule == "nesterov", weight_decay=decay
            )
        case "adagrad":
            return torch.optim.Adagrad(
                [weight], lr, initial_accumulator_value=start, eps=h["epsilon"], weight_decay=decay
            )
        case "rmsprop":
            return torch.optim.RMSprop([weight], lr, alpha=h["rho"], eps=h["epsilon"], weight_decay=decay)
        case "adadelta":
            return torch.optim.Adadelta([weight], lr, rho=h["rho"], eps=h["epsilon"], weight_decay=decay)
        case _:
            adam = torch.optim.AdamW if decoupled else torch.optim.Adam
            return adam([weight], lr, betas=(h["beta_1"], h["beta_2"]), eps=h["epsilon"], weight_decay=decay)
