"""`python stand_in.py FOLDER` is a worker that only calls the job's object and records what comes."""

import sys

import numpy as np

from compare.submission.evidence import Evidence, Trial
from compare.submission.worker import main


def collect(module, folder, job, stage):
    if job.get("object") is None:
        return [Evidence("function", "operation", module.__name__, facts={"names": sorted(vars(module))})]
    stage(f"{job['object']}: loss")
    value = getattr(module, job["object"])()
    trial = Trial("first", {"w": np.zeros(2)}, claims={"w": value})
    return [Evidence("function", "operation", job["object"], trials=[trial])]


if __name__ == "__main__":
    main(sys.argv[1:], collect)
