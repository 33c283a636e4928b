"""What everything that screens shares: a small model with random weights, and a server that speaks S3."""

import shutil
import subprocess
import sys

import pytest

import screening
from cgcnn.graphs.prototype import CUBIC_PEROVSKITE, DOUBLE_PEROVSKITE
from cgcnn.models.files import save
from cgcnn.testing import untrained

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
def both_path(tmp_path_factory):
    """A model of cubic and of double perovskites, that knows more elements than the other one."""
    trained = {"A": ("Ca", "Sr", "Ba", "K", "Cs"), "B": ("Ti", "Zr", "W", "Mg", "Na", "Ag", "Bi", "In", "Al")}
    return save_for_both(trained | {"X": ("O", "F", "Cl", "Br", "I")}, tmp_path_factory.mktemp("both") / "mp")


def save_for_both(trained, path):
    model = untrained(CUBIC_PEROVSKITE, trained, seed=1)
    both = (CUBIC_PEROVSKITE.name, DOUBLE_PEROVSKITE.name)
    model.card = model.card.model_copy(update={"name": path.name, "prototypes": both, "hull": "Materials Project"})
    return save(model, path)


@pytest.fixture
def shipped_models(tmp_path, monkeypatch, model_path, both_path):
    """The directory of shipped models, with two that have random weights."""
    folder = tmp_path / "models"
    folder.mkdir()
    for name, path in (("castelli", model_path), ("mp", both_path)):
        for suffix in (".safetensors", ".json"):
            shutil.copy(path.with_suffix(suffix), folder / f"{name}{suffix}")
    monkeypatch.setattr("cgcnn.models.card.MODELS", folder)
    return folder


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


@pytest.fixture(scope="session")
def doubles(tmp_path_factory, both_path):
    """A run of double perovskites."""
    out = tmp_path_factory.mktemp("doubles") / "D.zarr"
    sites = {"a": ["Cs"], "b": ["Ag", "Bi", "In"], "x": ["Cl", "Br"]}
    return screening.screen("double-perovskites", **sites, model=str(both_path), out=out, workers=1)
