"""What others made: no input is waited for, and no text of theirs reaches a terminal as anything but text."""

import json
import os
import pty
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from safetensors.numpy import load_file

import cgcnn.training.recipe
import screening.recipe
from cgcnn.data.read import read
from cgcnn.data.tables import open_table
from cgcnn.errors import UserError
from cgcnn.graphs.prototype import CUBIC_PEROVSKITE
from cgcnn.models.arrays import digest
from cgcnn.models.card import Card
from cgcnn.models.files import load, save
from cgcnn.testing import untrained
from screening.chemistry.entries import read_entries
from screening.cluster import choose, preflight
from screening.ranking.known import read_known


def odd_files(folder: Path) -> Iterator[Path]:
    os.mkfifo(folder / "fifo")
    (folder / "device").symlink_to("/dev/zero")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(folder / "socket"))
        yield from (folder / name for name in ("fifo", "device", "socket"))


READERS: dict[str, Callable[[Path], Any]] = {
    "recipe of a screen": screening.recipe.read_recipe,
    "recipe of a training": cgcnn.training.recipe.read_recipe,
    "profile": lambda path: preflight(choose(str(path), None)),
    "list": open_table,
    "structures": lambda path: list(read(path)),
    "known": read_known,
    "entries": lambda path: read_entries([path]),
}


@pytest.mark.parametrize("what", READERS)
def test_no_input_is_waited_for(tmp_path: Path, what: str) -> None:
    for path in odd_files(tmp_path):
        for suffix in (".toml", ".csv", ".json", ".cif"):
            odd = path.rename(path.with_suffix(suffix))
            with pytest.raises(UserError) as refused:
                READERS[what](odd)
            assert str(odd) in str(refused.value)
            odd.rename(path)


EVIL = "\x1b[2J\x1b]0;title\x07[red]x[/red]:smile:\u202eabc\u2066\r\x9b31m\nscreen: all is well"
"""Clears a screen, sets a title, is markup, turns the direction, goes back to a line's start, and makes a line."""
NEVER = set("\x1b\x07\u202e\u2066\r\x9b")
ROOT = Path(__file__).parents[1]


def said(*words: object, folder: Path, code: int | None = None) -> str:
    """All that a command prints to a terminal; its own line ends come as \\r\\n there."""
    controller, terminal = pty.openpty()
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TERM": "dumb", "COLUMNS": "4000", "NO_COLOR": "1"}
    with subprocess.Popen(
        [sys.executable, "-m", *map(str, words)], cwd=folder, env=environment, stdout=terminal, stderr=terminal,
        stdin=subprocess.DEVNULL,
    ) as process:  # fmt: skip
        os.close(terminal)
        found = b""
        while True:
            try:
                piece = os.read(controller, 2**16)
            except OSError:  # everybody has closed it
                break
            found += piece
        os.close(controller)
    text = found.decode().replace("\r\n", "\n")
    assert code is None or process.returncode == code, text
    assert "Traceback" not in text
    return text


def is_plain(text: str, *, quoted: bool = True) -> bool:
    """Whether what a terminal got is text alone, with the markup as it was written if it is there at all."""
    return (
        not NEVER & set(text)
        and not any(line.startswith("screen: all is well") for line in text.split("\n"))
        and (not quoted or ("[red]x[/red]:smile:" in text and r"\x1b[2J" in text))
    )


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = untrained(CUBIC_PEROVSKITE, {"A": ["Ca", "Sr"], "B": ["Ti", "Zr"], "X": ["O"]})
    return save(made, tmp_path_factory.mktemp("model") / "m")


def texts_of(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The places of all texts in JSON."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in inner:
        if isinstance(item, str):
            yield (*path, key)
        else:
            yield from texts_of(item, (*path, key))


def filled_card(model: Path) -> dict[str, Any]:
    """A card that says something everywhere."""
    card: dict[str, Any] = json.loads(model.with_suffix(".json").read_text())
    metric = {"metric": "MAE", "target": "t", "value": 1.0, "unit": "u", "split": "s", "input": "prototype"}
    calibration = {"target": "t", "scale": 1.0, "floor": 0.1, "split": "s", "held": {"0.9": 0.9}, "by_element": [0, 1]}
    odds = {"target": "t", "power": 1.0, "factor": 1.0, "split": "s"}
    more = {"metrics": [metric], "calibrations": [calibration], "odds": [odds], "peers": ["p"], "weaknesses": ["w"]}
    card["targets"][0]["description"] = "d"
    return {**card, **more, "elements": ["Ca"], "source": "x", "hull": "h"}


def test_every_text_of_a_card_is_shown_as_text(tmp_path: Path, model: Path) -> None:
    card = filled_card(model)
    fixed = {"input", "graphs", "convolution", "pooling", "activation"}  # of which there are only a few
    places = [path for path in texts_of(card) if path[-1] not in fixed or path[0] == "metrics"]
    assert {path[0] for path in places} >= Card.model_fields.keys() - {
        "input", "training_size", "members", "format"
    }  # fmt: skip
    for path in places:
        inner = card
        for key in path[:-1]:
            inner = inner[key]
        inner[path[-1]] = EVIL
    (tmp_path / "m.safetensors").write_bytes(model.read_bytes())
    (tmp_path / "m.json").write_text(json.dumps(card))
    shown = said("cgcnn", "card", "m", folder=tmp_path, code=0)
    assert is_plain(shown)
    wide = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "4000"}
    command = [sys.executable, "-m", "cgcnn", "card", "m"]
    lines = subprocess.run(command, cwd=tmp_path, env=wide, capture_output=True, text=True, check=True).stdout.split(
        "\n"
    )
    rows = "model summary elements target label hull source data split std odds compare weakness retrain licence digest"
    for row in rows.split():
        assert any(line.startswith(row) and r"\x1b[2J" in line for line in lines), row
    assert is_plain(said("cgcnn", "predict", ".", "--model", "m", "--csv", "o.csv", folder=tmp_path), quoted=False)


def named_evilly(model: Path, folder: Path) -> Path:
    """The model with a card whose texts that commands quote are evil; its digest fits."""
    made = load(model)
    card = made.card.model_copy(update={"name": EVIL, "hull": EVIL, "summary": EVIL, "licence": EVIL})
    made.card = card.model_copy(update={"digest": digest(card, made.members, made.domain)})
    path = save(made, folder / "evil")
    assert load_file(path)
    return path


def test_a_screen_says_evil_names_as_text(tmp_path: Path, model: Path) -> None:
    evil = named_evilly(model, tmp_path)
    run = tmp_path / f"{EVIL.replace('/', '')}.zarr"
    (tmp_path / "list.csv").write_text(f'id,A,B,X,"{EVIL}"\n"{EVIL}",Ca,Ti,O,"{EVIL}"\n', newline="")
    common = ("screening", "list", "list.csv", "--model", evil, "--out", run)
    assert is_plain(said(*common, folder=tmp_path, code=0), quoted=False)
    for words in (
        ("status", run), ("verify", run), ("rank", run), ("rank", run, "-v"), ("rank", run, "--format", "json"),
        ("query", run, "SELECT * FROM candidates"), ("explain", run, "0"),
        ("rank", run, "--cif", EVIL.replace("/", "")), ("rank", run, "--filter", EVIL), ("rank", run, "--sort", EVIL),
    ):  # fmt: skip
        assert is_plain(said("screening", *words, folder=tmp_path), quoted=False), words
    assert r"\x1b[2J" in (exists := said(*common, folder=tmp_path, code=1))
    assert is_plain(exists, quoted=False)


def test_hosts_and_users_of_locks_are_text(tmp_path: Path, model: Path) -> None:
    from screening.store import lock
    from screening.store.place import LocalPlace

    words = ("screening", "perovskites", "--a", "Ca", "--b", "Ti", "--x", "O", "--model", model, "--out", "R.zarr")
    said(*words, folder=tmp_path, code=0)
    claim = {**asdict(replace(lock.Holder.here(), boot=EVIL)), "host": EVIL, "user": EVIL, "since": EVIL}
    place = LocalPlace(tmp_path / "R.zarr")
    place.write({"status/manifest/lock-0000.a.json": json.dumps(claim).encode()})
    assert is_plain(said("screening", "status", "R.zarr", folder=tmp_path, code=0))
    (holder,) = lock.claims(place, 0)
    assert is_plain(str(holder))
    with pytest.raises(UserError) as refused:
        raise lock._refusal(place, holder)  # what resuming says after a minute
    assert is_plain(str(refused.value))


def test_names_of_broken_files_are_text(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    name = EVIL.replace("/", "")
    for suffix in (".cif", ".json", ".xyz"):
        (folder / f"{name}{suffix}").write_text("nonsense")
    for model in ("mp-structures", EVIL):
        shown = said(
            "cgcnn", "predict", folder, "--model", model, "--csv", "o.csv", "--no-cache", folder=tmp_path, code=1
        )
        assert is_plain(shown.replace("[red]x[red]", "[red]x[/red]"))
    assert is_plain(said("screening", "structures", folder, "--dry-run", folder=tmp_path), quoted=False)


@pytest.mark.parametrize(
    "words",
    [
        ("screening", "run", EVIL), ("screening", "rank", EVIL), ("screening", EVIL),
        ("screening", "rank", "x", f"--{EVIL}"),
        ("screening", "perovskites", "--a", EVIL), ("screening", "perovskites", "--out", EVIL),
        ("screening", "perovskites", "--cluster", EVIL), ("screening", "list", EVIL),
        ("screening", "rank", "x", "--format", EVIL), ("screening", "explain", EVIL, "0"),
        ("cgcnn", "card", EVIL), ("cgcnn", "import", EVIL, "--atom-init", EVIL, "-o", "x"), ("cgcnn", EVIL),
        ("cgcnn", "train", ".", "--recipe", EVIL, "-o", "x"), ("cgcnn", "evaluate", EVIL, "--model", "mp"),
    ],
    ids=str,
)  # fmt: skip
def test_what_is_refused_is_quoted_as_text(tmp_path: Path, words: tuple[str, ...]) -> None:
    assert is_plain(said(*words, folder=tmp_path), quoted=False)


def test_texts_of_recipes_are_text(tmp_path: Path) -> None:
    (tmp_path / "r.toml").write_text(f"kind = {json.dumps(EVIL)}\n{json.dumps(EVIL)} = 1\n")
    assert is_plain(said("screening", "run", "r.toml", folder=tmp_path, code=1), quoted=False)
    (tmp_path / "r.toml").write_text(f"name = {json.dumps(EVIL)}\ninput = {json.dumps(EVIL)}\n")
    (tmp_path / "d.csv").write_text("id,cif\n")
    words = ("cgcnn", "train", "d.csv", "--recipe", "r.toml", "-o", "x")
    assert is_plain(said(*words, folder=tmp_path, code=1), quoted=False)


SPEAKING = f"""
import logging, sys, warnings
from cgcnn.cli import options
import click

@click.command()
@options.debug
def speak():
    logging.getLogger("x").warning("%s", {EVIL!r})
    warnings.warn({EVIL!r})
    options.echo({EVIL!r}, err=True)
    from cgcnn.cli.terminal import Reporter, Counter
    from cgcnn.training.fit import EpochProgress
    with Reporter(1) as reporter:
        reporter({EVIL!r}, 0, EpochProgress(1, 1, 0.5, 0.5))
    raise ValueError({EVIL!r})

options.run(speak)
"""


@pytest.mark.parametrize("more", [(), ("--debug",)])
def test_log_lines_warnings_progress_and_tracebacks_are_text(tmp_path: Path, more: tuple[str, ...]) -> None:
    (tmp_path / "speak.py").write_text(SPEAKING)
    done = subprocess.run(
        [sys.executable, "speak.py", *more], cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert is_plain(done.stderr.replace(EVIL.split("\n")[1], "") if more else done.stderr), done.stderr
    assert done.stderr.count(r"\x1b[2J") >= 5
