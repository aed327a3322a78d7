"""Every operation against PyTorch's and TensorFlow's own, with random cotangents, in float64."""

import dataclasses
import importlib
import warnings

import numpy as np
import pytest
import slow_definitions as slow

all_cases = pytest.mark.parametrize("case", slow.CASES, ids=lambda case: case.id)


@pytest.fixture(scope="module")
def torch():
    return importlib.import_module("torch")


@pytest.fixture(scope="module")
def tf(torch):
    """TensorFlow after triton: the other way round, torch crashes the process (tensorflow#124205)."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            importlib.import_module("triton")
        except ImportError:
            pass
        return importlib.import_module("tensorflow")


def edges(case, image, window):
    """((top, bottom), (left, right)) zeros of a case, from the slow definition's geometry."""
    stride, padding = case.options["stride"] or case.options["size"], case.options["padding"]
    result = []
    for size, k in zip(image, window, strict=True):
        outputs, start = slow.geometry(size, k, stride, padding)
        result.append((-start, max((outputs - 1) * stride + k - size + start, 0)))
    return result


def torch_value(torch, case, x, w=None, b=None):
    """The op in torch's own functions; images are NHWC here, NCHW there."""
    F, options = torch.nn.functional, case.options

    def padded(window, value):
        (top, bottom), (left, right) = edges(case, x.shape[1:3], window)
        return F.pad(x.permute(0, 3, 1, 2), (left, right, top, bottom), value=value)

    match case.kind:
        case "dense":
            return F.linear(x, w.T, b)
        case "conv2d":
            kernel = w.permute(3, 2, 0, 1)
            return F.conv2d(padded(w.shape[:2], 0.0), kernel, b, options["stride"]).permute(0, 2, 3, 1)
        case "max_pool2d":
            size = options["size"]
            image = padded((size, size), float("-inf"))
            return F.max_pool2d(image, size, options["stride"]).permute(0, 2, 3, 1)
        case "flatten":
            return x.flatten(1)
        case "sigmoid" | "tanh" | "relu":
            return getattr(torch, case.kind)(x)
        case "leaky_relu":
            return F.leaky_relu(x, options.get("slope", 0.01))
        case "maxout":
            return x.unflatten(-1, (-1, options.get("pieces", 2))).max(-1).values
        case "dropout":
            return x * torch.tensor(options["mask"]) / (1 - options["rate"])
        case "softmax_cross_entropy":
            return F.cross_entropy(x, torch.tensor(options["t"].astype(np.int64)))
        case "sigmoid_cross_entropy":
            targets = torch.tensor(targets_of(case))
            return F.binary_cross_entropy_with_logits(x, targets, reduction="sum") / len(x)
    raise AssertionError(f"no torch counterpart of {case.kind}")


def tf_value(tf, case, x, w=None, b=None):
    """The op in TensorFlow's own functions."""
    options = case.options
    match case.kind:
        case "dense":
            return tf.nn.bias_add(tf.matmul(x, w), b)
        case "conv2d":
            return tf.nn.bias_add(tf.nn.conv2d(x, w, options["stride"], options["padding"]), b)
        case "max_pool2d":
            return tf.nn.max_pool2d(
                x, options["size"], options["stride"] or options["size"], options["padding"]
            )
        case "flatten":
            return tf.reshape(x, (x.shape[0], -1))
        case "sigmoid" | "tanh" | "relu":
            return getattr(tf.nn, case.kind)(x)
        case "leaky_relu":
            return tf.nn.leaky_relu(x, options.get("slope", 0.01))
        case "maxout":
            return tf.reduce_max(tf.reshape(x, (*x.shape[:-1], -1, options.get("pieces", 2))), -1)
        case "dropout":
            return x * options["mask"] / (1 - options["rate"])
        case "softmax_cross_entropy":
            labels = options["t"].astype(np.int64)
            return tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels, x))
        case "sigmoid_cross_entropy":
            losses = tf.nn.sigmoid_cross_entropy_with_logits(targets_of(case), x)
            return tf.reduce_sum(losses) / x.shape[0]
    raise AssertionError(f"no TensorFlow counterpart of {case.kind}")


def targets_of(case):
    t = case.options["t"]
    return t.astype(float) if t.shape == case.shapes[0] else np.eye(case.shapes[0][1])[t]


def agree(mine, reference):
    for number, (a, b) in enumerate(zip(mine, reference, strict=True)):
        scale = max(np.abs(b).max(), 1)
        np.testing.assert_allclose(a, b, rtol=0, atol=2e-14 * scale, err_msg=f"number {number}")


def mine(case, arrays):
    y, backward = case.op(*arrays)
    u = np.asarray(np.random.default_rng(8).normal(size=y.shape))
    return y, u, backward(u)


@all_cases
def test_torch(case, torch):
    arrays = case.arrays(seed=3)
    y, u, gradients = mine(case, arrays)
    tensors = [torch.tensor(a, requires_grad=True) for a in arrays]
    value = torch_value(torch, case, *tensors)
    agree([y], [value.detach().numpy()])
    agree(gradients, [g.numpy() for g in torch.autograd.grad(value, tensors, torch.tensor(u))])


@all_cases
def test_tensorflow(case, tf):
    if case.kind == "leaky_relu":  # TensorFlow keeps the slope in float32, whatever the dtype of x
        slope = float(np.float32(case.options.get("slope", 0.01)))
        case = dataclasses.replace(case, options={"slope": slope})
    arrays = case.arrays(seed=4)
    y, u, gradients = mine(case, arrays)
    tensors = [tf.constant(a) for a in arrays]
    with tf.GradientTape() as tape:
        tape.watch(tensors)
        value = tf_value(tf, case, *tensors)
    agree([y], [value.numpy()])
    agree(gradients, [tf.convert_to_tensor(g).numpy() for g in tape.gradient(value, tensors, tf.constant(u))])


@pytest.mark.parametrize("shape", [(2, 6, 4, 3), (1, 5, 7, 2)])
@pytest.mark.parametrize(("size", "stride"), [(2, 2), (3, 1), (3, 2), (2, 3)])
def test_ties_go_where_both_frameworks_send_them(shape, size, stride, torch, tf):
    """Three grey levels, so that most windows tie."""
    rng = np.random.default_rng(size)
    x = rng.integers(0, 3, shape).astype(float)
    options = {"size": size, "stride": stride, "padding": "VALID"}
    case = slow.Case("ties", "max_pool2d", (shape,), slow.max_pool2d, options)
    y, u, (dx,) = mine(case, [x])
    tensor = torch.tensor(x, requires_grad=True)
    torch_value(torch, case, tensor).backward(torch.tensor(u))
    constant = tf.constant(x)
    with tf.GradientTape() as tape:
        tape.watch(constant)
        value = tf_value(tf, case, constant)
    agree(
        [y, dx, dx],
        [value.numpy(), tensor.grad.numpy(), tape.gradient(value, constant, tf.constant(u)).numpy()],
    )


def test_losses_of_huge_logits(torch, tf):
    z = np.array([[1000.0, -1000, 3], [-1000, 1000, 900], [700, 701, -20]])
    for kind in ("softmax_cross_entropy", "sigmoid_cross_entropy"):
        for labels in ([0, 1, 2], [1, 0, 0], [2, 2, 1]):
            case = slow.Case("huge", kind, (z.shape,), None, {"t": np.array(labels)})
            y, u, (dz,) = mine(case, [z])
            tensor, constant = torch.tensor(z, requires_grad=True), tf.constant(z)
            loss = torch_value(torch, case, tensor)
            loss.backward(torch.tensor(u))
            with tf.GradientTape() as tape:
                tape.watch(constant)
                value = tf_value(tf, case, constant)
            agree([y, dz], [loss.item(), tensor.grad.numpy()])
            agree([y, dz], [value.numpy(), tape.gradient(value, constant, tf.constant(u)).numpy()])
