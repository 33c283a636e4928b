"""A run on an object store, from the command line, with worker processes: against a server that speaks S3."""

import importlib
import re
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

import screening
from screening.cli.commands import app

sys.path.insert(0, str(Path(__file__).parents[1] / "faultlab"))
faultlab, faultruns = (importlib.import_module(name) for name in ("faultlab", "faultruns"))
SEVEN_BLOCKS = ("--block-size", "2048")  # each is some twenty objects


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    return faultlab.Lab.make(tmp_path_factory.mktemp("lab"), anions=2)


@pytest.mark.slow
@pytest.mark.timeout(300)  # three commands, two of them with imports of seconds
def test_run_on_an_object_store_survives_a_killed_client(lab, s3_server):
    local, remote = lab.folder / "local.zarr", f"{s3_server}/killed/R.zarr"
    code, said = faultlab.command(lab.folder, *lab.arguments(local, workers=0))
    assert code == 0, said

    screen = lab.start(remote, *SEVEN_BLOCKS)
    try:
        assert screen.wait_for(lambda: parts(remote) >= 2), screen.said
        screen.kill()
    finally:
        assert screen.orphans()[0] == 0
    code, said = faultlab.command(lab.folder, *lab.arguments(remote, *SEVEN_BLOCKS, workers=0))
    assert code == 0, said
    assert re.search(r" [1-5] of 7 blocks to do", said)
    assert faultlab.noise(said) == []
    assert faultruns.compare(remote, local).none
    assert screening.open_run(remote).verify().ok
    ranked = CliRunner().invoke(app, ["rank", remote, "--csv", str(lab.folder / "remote.csv")])
    assert ranked.exit_code == 0, ranked.output
    assert len((lab.folder / "remote.csv").read_text().splitlines()) == 1 + 12_544


def parts(url):
    """How many commits are there."""
    import fsspec

    try:
        store = fsspec.filesystem("s3", use_listings_cache=False)
        return len(store.ls(f"{url}/status/manifest/part-0000.jsonl"))
    except FileNotFoundError:
        return 0
