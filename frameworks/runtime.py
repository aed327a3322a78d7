"""How the arithmetic of a backend runs: where, on how many threads, and the same bits every time."""

from frameworks import guard
from scratch.errors import MissingError, UsageError

DEVICES = ("cpu", "cuda", "auto")


def choose_device(framework: str, asked: str) -> str:
    """`cpu` or `cuda`, for one of DEVICES; Keras is kept off a GPU that is not asked for.

    Raises MissingError where cuda is asked for and not there, UsageError for NumPy, which has no other device
    than the CPU.
    """
    if asked not in DEVICES:
        raise UsageError(f"--device must be one of {', '.join(DEVICES)}, but {asked!r} came.")
    if framework == "numpy":
        if asked == "cuda":
            raise UsageError("NumPy computes on the CPU only, but --device cuda came; use torch or keras.")
        return "cpu"
    if framework == "torch":
        there = guard.load_torch().cuda.is_available()
    else:
        guard.load_keras()
        import tensorflow as tf

        there = bool(tf.config.list_physical_devices("GPU"))
        if there and asked == "cpu":
            tf.config.set_visible_devices([], "GPU")
    if asked == "cuda" and not there:
        raise MissingError(f"{framework} finds no GPU here, but --device cuda came; use --device cpu.")
    return "cuda" if there and asked != "cpu" else "cpu"


def limit_threads(framework: str, threads: int) -> None:
    """For `numpy`, `torch` or `keras`, before the first operation; a later call may come too late.

    Raises RuntimeError where TensorFlow is at work already.
    """
    if framework == "torch":
        guard.load_torch().set_num_threads(threads)
    elif framework == "keras":
        guard.load_keras()
        import tensorflow as tf

        tf.config.threading.set_intra_op_parallelism_threads(threads)
        tf.config.threading.set_inter_op_parallelism_threads(threads)
    else:
        from threadpoolctl import threadpool_limits

        threadpool_limits(limits=threads)


def make_deterministic(framework: str) -> None:
    """The same bits for the same steps: TensorFlow needs a switch, NumPy and PyTorch on a CPU none."""
    if framework == "keras":
        guard.load_keras()
        import tensorflow as tf

        tf.config.experimental.enable_op_determinism()
