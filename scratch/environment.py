"""Where and with what a run was made: versions, threads, processors, revision of the code."""

import os
import platform
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

NOTED = ("numpy", "torch", "tensorflow", "keras")  # if loaded: looking must not load them
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "TF_NUM_INTRAOP_THREADS")


def environment() -> dict[str, Any]:
    """Versions of Python and of what is loaded, threads, CPUs, and the git revision of this code."""
    loaded = {name: sys.modules[name] for name in NOTED if sys.modules.get(name)}
    try:
        own: str | None = metadata.version("gradparity")
    except metadata.PackageNotFoundError:
        own = None
    affinity = getattr(os, "sched_getaffinity", None)
    threads: dict[str, Any] = {name: os.environ[name] for name in THREADS if name in os.environ}
    if "torch" in loaded:
        threads["torch"] = loaded["torch"].get_num_threads()
    return {
        "gradparity": own,
        "git": git_revision(Path(__file__).parent),
        "python": platform.python_version(),
        "platform": platform.platform(),
        **{name: getattr(module, "__version__", None) for name, module in loaded.items()},
        "cpus": os.cpu_count(),
        "cpus_usable": len(affinity(0)) if affinity else os.cpu_count(),
        "threads": threads,
        "argv": sys.argv,
    }


def git_revision(folder: Path) -> str | None:
    """The commit that holds this folder, with `+` where its files differ from it; None outside of git."""

    def git(*arguments: str) -> str:
        command = ("git", "-C", os.fspath(folder), *arguments)
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()

    try:
        if not git("ls-files", "."):  # installed below somebody else's checkout
            return None
        return git("rev-parse", "HEAD") + ("+" if git("status", "--porcelain", ".") else "")
    except (OSError, subprocess.SubprocessError):
        return None
