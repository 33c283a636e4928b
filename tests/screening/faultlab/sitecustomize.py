"""Faults inside the processes of a real `screen`: Python imports this first, where PYTHONPATH leads here.

The code under test stays as it is; this wraps the function that a worker calls for a block.

FAULT_LOG=FILE     note each block that is begun, and by which process
FAULT_RAISES=N     block N raises an error, always
FAULT_DEADLY=N     block N ends the process that works on it, always
FAULT_SLOW=SECONDS each block takes so much longer
FAULT_CLOCK=FILE   the clock is wrong by so many seconds as the file says at the moment
"""

import importlib.abc
import importlib.machinery
import os
import sys
import time
from pathlib import Path

WATCHED = "screening.engine.pipeline"


def _wrapped(score_block):
    def score(plan, model, block):
        if "FAULT_LOG" in os.environ:
            with Path(os.environ["FAULT_LOG"]).open("ab", buffering=0) as log:
                log.write(f"{block.number} {os.getpid()}\n".encode())
        time.sleep(float(os.environ.get("FAULT_SLOW", "0")))
        if os.environ.get("FAULT_RAISES") == str(block.number):
            raise RuntimeError("poisoned")
        if os.environ.get("FAULT_DEADLY") == str(block.number):
            os._exit(9)
        return score_block(plan, model, block)

    return score


def _jumping_clock():
    """`time.time` with an offset, in seconds, that a file names."""
    offset, true_time = Path(os.environ["FAULT_CLOCK"]), time.time
    time.time = lambda: true_time() + float(offset.read_text() or 0)


class _Finder(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):  # noqa: ARG002  # the protocol
        if name != WATCHED:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path)
        execute = spec.loader.exec_module

        def exec_module(module):
            execute(module)
            module.score_block = _wrapped(module.score_block)

        spec.loader.exec_module = exec_module
        return spec


if "FAULT_CLOCK" in os.environ:
    _jumping_clock()

sys.meta_path.insert(0, _Finder())
