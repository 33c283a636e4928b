"""Settings of Dask for every worker of ours, wherever it runs."""

from __future__ import annotations

DEATHS = 5
"""Workers that may die on a block before it is set apart, and again before its candidates count as failed."""
HEALTH = 2.0
"""Seconds between looks at the worker processes; what is dead twice in a row does not come back by itself."""
WORKER_SETTINGS = {
    # Dask's web servers tell logs and call stacks to whoever can reach them: on loopback, all users of the machine.
    "distributed.scheduler.http.routes": ["distributed.http.health"],
    "distributed.worker.http.routes": ["distributed.http.health"],
    "distributed.scheduler.allowed-failures": DEATHS - 1,
    # Receipts are all that Dask keeps: there is nothing to spill.
    "distributed.worker.memory.target": False,
    "distributed.worker.memory.spill": False,
    # A hundred samples a second of every worker's stack, an hour of which Dask keeps: a hundred kilobytes a second.
    "distributed.worker.profile.enabled": False,
    # Keep freed memory for the next batch. Dask's own setting hands it back at once, and half the time goes into that.
    "distributed.nanny.pre-spawn-environ": {
        "MALLOC_TRIM_THRESHOLD_": 2**28,
        "MALLOC_MMAP_THRESHOLD_": 2**28,
        "OMP_NUM_THREADS": 1,
        "MKL_NUM_THREADS": 1,
        "OPENBLAS_NUM_THREADS": 1,
        "CUBLAS_WORKSPACE_CONFIG": ":4096:8",  # without it products on a GPU differ from call to call
    },
}
