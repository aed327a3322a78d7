"""TorchLearner: a PyTorch model and optimizer behind the Learner protocol."""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from frameworks import checks
from frameworks.pytorch import models
from scratch.errors import UsageError
from scratch.learner import Architecture, error_of
from scratch.network import Masks, Watched, check_names

Array = np.ndarray
ROLES = {"act": "activation", "pool": "pooled"}  # of the module `conv1_act`, `conv1_pool`, ...


class Entry(NamedTuple):
    """Where a canonical parameter lives in the PyTorch model; how its array is turned there, and back."""

    name: str
    to: Callable[[Array], Array]
    back: Callable[[Array], Array]


class Rule(NamedTuple):
    """One of torch.optim's classes, our choice of arguments, its names of hyperparameters and slots."""

    make: Callable[..., torch.optim.Optimizer]
    arguments: dict[str, Any]
    names: dict[str, str]
    slots: dict[str, str]


RATE = {"learning_rate": "lr", "weight_decay": "weight_decay"}
ADAM = RATE | {"epsilon": "eps", "beta_1": "betas", "beta_2": "betas"}
VELOCITY = {"velocity": "momentum_buffer"}
MOMENTS = {"mean": "exp_avg", "mean_square": "exp_avg_sq"}
OPTIMIZERS = {
    "sgd": Rule(torch.optim.SGD, {"lr": 1e-3}, RATE, {}),
    "momentum": Rule(
        torch.optim.SGD, {"lr": 1e-3, "momentum": 0.9}, RATE | {"momentum": "momentum"}, VELOCITY
    ),
    "nesterov": Rule(
        torch.optim.SGD,
        {"lr": 1e-3, "momentum": 0.9, "nesterov": True},
        RATE | {"momentum": "momentum"},
        VELOCITY,
    ),
    "adagrad": Rule(torch.optim.Adagrad, {}, RATE | {"epsilon": "eps"}, {"square_sum": "sum"}),
    "rmsprop": Rule(
        torch.optim.RMSprop, {}, RATE | {"rho": "alpha", "epsilon": "eps"}, {"mean_square": "square_avg"}
    ),
    "adadelta": Rule(
        torch.optim.Adadelta,
        {},
        RATE | {"rho": "rho", "epsilon": "eps"},
        {"mean_square": "square_avg", "mean_square_step": "acc_delta"},
    ),
    "adam": Rule(torch.optim.Adam, {"betas": (0.9, 0.999)}, ADAM, MOMENTS),
    "adamw": Rule(torch.optim.AdamW, {"betas": (0.9, 0.999)}, ADAM, MOMENTS),
}


class TorchLearner:
    """A PyTorch network with one of torch.optim's optimizers; see Learner for the methods.

    optimizer: a name in OPTIMIZERS; hyperparameters as in scratch.optimizers, else torch's own defaults,
    every one rounded to float32. Dropout is off unless masks are given.
    Raises UsageError for unknown names and for an architecture that makes no network.
    """

    framework = "torch"

    def __init__(
        self,
        architecture: Architecture,
        optimizer: str = "sgd",
        dtype: str = "float32",
        device: str = "cpu",
        **hyperparameters: float,
    ) -> None:
        checks.check_architecture(architecture)
        self.architecture, self.device = architecture, torch.device(device)
        self.dtype: torch.dtype = getattr(torch, checks.check_dtype(dtype))
        self.model = _model(architecture).to(self.device, self.dtype).eval()
        self.table = _table(self.model)
        parameters = dict(self.model.named_parameters())
        self.parameters = {name: parameters[entry.name] for name, entry in self.table.items()}
        self.shapes: dict[str, tuple[int, ...]] = {
            name: weight.shape for name, weight in self.weights().items()
        }
        self.rule, self.optimizer = _optimizer(optimizer, self.parameters.values(), hyperparameters)
        self.steps = 0
        self.dropouts: dict[str, models.Dropout] = {}
        if architecture.dropout:
            for name, module in self.model.named_modules():
                if isinstance(module, models.Dropout):
                    self.dropouts[name.replace("_drop", "/input")] = module

    @property
    def learning_rate(self) -> float:
        return self.optimizer.param_groups[0]["lr"]

    @learning_rate.setter
    def learning_rate(self, value: float) -> None:
        self.optimizer.param_groups[0]["lr"] = checks.snap(value)

    def weights(self) -> dict[str, Array]:
        return {name: self._back(name, parameter) for name, parameter in self.parameters.items()}

    def load(self, weights: dict[str, Array]) -> None:
        check_names(weights, self.shapes)
        with torch.no_grad():
            for name, parameter in self.parameters.items():
                parameter.copy_(self._to(name, weights[name]))

    def logits(self, x: Array) -> Array:
        with torch.no_grad():
            return _numpy(self._forward(self._input(x), None))

    def loss_and_grads(
        self, x: Array, t: Array, masks: Masks | None = None
    ) -> tuple[float, dict[str, Array]]:
        loss, _ = self._backward(x, t, masks)
        return loss, {name: self._back(name, _gradient(p)) for name, p in self.parameters.items()}

    def watch(self, x: Array, t: Array, masks: Masks | None = None) -> Watched:
        images = self._input(x).requires_grad_()
        with _watching(self.model) as seen:
            logits = self._forward(images, masks)
        loss = self._loss(logits, t)
        self.model.zero_grad()
        loss.backward()
        values = {name: self._canonical(name, tensor) for name, tensor in seen.items()}
        gradients = {name: self._canonical(name, _gradient(tensor)) for name, tensor in seen.items()}
        parameters = {name: self._back(name, _gradient(p)) for name, p in self.parameters.items()}
        last = list(seen)[-1].replace("net_input", "activation")
        values[last] = _numpy(models.probabilities(logits, self.architecture.output))
        return Watched(loss.item(), values, checks.backward_order(gradients, parameters))

    def apply(self, gradients: dict[str, Array]) -> None:
        check_names(gradients, self.shapes)
        for name, parameter in self.parameters.items():
            parameter.grad = self._to(name, gradients[name])
        self.optimizer.step()
        self.steps += 1

    def step(self, x: Array, t: Array, masks: Masks | None = None) -> tuple[float, float]:
        loss, logits = self._backward(x, t, masks)
        self.optimizer.step()
        self.steps += 1
        return loss, error_of(_numpy(logits), t)

    def optimizer_state(self) -> dict[str, Array]:
        state: dict[str, Array] = {"step": np.int64(self.steps)}  # type: ignore[dict-item]
        for slot, key in self.rule.slots.items():
            for name, parameter in self.parameters.items():
                value = self.optimizer.state[parameter].get(key)  # absent or None before the first step
                state[f"{name}/{slot}"] = self._back(
                    name, torch.zeros_like(parameter) if value is None else value
                )
        return state

    def load_optimizer_state(self, state: dict[str, Array]) -> None:
        shapes = {f"{name}/{slot}": s for slot in self.rule.slots for name, s in self.shapes.items()}
        check_names(state, {"step": ()} | shapes)
        self.steps = int(state["step"])
        for name, parameter in self.parameters.items():
            own = {key: self._to(name, state[f"{name}/{slot}"]) for slot, key in self.rule.slots.items()}
            self.optimizer.state[parameter] = {"step": torch.tensor(float(self.steps))} | own

    def _input(self, x: Array) -> Tensor:
        """x as the model takes it: images in NCHW, contiguous."""
        checks.check_input(x, self.architecture)
        x = np.asarray(x)
        return self._tensor(x.transpose(0, 3, 1, 2) if x.ndim == 4 else x)

    def _forward(self, x: Tensor, masks: Masks | None) -> Tensor:
        units = {name: self.parameters[name.replace("input", "W")].shape[1] for name in self.dropouts}
        given = checks.check_masks(masks, units, len(x))
        for name, module in self.dropouts.items():
            module.keep = self._tensor(given[name]) if name in given else None
        try:
            with warnings.catch_warnings():
                # torch remarks that an even kernel costs one padded copy
                warnings.filterwarnings("ignore", message="Using padding='same' with even kernel")
                return self.model(x)
        finally:
            for module in self.dropouts.values():
                module.keep = None

    def _loss(self, logits: Tensor, t: Array) -> Tensor:
        """Nats per example, and the penalty."""
        targets = torch.tensor(checks.check_targets(t, len(logits), self.architecture), device=self.device)
        if self.architecture.output == "softmax":
            loss = F.cross_entropy(logits, targets)
        else:
            if targets.ndim == 1:
                targets = F.one_hot(targets, logits.shape[1])
            losses = F.binary_cross_entropy_with_logits(logits, targets.to(self.dtype), reduction="sum")
            loss = losses / len(logits)
        l1, l2 = checks.snap(self.architecture.l1), checks.snap(self.architecture.l2)
        if l1 or l2:
            for name, parameter in self.parameters.items():
                if name.endswith("/W") or self.architecture.penalize_biases:
                    loss = loss + l1 * parameter.abs().sum() + l2 / 2 * parameter.square().sum()
        return loss

    def _backward(self, x: Array, t: Array, masks: Masks | None) -> tuple[float, Tensor]:
        """(loss, logits), with the gradients left in the parameters."""
        logits = self._forward(self._input(x), masks)
        loss = self._loss(logits, t)
        self.model.zero_grad()
        loss.backward()
        return loss.item(), logits

    def _tensor(self, a: Array) -> Tensor:
        return torch.tensor(np.ascontiguousarray(a), dtype=self.dtype, device=self.device)

    def _to(self, name: str, canonical: Array) -> Tensor:
        return self._tensor(self.table[name].to(np.asarray(canonical)))

    def _back(self, name: str, tensor: Tensor) -> Array:
        view = _view(tensor)
        turned = self.table[name].back(view)
        return np.array(turned, order="C", copy=np.may_share_memory(turned, view) or None)

    def _canonical(self, name: str, tensor: Tensor) -> Array:
        """A watched tensor as the contract has it: images in NHWC, and flattened in that order."""
        turned = tensor.permute(0, 2, 3, 1) if tensor.ndim == 4 else tensor
        if isinstance(self.model, models.DCN) and name == "fc1/input":
            turned = tensor.unflatten(1, self.model.features).permute(0, 2, 3, 1).flatten(1)
        turned = turned.contiguous()  # PyTorch's own copy, on all threads
        return _numpy(turned) if turned.data_ptr() == tensor.data_ptr() else _view(turned)


def _model(a: Architecture) -> nn.Module:
    if a.kind == "mlp":
        return models.MLP(a.sizes, a.activation, a.dropout)
    hidden, classes = a.sizes
    return models.DCN(a.image, a.filters, a.kernel, hidden, classes, a.activation, a.dropout)


def _table(model: nn.Module) -> dict[str, Entry]:
    """The correspondence: canonical name -> (PyTorch's name, to PyTorch's layout, back)."""
    table = {}
    for name, module in model.named_modules():
        weight, bias = f"{name}.weight", f"{name}.bias"
        if isinstance(module, nn.Conv2d):  # (K, K, C, F) and (F, C, K, K)
            table[f"{name}/W"] = Entry(
                weight, lambda w: w.transpose(3, 2, 0, 1), lambda w: w.transpose(2, 3, 1, 0)
            )
        elif isinstance(module, nn.Linear):  # (D, M) and (M, D)
            table[f"{name}/W"] = Entry(weight, lambda w: w.T, lambda w: w.T)
        else:
            continue
        table[f"{name}/b"] = Entry(bias, lambda b: b, lambda b: b)
    if isinstance(model, models.DCN):  # fc1's rows follow the flattened images
        to, back = partial(_hwc_to_chw, model.features), partial(_chw_to_hwc, model.features)
        table["fc1/W"] = Entry("fc1.weight", lambda w: to(w).T, lambda w: back(w.T))
    return table


def _hwc_to_chw(features: tuple[int, int, int], rows: Array) -> Array:
    """Rows (H * W * C, ...) that follow a channels-last image, in the order of a channels-first one."""
    c, h, w = features
    return rows.reshape(h, w, c, -1).transpose(2, 0, 1, 3).reshape(rows.shape)


def _chw_to_hwc(features: tuple[int, int, int], rows: Array) -> Array:
    c, h, w = features
    return rows.reshape(c, h, w, -1).transpose(1, 2, 0, 3).reshape(rows.shape)


def _optimizer(name: str, parameters: Any, given: dict[str, float]) -> tuple[Rule, torch.optim.Optimizer]:
    checks.one_of("optimizer", name, OPTIMIZERS)
    rule = OPTIMIZERS[name]
    checks.check_hyperparameters(name, given, rule.names)
    arguments = dict(rule.arguments)
    for hyperparameter, value in given.items():
        key = rule.names[hyperparameter]
        if key == "betas":
            first, second = arguments["betas"]
            arguments["betas"] = (value, second) if hyperparameter == "beta_1" else (first, value)
        else:
            arguments[key] = value
    try:
        optimizer = rule.make(parameters, **arguments)
    except ValueError as error:
        raise UsageError(f"{name} does not take these values: {error}.") from error
    (group,) = optimizer.param_groups
    for key, value in group.items():
        if isinstance(value, float):
            group[key] = checks.snap(value)
        elif key == "betas":
            group[key] = tuple(map(checks.snap, value))
    return rule, optimizer


@contextmanager
def _watching(model: nn.Module) -> Iterator[dict[str, Tensor]]:
    """Every layer's input, net input, activation and pooled map by canonical name, with their gradients."""
    seen: dict[str, Tensor] = {}

    def keep(name: str, tensor: Tensor) -> None:
        tensor.retain_grad()
        seen[name] = tensor

    def affine(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            keep(f"{name}/input", inputs[0])
            keep(f"{name}/net_input", output)

        return hook

    def elementwise(name: str) -> Callable[..., None]:
        return lambda module, inputs, output: keep(name, output)

    handles = []
    for name, module in model.named_modules():
        layer, _, role = name.partition("_")
        if isinstance(module, nn.Linear | nn.Conv2d):
            handles.append(module.register_forward_hook(affine(name)))
        elif role in ROLES:
            handles.append(module.register_forward_hook(elementwise(f"{layer}/{ROLES[role]}")))
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


def _gradient(tensor: Tensor) -> Tensor:
    """dL/d tensor; nothing stored means that the loss does not depend on it."""
    return torch.zeros_like(tensor) if tensor.grad is None else tensor.grad


def _numpy(tensor: Tensor) -> Array:
    return _view(tensor).copy()


def _view(tensor: Tensor) -> Array:
    """The tensor's own memory, if it lies on the CPU."""
    return tensor.detach().cpu().numpy()
