"""All cause codes, by the kind of error that a first hint gives away."""

FAMILIES: dict[str, tuple[str, ...]] = {
    "a constant factor or a sign": ("batch-scale", "constant-factor", "sign", "log-base"),
    "the penalty term": ("missing-regularizer", "regularizer-factor"),
    "the derivative of an activation": (
        "activation-derivative-missing",
        "activation-derivative-wrong-argument",
        "activation-derivative-wrong",
        "relu-mask-inverted",
        "relu-mask-missing",
        "relu-mask-of-gradient",
    ),
    "the error of the output layer": (
        "softmax-applied-twice",
        "onehot-not-subtracted",
        "onehot-wrong-rows",
        "label-shift",
        "wrong-loss-delta",
        "loss-mismatch",
    ),
    "a sum over the wrong thing": ("bias-reduction",),
    "a matrix product": ("transpose", "swapped-tensors", "wrong-shape", "random-feedback"),
    "a value from another moment": (
        "stale-weights",
        "stale-activations",
        "accumulated-gradients",
        "wrong-cached-value",
    ),
    "a side effect or randomness": ("mutates-input", "nondeterministic"),
    "dropout": (
        "dropout-scale",
        "dropout-mask-resampled",
        "dropout-keep-drop-swapped",
        "dropout-active-in-eval",
        "dropout-distribution",
    ),
    "convolution or pooling": (
        "conv-kernel-not-flipped",
        "conv-stride-ignored",
        "conv-padding-crop",
        "overlap-assigned",
        "pool-ties-duplicated",
        "pool-average",
    ),
    "a term of the normalisation": ("batchnorm-mean-term", "batchnorm-variance-term"),
    "the update rule": (
        "optimizer-sign",
        "optimizer-learning-rate-placement",
        "optimizer-bias-correction",
        "weight-decay-ignored",
    ),
    "some entries only": ("single-entries", "gradient-clipped", "returns-early"),
    "numbers too large": ("overflow",),
    "it does not run": ("crash",),
    "none that is known": ("unexplained",),
}
CODES = tuple(code for codes in FAMILIES.values() for code in codes)


def family(cause: str) -> str:
    """The kind of error that a cause belongs to."""
    return next((name for name, codes in FAMILIES.items() if cause in codes), "none that is known")
