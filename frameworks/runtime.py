"""How the arithmetic of a backend runs: its threads, and the same bits every time."""

from frameworks import guard


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
