"""Models that somebody prepared: they fill no memory, hang no command, and write nothing odd on a terminal."""

import io
import os
import resource
import subprocess
import sys
import zipfile

import pytest
import torch

from cgcnn.cli.terminal import show_card
from cgcnn.errors import UserError
from cgcnn.models.card import read_card
from cgcnn.models.published import read_checkpoint

ODD = "\x1b[31mred\x07\u202e[bold]x[/bold]"
READ = "import sys; from cgcnn.models.published import read_checkpoint; read_checkpoint(sys.argv[1])"


def expanded(path):
    """A checkpoint of a few bytes whose one tensor has a billion numbers."""
    tensor = torch.zeros(1).expand(40_000, 40_000)
    torch.save(
        {"state_dict": {"x": tensor}, "normalizer": {"mean": torch.zeros(()), "std": torch.ones(())}, "args": {}}, path
    )


def zeros(path):
    """A small archive that unpacks to a gigabyte of zeros."""
    plain = io.BytesIO()
    torch.save({"state_dict": {}}, plain)
    with zipfile.ZipFile(plain) as source, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as target:
        for name in source.namelist():
            target.writestr(name, source.read(name))
        with target.open("archive/data/9", "w", force_zip64=True) as member:
            for _ in range(1024):
                member.write(bytes(2**20))


@pytest.mark.slow
@pytest.mark.parametrize("make", [expanded, zeros])
def test_a_checkpoint_that_would_fill_the_memory_is_refused(make, tmp_path):
    path = tmp_path / "odd.pth.tar"
    make(path)
    assert path.stat().st_size < 2**21

    def limit():
        resource.setrlimit(resource.RLIMIT_DATA, (2**30, 2**30))

    ended = subprocess.run(
        [sys.executable, "-c", READ, path], capture_output=True, text=True, preexec_fn=limit, check=False
    )
    assert ended.returncode == 1
    assert "UserError" in ended.stderr
    with pytest.raises(UserError, match=r"declare more numbers than the file holds|it is compressed"):
        read_checkpoint(path)


@pytest.mark.timeout(20)
def test_a_fifo_is_no_checkpoint(tmp_path):
    os.mkfifo(tmp_path / "odd.pth.tar")
    with pytest.raises(UserError, match="not a regular file"):
        read_checkpoint(tmp_path / "odd.pth.tar")


def test_no_field_of_a_card_reaches_the_terminal_as_it_is(capsys):
    card = read_card("mp")
    texts = {name: ODD for name, value in card.model_dump().items() if isinstance(value, str) and name != "input"}
    lists = {"peers": (ODD,), "weaknesses": (ODD,)}
    show_card(card.model_copy(update={**texts, **lists}))
    shown, _ = capsys.readouterr()
    assert not set(shown) & {"\x1b", "\x07", "\u202e"}
    assert "[bold]" in shown
    assert len(texts) > 8
