"""A run on an object store, from the command line, with worker processes: against a server that speaks S3."""

import contextlib
import importlib
import subprocess
import sys
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

pytest.importorskip("s3fs", reason="needs s3fs")
pytest.importorskip("moto.server", reason="needs moto[server]")

sys.path.insert(0, str(Path(__file__).parent / "faultlab"))
faultlab = importlib.import_module("faultlab")

SERVER = """
import signal, sys
from moto.server import ThreadedMotoServer
server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
server.start()
print(*server.get_host_and_port(), flush=True)
signal.pause()
"""


@pytest.fixture(scope="module")
def bucket():
    """A bucket on a server in a process of its own, as a store is; where it is goes into the environment."""
    with (
        pytest.MonkeyPatch.context() as patch,
        subprocess.Popen([sys.executable, "-c", SERVER], stdout=subprocess.PIPE, text=True) as server,
    ):
        host, port = server.stdout.readline().split()
        patch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        patch.setenv("AWS_ACCESS_KEY_ID", "test")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "test")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        with contextlib.suppress(HTTPError), urlopen(Request(f"http://{host}:{port}/runs", method="PUT")):
            pass
        try:
            yield "s3://runs"
        finally:
            server.kill()


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    return faultlab.Lab.make(tmp_path_factory.mktemp("lab"), anions=2)


@pytest.mark.timeout(300)  # five commands, each with imports of seconds
def test_run_on_an_object_store_survives_a_killed_client(lab, bucket):
    local, remote = lab.folder / "local.zarr", f"{bucket}/R.zarr"
    code, said = faultlab.command(lab.folder, *lab.arguments(local))
    assert code == 0, said

    screen = lab.start(remote)
    try:
        assert screen.wait_for(lambda: parts(remote) >= 3), screen.said
        screen.kill()
    finally:
        assert screen.orphans()[0] == 0
    code, said = faultlab.command(lab.folder, *lab.arguments(remote))
    assert code == 0, said
    assert "25 of 25 blocks to do" not in said
    assert faultlab.noise(said) == []
    assert faultlab.compare(remote, local).none
    for arguments in (["verify", remote], ["rank", remote, "--csv", "remote.csv"]):
        code, said = faultlab.command(lab.folder, *arguments)
        assert code == 0, said
    assert len((lab.folder / "remote.csv").read_text().splitlines()) == 1 + 12_544


def parts(url):
    """How many commits are there."""
    import fsspec

    try:
        store = fsspec.filesystem("s3", use_listings_cache=False)
        return len(store.ls(f"{url}/status/manifest/part-0000.jsonl"))
    except FileNotFoundError:
        return 0
