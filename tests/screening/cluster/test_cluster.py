"""Where workers come from, short of SLURM: profiles, certificates, shapes of work, notices, shares."""

import json
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import psutil
import pytest
import zarr
from click.testing import CliRunner
from distributed import Client
from hypothesis import given, settings
from hypothesis import strategies as st

import screening
from cgcnn.errors import UserError
from screening.cli.commands import app
from screening.cli.screen import AGAIN
from screening.cluster import choose, preflight, profile
from screening.cluster.profile import lifetime, parse_walltime, profiles, read_profile
from screening.cluster.scheduler import remote_cluster
from screening.cluster.security import certificates
from screening.engine.pipeline import on_shutdown_request
from screening.engine.share import Share, parse_share
from screening.store import lock
from screening.store.header import version_differences, versions
from screening.store.place import open_place

ROOT = Path(__file__).parents[3]
SPACE = ("perovskites", "--a", "Na,K,Rb,Mg,Ca,Sr,Ba,La,Y,Pb", "--b", "Ti,Zr,Hf,Nb,Ta,V,Al,Ga", "--x", "O,N,F,S,Cl")
TWO_KINDS = 'kind = "local"\nbuilders = 1\ninference = 1\n'


def done(process, code=0):
    stdout, stderr = process.communicate(timeout=90)
    assert process.returncode == code, stderr
    return stdout, stderr


def arrays(path):
    group = zarr.open_group(str(path), mode="r")
    return {name: np.asarray(group[name][:]).tobytes() for name in group.array_keys()}


def screened_here(run, model_path, **settings):
    """The run of `SPACE` that this process makes or ends by itself, without workers."""
    kind, *words = SPACE
    sites = {name.lstrip("-"): symbols for name, symbols in zip(words[::2], words[1::2], strict=True)}
    return screening.screen(kind, **sites, anions=3, model=str(model_path), block_size=512, out=run, **settings)


@pytest.mark.slow
def test_one_stage_two_stages_and_shares_are_bit_identical_and_seen_from_outside(screen, tmp_path, model_path):
    (tmp_path / "two.toml").write_text(TWO_KINDS)
    common = (*SPACE, "--anions", "3", "--model", model_path, "--block-size", "512", "--top", "1")
    staged = screen(tmp_path, *common, "--out", "staged.zarr", "--cluster", "two.toml")
    screened_here(tmp_path / "fused.zarr", model_path)
    assert "1 workers and 1 for inference (two.toml)" in done(staged)[1]
    shares = [screen(tmp_path, *common, "--out", "shared.zarr", "--workers", "1", "--share", f"{k}/2") for k in (1, 2)]
    assert all("share" not in done(share)[0] for share in shares)
    assert arrays(tmp_path / "fused.zarr") == arrays(tmp_path / "staged.zarr") == arrays(tmp_path / "shared.zarr")
    lines = next(tmp_path.glob("staged.zarr/**/part-0000.jsonl")).read_text().splitlines()
    writers = {json.loads(line)["worker"] for line in lines}
    assert len(writers) == 1
    state = CliRunner().invoke(app, ["status", str(tmp_path / "shared.zarr")]).stdout
    assert "blocks are committed (100.0 %)" in state
    assert "Every candidate is there exactly once" in screening.open_run(tmp_path / "shared.zarr").verify().text()


@pytest.mark.slow
def test_shares_that_are_started_do_those_that_nobody_does(screen, tmp_path, model_path):
    common = (*SPACE, "--anions", "3", "--model", model_path, "--block-size", "512", "--top", "1", "--workers", "1")
    alone = done(screen(tmp_path, *common, "--out", "R.zarr", "--share", "2/4"))
    assert "share 1/4" in alone[1]  # nobody was at work on it
    assert alone[0]  # all is there, so it ranks
    run = screening.open_run(tmp_path / "R.zarr")
    assert run.complete
    assert "Every candidate is there exactly once" in run.verify().text()


@pytest.mark.slow
def test_a_share_leaves_others_theirs_and_says_who_does_them(screen, tmp_path, model_path):
    common = (*SPACE, "--anions", "3", "--model", model_path, "--block-size", "512", "--top", "1", "--workers", "1")
    done(screen(tmp_path, *common, "--out", "R.zarr", "--share", "1/2"))
    parts = list(tmp_path.glob("R.zarr/**/part-0002.jsonl"))
    lines = parts[0].read_bytes().splitlines(keepends=True)
    parts[0].write_bytes(b"".join(lines[:-1]))  # one block of the other share is undone
    place = open_place(tmp_path / "R.zarr")
    held = lock.acquire(place, 2)
    try:
        told = done(screen(tmp_path, *common, "--out", "R.zarr", "--share", "1/2"))[1]
        assert "blocks are left, which are others' to do: " in told
        assert f"process {os.getpid()} of " in told
        again = done(screen(tmp_path, *common, "--out", "R.zarr", "--share", "2/2"))[1]  # which is taken, too
        assert f"process {os.getpid()} of " in again
    finally:
        held.release()
    assert done(screen(tmp_path, *common, "--out", "R.zarr", "--share", "1/2"))[0]
    assert screening.open_run(tmp_path / "R.zarr").complete


@given(st.integers(1, 9), st.sets(st.integers(0, 40)), st.data())
def test_shares_in_turn_do_each_undone_block(count, undone, data):
    own, tried, left = Share(data.draw(st.integers(1, count)), count), [], set(undone)
    while (share := own.next_of(left, tried)) is not None:
        assert share not in tried
        tried.append(share)
        left = {block for block in left if block not in share}
    assert tried[0] == own
    assert not left


@pytest.fixture
def secured(tmp_path):
    """A scheduler with TLS and one worker of no kind: the environment of who may use it, and its address."""
    with certificates(tmp_path / "certificates") as security:
        role = security.get_tls_config_for_role("client")
        prefix = "DASK_DISTRIBUTED__COMM__TLS__"
        environment = {f"{prefix}CA_FILE": role["ca_file"]}
        for name in ("CLIENT", "SCHEDULER", "WORKER"):
            environment |= {f"{prefix}{name}__CERT": role["cert"], f"{prefix}{name}__KEY": role["key"]}
        file = tmp_path / "scheduler.json"
        dask = (sys.executable, "-m")
        common = {"env": {**os.environ, **environment, "PYTHONPATH": str(ROOT)}, "stderr": subprocess.DEVNULL}
        at = ("--host", "127.0.0.1", "--dashboard-address", "127.0.0.1:0")
        scheduler = (*dask, "distributed.cli.dask_scheduler", "--protocol", "tls", "--port", "0", *at)
        worker = (*dask, "distributed.cli.dask_worker", "--nthreads", "1", "--no-nanny", *at)
        with (
            subprocess.Popen([*scheduler, "--scheduler-file", file], **common) as first,
            subprocess.Popen([*worker, "--scheduler-file", file, "--death-timeout", "60"], **common) as second,
        ):
            try:
                yield environment, file
            finally:
                for process in (second, first):  # told to end, each might wait for the other
                    process.kill()


@pytest.mark.slow
def test_a_running_scheduler_is_used_by_who_has_its_certificates_and_by_nobody_else(
    screen, until, tmp_path, model_path, secured
):
    environment, file = secured
    until(lambda: file.exists() and file.read_text())
    address = json.loads(file.read_text())["address"]
    assert address.startswith("tls://127.0.0.1:")
    common = ("perovskites", "--a", "Ca", "--b", "Ti", "--x", "O", "--model", model_path)
    welcome = screen(tmp_path, *common, "--out", "welcome.zarr", "--cluster", file, **environment)
    nobody = screen(tmp_path, *common, "--out", "nobody.zarr", "--cluster", address)
    with certificates(tmp_path / "others") as others:
        forged = others.get_tls_config_for_role("client")
        names = ("CA_FILE", "CLIENT__CERT", "CLIENT__KEY")
        files = (forged["ca_file"], forged["cert"], forged["key"])
        theirs = {f"DASK_DISTRIBUTED__COMM__TLS__{name}": path for name, path in zip(names, files, strict=True)}
        stranger = screen(tmp_path, *common, "--out", "stranger.zarr", "--cluster", address, **theirs)
        refused = done(stranger, 1)[1]
    assert "1 candidates, 1 of 1 blocks to do; workers of" in done(welcome)[1]
    assert done(nobody, 1)[1].startswith(f"screen: --cluster {address}: needs a certificate.")
    assert refused.startswith(f"screen: --cluster {address}: no scheduler answers")
    assert refused.count("\n") == 1
    assert not list(tmp_path.glob("[ns]*.zarr"))


def test_certificates_are_the_users_alone_and_go_with_the_run(tmp_path):
    with certificates(tmp_path) as security:
        (folder,) = tmp_path.iterdir()
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}
        assert security.require_encryption
    assert not list(tmp_path.iterdir())


def test_unencrypted_schedulers_and_unknown_names_are_refused_in_one_line(tmp_path):
    file = tmp_path / "scheduler.json"
    file.write_text('{"address": "tcp://10.0.0.1:8786"}')
    (tmp_path / "odd.toml").write_text('kind = "slurm"\n[builders]\ncount = 1\nqueue = "x"\n')
    (tmp_path / "bad.toml").write_text("kind = ")
    for cluster, message in {
        "tcp://10.0.0.1:8786": "not encrypted. Start the scheduler with TLS",
        str(file): "tcp://10.0.0.1:8786 is not encrypted",
        f"{tmp_path}/none.json": "no such file",
        "nonesuch": "no such profile; pass a TOML file.*heterogeneous, local, slurm",
        f"{tmp_path}/odd.toml": r"odd.toml: slurm.builders.queue|odd.toml: builders.queue: Extra inputs",
        f"{tmp_path}/bad.toml": "not a TOML file",
        "heterogeneous": "not inside a SLURM job",
    }.items():
        with pytest.raises(UserError, match=message):
            preflight(choose(cluster, None))


def test_shipped_profiles_are_valid_and_say_what_they_are():
    assert set(profiles()) == {"heterogeneous", "local", "slurm"}
    assert all(read_profile(name).summary for name in profiles())


def test_the_local_profile_takes_the_cores_and_gpus_that_it_may_use(monkeypatch):
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", "1")
    devices = SimpleNamespace(glob=lambda _: [Path(f"/dev/nvidia{i}") for i in "01"])
    with monkeypatch.context() as patch:
        patch.setattr(profile, "Path", lambda _: devices)
        patch.setenv("CUDA_VISIBLE_DEVICES", "1")
        assert profile.gpus() == ["1"]
        patch.delenv("CUDA_VISIBLE_DEVICES")
        assert profile.gpus() == ["0", "1"]
    monkeypatch.setattr("screening.cluster.choice.gpus", lambda: ["0", "1"])
    chosen = choose("local", None)
    assert (chosen.builders, chosen.inference) == (1, 2)


def test_walltimes_are_read_as_slurm_reads_them():
    cases = {
        "10": 600,
        "1:30": 90,
        "01:00:00": 3600,
        "1-0": 86400,
        "1-02": 93600,
        "1-02:03": 93780,
        "2-00:00:01": 172801,
    }
    assert {text: parse_walltime(text) for text in cases} == cases
    with pytest.raises(UserError, match="walltime 4h: not a time limit"):
        parse_walltime("4h")
    life = lifetime("01:00:00")
    assert life.seconds + life.stagger < 3600


@settings(deadline=None, derandomize=True, max_examples=30)
@given(st.integers(1, 40), st.integers(0, 300))
def test_each_block_is_in_exactly_one_share(count, block):
    assert sum(block in parse_share(f"{k}/{count}") for k in range(1, count + 1)) == 1


@pytest.mark.parametrize("text", ["0/2", "3/2", "1", "a/b", "1/10000", "1/" + "9" * 5000])
def test_shares_that_do_not_exist_are_refused(text):
    with pytest.raises(UserError, match=f"`share` {text}: write K/N"):
        parse_share(text)


def test_what_differs_between_workers_is_named():
    here = versions()
    assert not version_differences(here, here)
    there = tuple((name, "0.1" if name == "numpy" else version) for name, version in here)
    assert version_differences(here, there).startswith("numpy is 0.1, not ")
    there = tuple((name, "slow" if name == "template kernel" else version) for name, version in here)
    assert version_differences(here, there).startswith("template kernel is slow, not ")


@pytest.mark.slow
def test_a_notice_lets_blocks_in_flight_end_and_exits_with_75(screen, until, tmp_path, model_path):
    common = (*SPACE, "--anions", "3", "--model", model_path, "--block-size", "512", "--workers", "1", "--top", "1")
    first = screen(tmp_path, *common, "--out", "R.zarr")
    until(lambda: list(tmp_path.glob("R.zarr/status/manifest/part-0000.jsonl")) or first.poll() is not None)
    first.send_signal(signal.SIGUSR1)
    told = done(first, AGAIN)[1]
    assert "blocks are kept on a notice of the end" in told
    run = screening.open_run(tmp_path / "R.zarr")
    assert not run.complete
    screened_here(tmp_path / "R.zarr", model_path, resume=True)
    assert "Every candidate is there exactly once" in run.verify().text()


def test_the_notice_is_taken_only_while_it_is_waited_for():
    before = signal.getsignal(signal.SIGUSR1)
    with on_shutdown_request() as notice:
        assert not notice
        os.kill(os.getpid(), signal.SIGUSR1)
        assert notice
        assert not notice.expired
    assert signal.getsignal(signal.SIGUSR1) is before


def test_beyond_loopback_there_is_nothing_but_tls(tmp_path):
    with certificates(tmp_path) as security, remote_cluster(security, None) as (cluster, _):
        listening = [c.laddr for c in psutil.Process().net_connections() if c.status == psutil.CONN_LISTEN]
        encrypted = int(cluster.scheduler_address.rpartition(":")[2])
        assert cluster.scheduler_address.startswith("tls://")
        assert {address.ip for address in listening if address.port != encrypted} == {"127.0.0.1"}
        with pytest.raises(OSError, match=r"Timed out|refused|closed|reset"):
            Client(cluster.scheduler_address.replace("tls://", "tcp://"), timeout=1)
