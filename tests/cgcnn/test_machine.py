"""Limits of the system are named when an error comes from one."""

import errno

import pytest

from cgcnn.machine import limit_hit


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (OSError(errno.EMFILE, "Too many open files"), "no more files can be opened here (ulimit -n is "),
        (BlockingIOError(errno.EAGAIN, "x"), "no more threads or processes can be started here (ulimit -u is "),
        (RuntimeError("can't start new thread"), "no more threads or processes can be started here (ulimit -u is "),
    ],
)
def test_a_limit_is_named_however_deep_its_error_lies(error, told):
    assert limit_hit(error).startswith(told)
    outer = RuntimeError("Cluster failed to start")
    outer.__cause__ = error
    assert limit_hit(outer).startswith(told)


def test_other_errors_come_from_no_limit():
    assert limit_hit(OSError(errno.ENOENT, "x")) == limit_hit(RuntimeError("x")) == limit_hit(None) == ""
