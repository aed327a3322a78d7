"""Gradients that a framework asks the user's code for: torch.autograd.Function and tf.custom_gradient.

The frameworks come from sys.modules, where the user's file has put them: nothing is loaded here.
"""

import contextlib
import inspect
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from compare.adapters.function_calls import Caller, Given
from scratch.errors import UsageError

Array = np.ndarray


def torch_functions(objects: dict[str, Any]) -> dict[str, type]:
    """The subclasses of torch.autograd.Function that have a backward of their own."""
    torch = sys.modules.get("torch")
    base = getattr(getattr(torch, "autograd", None), "Function", None)
    if base is None:
        return {}
    return {
        n: o
        for n, o in objects.items()
        if inspect.isclass(o) and issubclass(o, base) and o is not base and _backward(o) is not None
    }


def tf_functions(objects: dict[str, Any]) -> dict[str, Callable]:
    """What tf.custom_gradient has made, and functions that use it inside."""
    if "tensorflow" not in sys.modules:
        return {}
    return {n: o for n, o in objects.items() if callable(o) and not inspect.isclass(o) and _is_custom(o)}


def _is_custom(o: Any) -> bool:
    if _decorator(o) == "custom_gradient":
        return True
    code = getattr(o, "__code__", None)
    return inspect.isfunction(o) and code is not None and "custom_gradient" in code.co_names


def _decorator(o: Any) -> str:
    return str(getattr(getattr(o, "_tf_decorator", None), "decorator_name", ""))


def _backward(function: Any) -> Any:
    base = sys.modules["torch"].autograd.Function
    for name in ("backward", "vjp"):
        if getattr(function, name) is not getattr(base, name):
            return getattr(function, name)
    return None


def settle() -> None:
    """PyTorch must not load triton once TensorFlow is there: frameworks/guard.py says why."""
    if "tensorflow" in sys.modules and "torch" in sys.modules:
        sys.modules.setdefault("triton", None)  # type: ignore[arg-type]


class TorchCaller(Caller):
    """A torch.autograd.Function, called with `apply` in float64; its backward is called by torch.autograd.grad."""

    takes_dy, framework = True, "torch"

    def __init__(self, name: str, function: Any, texts: list[str]) -> None:
        settle()
        self.torch: Any = sys.modules["torch"]
        self.name, self.function, self.texts = name, function, texts
        self.used = function
        base = self.torch.autograd.Function
        parameters = [*inspect.signature(function.forward).parameters.values()]
        self.with_context = function.setup_context is base.setup_context  # then the first one is ctx
        kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
        self.parameters = [p for p in parameters[int(self.with_context) :] if p.kind in kinds]

    def value(self, given: Given) -> list[Array]:
        with self._quietly(), self.torch.no_grad():
            outputs = _listed(self.function.apply(*self._tensors(given)))
            return [np.asarray(y.detach().resolve_conj().numpy()) for y in outputs if _is_number(y)]

    def value_of(self, function: Callable, given: Given) -> list[Array]:
        with self._quietly(), self.torch.no_grad():
            first = [_Context()] if self.with_context else []
            outputs = _listed(function(*first, *self._tensors(given)))
            return [np.asarray(y.detach().resolve_conj().numpy()) for y in outputs if _is_number(y)]

    def gradient_functions(self) -> Iterator[tuple[Any, Callable[[Any], None], bool]]:
        user = _backward(self.function)
        name = "backward" if self.function.backward is user else "vjp"

        def install(other: Any) -> None:
            self.used = self.function
            if other is not None:
                self.used = type(self.function.__name__, (self.function,), {name: staticmethod(other)})

        yield user, install, False

    def gradients(self, given: Given, dys: Sequence[Array]) -> Any:
        with self._quietly():
            try:
                return self._gradients(self.used, given, dys)
            except RuntimeError as error:
                if "invalid gradient" not in str(error) and "number of gradients" not in str(error):
                    raise
                return self._raw(given, dys)

    def _gradients(self, function: Any, given: Given, dys: Sequence[Array]) -> tuple:
        tensors = self._tensors(given)
        leaves = [t.requires_grad_() for t in tensors if _is_number(t)]
        # clones, as a Function may change its argument and say so
        own = [t.clone() if _is_number(t) else t for t in tensors]
        outputs = [y for y in _listed(function.apply(*own)) if _is_number(y)]
        pairs = [
            (y, self.torch.tensor(np.array(dy)).to(y.dtype))
            for y, dy in zip(outputs, dys, strict=False)
            if y.requires_grad
        ]
        if not pairs:
            raise UsageError(
                f"{self.name}: no output of forward depends on its arguments; does it detach them?"
            )
        before = [t.detach().clone() for _, t in pairs]
        kept = {id(t) for t in outputs}
        found = iter(
            self.torch.autograd.grad([y for y, _ in pairs], leaves, [t for _, t in pairs], allow_unused=True)
        )
        for (name, a), t in zip(self._taken(given), own, strict=True):
            if _is_number(t) and id(t) not in kept and not _equal(t.detach().numpy(), a):
                given[name][...] = t.detach().numpy()
        for (_, t), old, dy in zip(pairs, before, dys, strict=False):
            if not self.torch.equal(t, old):
                dy[...] = t.numpy()
        got = [next(found) if _is_number(t) else None for t in tensors]
        return tuple(None if g is None else np.asarray(g.detach().numpy()) for g in got)

    def _raw(self, given: Given, dys: Sequence[Array]) -> tuple:
        """What backward returns, which torch refuses: to say what is wrong with it."""
        seen: list[tuple] = []
        user = _backward(self.function)

        def backward(ctx: Any, *arrived: Any) -> Any:
            seen.append(_listed(user(ctx, *arrived)))
            return tuple(self.torch.zeros_like(t) if _is_number(t) else None for t in self._tensors(given))

        name = "backward" if self.function.backward is user else "vjp"
        spy = type(self.function.__name__, (self.function,), {name: staticmethod(backward)})
        with contextlib.suppress(RuntimeError):
            self._gradients(spy, given, dys)
        if not seen:
            raise UsageError(f"{self.name}: torch refuses what its backward returns.")
        return tuple(g.detach().numpy() if _is_number(g) else None for g in seen[0])

    def _taken(self, given: Given) -> list[tuple[str, Any]]:
        return [(p.name, given[p.name]) for p in self.parameters if p.name in given]

    def _tensors(self, given: Given) -> list[Any]:
        """Arrays as tensors, numbers that are no arrays as they are; all complex where one is."""
        widest = any(np.iscomplexobj(a) for a in given.values())
        out = []
        for _, a in self._taken(given):
            if not isinstance(a, np.ndarray):
                out.append(a)
            elif a.dtype.kind == "i" and a.ndim == 0:
                out.append(int(a))
            else:
                out.append(
                    self.torch.tensor(a.astype(np.complex128) if widest and a.dtype.kind == "f" else a)
                )
        return out

    @contextlib.contextmanager
    def _quietly(self) -> Iterator[None]:
        """In float64 where nothing is said, with the randomness of a seed; all as before afterwards."""
        torch = self.torch
        kind, state, threads = torch.get_default_dtype(), torch.get_rng_state(), torch.get_num_threads()
        torch.set_default_dtype(torch.float64)
        torch.set_num_threads(1)  # for arrays this small threads only wait for each other
        torch.default_generator.manual_seed(0)
        try:
            yield
        finally:
            torch.set_default_dtype(kind)
            torch.set_num_threads(threads)
            torch.set_rng_state(state)

    def source(self) -> Any:
        return _backward(self.function)

    def body(self) -> Any:
        return self.function.forward


class TensorflowCaller(Caller):
    """A function under tf.custom_gradient, differentiated by tf.GradientTape; in float32 where it insists."""

    takes_dy, framework = True, "tensorflow"

    def __init__(self, name: str, function: Any, texts: list[str]) -> None:
        settle()
        self.tf: Any = sys.modules["tensorflow"]
        self.name, self.function, self.texts = name, function, texts
        self.used = function
        kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
        self.parameters = [p for p in inspect.signature(function).parameters.values() if p.kind in kinds]
        self.single = False

    def value(self, given: Given) -> list[Array]:
        return self._either(lambda: [np.asarray(y) for y in _listed(self._call(self._tensors(given)))])

    def value_of(self, function: Callable, given: Given) -> list[Array]:
        def call() -> list[Array]:
            result = function(*self._tensors(given).values())
            outputs = result[0] if isinstance(result, tuple) and callable(result[-1]) else result
            return [np.asarray(y) for y in _listed(outputs)]

        return self._either(call)

    def gradient_functions(self) -> Iterator[tuple[Any, Callable[[Any], None], bool]]:
        def install(other: Any) -> None:
            self.used = self.function if other is None else self.tf.custom_gradient(other)

        if _decorator(self.function) == "custom_gradient":
            yield inspect.unwrap(self.function), install, True

    def gradients(self, given: Given, dys: Sequence[Array]) -> Any:
        return self._either(lambda: self._gradients(given, dys))

    @contextlib.contextmanager
    def quiet(self) -> Iterator[None]:
        """TensorFlow's libraries write every error to file descriptor 2, besides raising it."""
        try:
            kept, nothing = os.dup(2), os.open(os.devnull, os.O_WRONLY)
        except OSError:
            yield
            return
        os.dup2(nothing, 2)
        try:
            yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)
            os.close(nothing)

    def _gradients(self, given: Given, dys: Sequence[Array]) -> tuple:
        tf, tensors = self.tf, self._tensors(given)
        watched = {n: t for n, t in tensors.items() if hasattr(t, "dtype") and t.dtype.is_floating}
        with tf.GradientTape() as tape:
            tape.watch([*watched.values()])
            outputs = _listed(self._call(tensors))
        arrived = [tf.constant(np.array(dy), y.dtype) for y, dy in zip(outputs, dys, strict=False)]
        found = dict(zip(watched, tape.gradient(outputs, [*watched.values()], arrived), strict=True))
        return tuple(
            None if (g := found.get(n)) is None else np.asarray(tf.convert_to_tensor(g)) for n in tensors
        )

    def _call(self, tensors: dict[str, Any]) -> Any:
        """By position: what is given by name, tf.custom_gradient differentiates by itself."""
        first = [p.name for p in self.parameters]
        count = next((i for i, n in enumerate(first) if n not in tensors), len(first))
        rest = {n: t for n, t in tensors.items() if n not in first[:count]}
        return self.used(*(tensors[n] for n in first[:count]), **rest)

    def _tensors(self, given: Given) -> dict[str, Any]:
        tf, out = self.tf, {}
        widest = any(np.iscomplexobj(a) for a in given.values())
        kind = tf.complex128 if widest else tf.float32 if self.single else tf.float64
        for n, a in given.items():
            if isinstance(a, np.ndarray) and a.dtype.kind in "fc":
                out[n] = tf.constant(a, kind)
            elif isinstance(a, np.ndarray) and a.dtype.kind == "i" and a.ndim == 0:
                out[n] = int(a)
            else:
                out[n] = tf.constant(a) if isinstance(a, np.ndarray) else a
        return out

    def _either(self, call: Callable[[], Any]) -> Any:
        """In float64; where its constants are float32, so is everything."""
        if self.single:
            return call()
        try:
            return call()
        except (TypeError, ValueError, self.tf.errors.InvalidArgumentError) as error:
            if "float" not in str(error) and "double" not in str(error):
                raise
            self.single = True
            try:
                return call()
            except Exception:
                self.single = False
                raise error from None

    def source(self) -> Any:
        return inspect.unwrap(self.function)

    def body(self) -> Any:
        return inspect.unwrap(self.function)


class _Context:
    """Stands for ctx where a forward is called by itself: it takes everything and keeps nothing."""

    needs_input_grad = (True,) * 64

    def __getattr__(self, name: str) -> Any:
        return lambda *arguments, **options: None


def _listed(value: Any) -> list[Any]:
    return list(value) if isinstance(value, tuple | list) else [value]


def _is_number(t: Any) -> bool:
    """Whether this is a tensor of real or complex numbers."""
    kind = getattr(t, "dtype", None)
    return bool(kind is not None and (kind.is_floating_point or kind.is_complex))


def _equal(a: Array, b: Any) -> bool:
    return a.shape == np.shape(b) and np.array_equal(a, b, equal_nan=True)
