"""Odd values in profiles, in SLURM's variables and in scheduler files are named in one line."""

import os

import pytest

from cgcnn.errors import UserError
from screening.cluster import choose, preflight
from screening.cluster.profile import counted
from screening.cluster.worker import command


def test_a_worker_of_a_step_has_the_number_of_its_task_in_its_name(tmp_path, monkeypatch):
    monkeypatch.setenv("SLURM_PROCID", "7")
    words = command(str(tmp_path), "build-%t", "tls://1.2.3.4:5", "--nthreads", "1")
    assert words[words.index("--name") + 1] == "build-7"
    assert words[words.index("--local-directory") + 1] == str(tmp_path / f"screen-{os.getuid()}")


PROFILE = 'kind = "slurm"\n[builders]\ncount = 1\n'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (PROFILE + 'memory = "abc"', 'builders.memory: not an amount of memory; write such as "4GB"'),
        (PROFILE + 'memory = "0GB"', "builders.memory: not an amount of memory"),
        (PROFILE + 'memory = "4"', "builders.memory: not an amount of memory"),
        (PROFILE + 'walltime = "soon"', "builders.walltime: walltime soon: not a time limit"),
        (PROFILE + 'partition = "a\\nb"', "builders.partition: must be one line of printable text"),
        (PROFILE + 'partition = ""', "builders.partition: must be one line"),
        (PROFILE + "cpus = 0", "builders.cpus: Input should be greater than or equal to 1"),
        (PROFILE + "cpus = [1]", "builders.cpus: Input should be a valid integer"),
        ('kind = "slurm"\n[builders]\ncount = 1000000000', "builders.count: Input should be less than"),
        ('kind = "slurm"\n[builders]\ncount = -1', "builders.count: Input should be greater than"),
        ('kind = "slurm"', "builders: Field required"),
        ('kind = "slurm"\nbuilders = 3', "builders: Input should be a valid"),
        ("x = " + "[" * 100_000, "not a TOML file"),
        ('kind = "slurm"\ninterface = "nonsense0"\n[builders]\ncount = 1', "interface nonsense0: not on this machine"),
        ('kind = "slurm"\n[builders]\ncount = 0', "asks for no job"),
    ],
)
def test_odd_values_of_a_profile_are_named(tmp_path, text, message):
    path = tmp_path / "site.toml"
    path.write_text(text)
    with pytest.raises(UserError) as refused:
        preflight(choose(str(path), None))
    assert message in str(refused.value)


@pytest.mark.parametrize("text", ["", "x", "-1", "0", "1.5", "4(x2)", "٣", "9" * 5000])
def test_odd_variables_of_slurm_are_named(monkeypatch, text):
    monkeypatch.setenv("SLURM_JOB_ID", "1")
    monkeypatch.setenv("SLURM_NTASKS", text)
    with pytest.raises(UserError, match=r"SLURM_NTASKS: .* is no number above 0"):
        preflight(choose("heterogeneous", None))
    monkeypatch.setenv("SLURM_NTASKS", "4")
    assert counted("SLURM_NTASKS") == 4


@pytest.mark.parametrize("content", ["[]", "{}", "1", "x", "[" * 100_000, '{"address": {}}'])
def test_odd_scheduler_files_are_one_line(tmp_path, content):
    file = tmp_path / "scheduler.json"
    file.write_text(content)
    with pytest.raises(UserError, match=r"not a file that a scheduler wrote|not encrypted"):
        preflight(choose(str(file), None))
