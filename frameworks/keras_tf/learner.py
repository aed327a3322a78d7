"""KerasLearner: a Keras model and optimizer on TensorFlow behind the Learner protocol."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from frameworks import checks
from frameworks.keras_tf import models
from scratch.errors import UsageError
from scratch.learner import Architecture, error_of
from scratch.network import Masks, Watched, check_names

Array = np.ndarray
ROLES = {"act": "activation", "pool": "pooled"}  # of the layer `conv1_act`, `conv1_pool`, ...


class Rule(NamedTuple):
    """One of keras.optimizers' classes, our choice of arguments, hyperparameters and names of slots."""

    make: Callable[..., Any]
    arguments: dict[str, Any]
    names: tuple[str, ...]
    slots: dict[str, str]


RATE = ("learning_rate", "weight_decay")
ADAM = (*RATE, "epsilon", "beta_1", "beta_2")
VELOCITY = {"velocity": "momentum"}
MOMENTS = {"mean": "momentum", "mean_square": "velocity"}
OPTIMIZERS = {
    "sgd": Rule(keras.optimizers.SGD, {}, RATE, {}),
    "momentum": Rule(keras.optimizers.SGD, {"momentum": 0.9}, (*RATE, "momentum"), VELOCITY),
    "nesterov": Rule(
        keras.optimizers.SGD, {"momentum": 0.9, "nesterov": True}, (*RATE, "momentum"), VELOCITY
    ),
    "adagrad": Rule(keras.optimizers.Adagrad, {}, (*RATE, "epsilon"), {"square_sum": "accumulator"}),
    "rmsprop": Rule(keras.optimizers.RMSprop, {}, (*RATE, "rho", "epsilon"), {"mean_square": "velocity"}),
    "adadelta": Rule(
        keras.optimizers.Adadelta,
        {},
        (*RATE, "rho", "epsilon"),
        {"mean_square": "accumulated_grad", "mean_square_step": "accumulated_delta_var"},
    ),
    "adam": Rule(keras.optimizers.Adam, {}, ADAM, MOMENTS),
    "adamw": Rule(keras.optimizers.AdamW, {}, ADAM, MOMENTS),
}


class KerasLearner:
    """A Keras network with one of keras.optimizers' optimizers; see Learner for the methods.

    optimizer: a name in OPTIMIZERS; hyperparameters as in scratch.optimizers, else Keras's own defaults,
    every one rounded to float32. Dropout is off unless masks are given. `step` and `logits` are traced.
    Raises UsageError for unknown names and for an architecture that makes no network.
    """

    framework = "keras"

    def __init__(
        self,
        architecture: Architecture,
        optimizer: str = "sgd",
        dtype: str = "float32",
        **hyperparameters: float,
    ) -> None:
        checks.check_architecture(architecture)
        self.architecture, self.dtype = architecture, checks.check_dtype(dtype)
        self.model = _model(architecture, self.dtype)
        self.cross_entropy = keras.losses.SparseCategoricalCrossentropy(from_logits=True, dtype=self.dtype)
        self.parameters = {_canonical(v.path): v for v in self.model.trainable_variables}
        self.shapes = {name: tuple(v.shape) for name, v in self.parameters.items()}
        self.rule, self.optimizer = _optimizer(optimizer, hyperparameters)
        self.optimizer.build(self.model.trainable_variables)
        self.dropouts = {
            layer.name.replace("_drop", "/input"): layer
            for layer in self.model.layers
            if isinstance(layer, models.Dropout)
        }
        self._train = tf.function(self._update, reduce_retracing=True)
        self._predict = tf.function(self.model, reduce_retracing=True)

    @property
    def learning_rate(self) -> float:
        return float(_numpy(self.optimizer.learning_rate))

    @learning_rate.setter
    def learning_rate(self, value: float) -> None:
        self.optimizer.learning_rate = value

    def weights(self) -> dict[str, Array]:
        return {name: _numpy(v) for name, v in self.parameters.items()}

    def load(self, weights: dict[str, Array]) -> None:
        check_names(weights, self.shapes)
        for name, variable in self.parameters.items():
            variable.assign(self._tensor(weights[name]))

    def logits(self, x: Array) -> Array:
        return _numpy(self._predict(self._input(x)))

    def loss_and_grads(
        self, x: Array, t: Array, masks: Masks | None = None
    ) -> tuple[float, dict[str, Array]]:
        loss, _, gradients = self._gradients(
            self._input(x), self._targets(t, len(x)), self._masks(masks, len(x))
        )
        return float(loss), {n: _numpy(g) for n, g in zip(self.parameters, gradients, strict=True)}

    def watch(self, x: Array, t: Array, masks: Masks | None = None) -> Watched:
        images, targets = self._input(x), self._targets(t, len(x))
        with self._dropping(self._masks(masks, len(x))), tf.GradientTape() as tape:
            tape.watch(images)
            seen = self._watcher(images)
            logits = seen[list(self._watched)[-1]]
            loss = self._loss(logits, targets)
        gradients, own = tape.gradient(
            loss, (seen, self.model.trainable_variables), unconnected_gradients="zero"
        )
        values = {name: _numpy(seen[name]) for name in self._watched}
        last = list(values)[-1].replace("net_input", "activation")
        values[last] = _numpy(models.probabilities(logits, self.architecture.output))
        return Watched(
            float(loss),
            values,
            checks.backward_order(
                {name: _numpy(gradients[name]) for name in self._watched},
                {name: _numpy(g) for name, g in zip(self.parameters, own, strict=True)},
            ),
        )

    def apply(self, gradients: dict[str, Array]) -> None:
        check_names(gradients, self.shapes)
        self.optimizer.apply([self._tensor(gradients[name]) for name in self.parameters])

    def step(self, x: Array, t: Array, masks: Masks | None = None) -> tuple[float, float]:
        batch = self._input(x), self._targets(t, len(x)), self._masks(masks, len(x))
        loss, logits = self._train(*batch)
        return float(loss), error_of(_numpy(logits), t)

    def optimizer_state(self) -> dict[str, Array]:
        state: dict[str, Array] = {"step": np.int64(_numpy(self.optimizer.iterations))}  # type: ignore[dict-item]
        return state | {name: _numpy(v) for name, v in self._slots().items()}

    def load_optimizer_state(self, state: dict[str, Array]) -> None:
        slots = self._slots()
        check_names(state, {"step": ()} | {name: tuple(v.shape) for name, v in slots.items()})
        self.optimizer.iterations.assign(int(state["step"]))
        for name, variable in slots.items():
            variable.assign(self._tensor(state[name]))

    def _input(self, x: Array) -> tf.Tensor:
        checks.check_input(x, self.architecture)
        return self._tensor(x)

    def _targets(self, t: Array, examples: int) -> tf.Tensor:
        return tf.convert_to_tensor(checks.check_targets(t, examples, self.architecture))

    def _masks(self, masks: Masks | None, examples: int) -> dict[str, tf.Tensor]:
        units = {name: self.shapes[name.replace("input", "W")][0] for name in self.dropouts}
        given = checks.check_masks(masks, units, examples)
        return {name: self._tensor(mask) for name, mask in given.items()}

    @contextmanager
    def _dropping(self, masks: dict[str, tf.Tensor]) -> Iterator[None]:
        """Dropout by these masks; within a tf.function they are its arguments, so nothing is baked in."""
        for name, layer in self.dropouts.items():
            layer.keep = masks.get(name)
        try:
            yield
        finally:
            for layer in self.dropouts.values():
                layer.keep = None

    def _loss(self, logits: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
        """Nats per example, and the penalty, which Keras keeps in the model's `losses`."""
        if self.architecture.output == "softmax":
            loss = self.cross_entropy(targets, logits)
        else:
            if len(targets.shape) == 1:
                targets = ops.one_hot(targets, logits.shape[1], dtype=self.dtype)
            targets = ops.cast(targets, self.dtype)
            losses = ops.binary_crossentropy(targets, logits, from_logits=True)
            loss = ops.mean(ops.sum(losses, axis=1))
        return sum(self.model.losses, loss)

    def _gradients(
        self, x: tf.Tensor, targets: tf.Tensor, masks: dict[str, tf.Tensor]
    ) -> tuple[tf.Tensor, tf.Tensor, list[tf.Tensor]]:
        """(loss, logits, gradients)."""
        with self._dropping(masks), tf.GradientTape() as tape:
            logits = self.model(x)
            loss = self._loss(logits, targets)
        gradients = tape.gradient(loss, self.model.trainable_variables, unconnected_gradients="zero")
        return loss, logits, gradients

    def _update(
        self, x: tf.Tensor, targets: tf.Tensor, masks: dict[str, tf.Tensor]
    ) -> tuple[tf.Tensor, tf.Tensor]:
        loss, logits, gradients = self._gradients(x, targets, masks)
        self.optimizer.apply(gradients)
        return loss, logits

    @cached_property
    def _watched(self) -> dict[str, Any]:
        """The model's symbolic tensors by canonical name, in forward order."""
        tensors = {}
        for layer in self.model.layers:
            name, _, role = layer.name.partition("_")
            if f"{layer.name}/W" in self.shapes:
                tensors[f"{name}/input"] = layer.input
                tensors[f"{name}/net_input"] = layer.output
            elif role in ROLES:
                tensors[f"{name}/{ROLES[role]}"] = layer.output
        return tensors

    @cached_property
    def _watcher(self) -> Any:
        """The same layers with all that is watched as output."""
        return keras.Model(self.model.input, self._watched)

    def _slots(self) -> dict[str, Any]:
        """The optimizer's variables by canonical name; Keras names them after the parameter's path."""
        variables = {v.path.split("/")[-1]: v for v in self.optimizer.variables}
        return {
            f"{name}/{slot}": variables[f"{parameter.path.replace('/', '_')}_{suffix}"]
            for slot, suffix in self.rule.slots.items()
            for name, parameter in self.parameters.items()
        }

    def _tensor(self, a: Array) -> tf.Tensor:
        return tf.convert_to_tensor(np.asarray(a, self.dtype))


def _model(a: Architecture, dtype: str) -> Any:
    regularizer = keras.regularizers.L1L2(a.l1, a.l2 / 2) if a.l1 or a.l2 else None  # Keras: l2 sum W^2
    options = regularizer, regularizer if a.penalize_biases else None, dtype
    if a.kind == "mlp":
        return models.mlp(a.sizes, a.activation, a.dropout, *options)
    hidden, classes = a.sizes
    return models.dcn(a.image, a.filters, a.kernel, hidden, classes, a.activation, a.dropout, *options)


def _canonical(path: str) -> str:
    """`conv1/kernel` and `sequential/conv1/kernel` are our `conv1/W`."""
    layer, what = path.split("/")[-2:]
    return f"{layer}/{ {'kernel': 'W', 'bias': 'b'}[what] }"


def _optimizer(name: str, given: dict[str, float]) -> tuple[Rule, Any]:
    checks.one_of("optimizer", name, OPTIMIZERS)
    rule = OPTIMIZERS[name]
    checks.check_hyperparameters(name, given, rule.names)
    try:
        optimizer = rule.make(**rule.arguments | given)
    except ValueError as error:
        raise UsageError(f"{name} does not take these values: {error}.") from error
    for hyperparameter in rule.names:  # the learning rate is a float32 variable already
        if isinstance(value := getattr(optimizer, hyperparameter), float):
            setattr(optimizer, hyperparameter, checks.snap(value))
    return rule, optimizer


def _numpy(tensor: Any) -> Array:
    return np.asarray(tf.convert_to_tensor(tensor).numpy(), order="C")  # numpy() has copied it
