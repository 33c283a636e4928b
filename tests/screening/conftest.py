"""What everything that screens shares: a small model with random weights, and a server that speaks S3."""

import subprocess
import sys

import pytest

from cgcnn.prototype import CUBIC_PEROVSKITE
from cgcnn.untrained import untrained
from cgcnn.weights import save

TRAINED = {"A": ("Ca", "Sr", "Ba", "La"), "B": ("Ti", "Zr", "Hf", "Ta"), "X": ("O", "N")}
S3_SERVER = """
import signal
from moto.server import ThreadedMotoServer
server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
server.start()
print(*server.get_host_and_port(), flush=True)
signal.pause()
"""


@pytest.fixture(scope="session")
def model_path(tmp_path_factory):
    return save(untrained(CUBIC_PEROVSKITE, TRAINED), tmp_path_factory.mktemp("model") / "random")


@pytest.fixture(scope="session")
def s3_server():
    """A bucket on a server in a process of its own, as a store is; where it is goes into the environment.

    There is one for all tests, for s3fs remembers the first that it meets.
    """
    pytest.importorskip("s3fs", reason="needs s3fs")
    pytest.importorskip("moto.server", reason="needs moto[server]")
    import fsspec

    with (
        pytest.MonkeyPatch.context() as patch,
        subprocess.Popen(
            [sys.executable, "-c", S3_SERVER], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        ) as server,
    ):
        host, port = server.stdout.readline().split()
        patch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        patch.setenv("AWS_ACCESS_KEY_ID", "test")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "test")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        fsspec.filesystem("s3").mkdir("runs")
        yield "s3://runs"
        server.kill()
