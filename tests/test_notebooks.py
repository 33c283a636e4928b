"""Notebooks of the docs run as they are, and were committed executed."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest


@dataclass(frozen=True)
class Ran:
    """A notebook that ran: its variables, what it printed, the folder it ran in."""

    names: dict[str, Any]
    out: str
    folder: Path


NOTEBOOKS = sorted((Path(__file__).parents[1] / "docs/notebooks").glob("*.ipynb"))


def code_cells(path):
    return [cell for cell in json.loads(path.read_text(encoding="utf-8"))["cells"] if cell["cell_type"] == "code"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_committed_executed_without_errors_and_without_paths_of_a_machine(path):
    cells = code_cells(path)
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    outputs = [output for cell in cells for output in cell["outputs"]]
    assert {output["output_type"] for output in outputs} <= {"stream", "execute_result", "display_data"}
    assert any("image/png" in output.get("data", {}) for output in outputs)
    assert not [root for root in ("/home/", "/tmp/", "/root/") if root in str(outputs)]  # noqa: S108  # none is used


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs(path, tmp_path, monkeypatch, capsys):
    matplotlib = pytest.importorskip("matplotlib", reason="needs matplotlib")
    monkeypatch.chdir(tmp_path)
    matplotlib.use("Agg")
    namespace = {"__name__": "notebook"}
    for number, cell in enumerate(code_cells(path), 1):
        exec(compile("".join(cell["source"]), f"{path.name}, cell {number}", "exec"), namespace)  # noqa: S102  # our own code
    CHECKS[path.stem](Ran(namespace, capsys.readouterr().out, tmp_path))


def check_first_screen(ran):
    assert "Every candidate is there exactly once" in ran.out
    assert sorted(file.suffix for file in ran.folder.iterdir()) == [".cif", ".cif", ".cif", ".html", ".zarr"]
    assert not ran.names["top"].empty
    assert len(ran.names["crystals"]) == len(ran.names["oxides"])


def check_train_your_own(ran):
    assert (ran.folder / "oxides.safetensors").is_file()
    (error,) = (m.value for m in ran.names["trained"].card.metrics if (m.metric, m.target) == ("MAE", "e_above_hull"))
    assert error < ran.names["labelled"]["e"].std() / 2
    ranked = ran.names["ranked"]
    assert ranked.attrs["model"] == "oxides"
    assert not ranked[ranked["A"] == "Ge"]["in_domain"].any()


def check_screen_to_dft(ran):
    starts = ran.names["starts"]
    assert [start.properties["tilts"] for start in starts] == 4 * ["a0a0a0", "a-b+a-", "a-a-a-"]
    assert {start.get_space_group_info()[0] for start in starts} == {"Pm-3m", "Pnma", "R-3c"}
    assert len(list((ran.folder / "starts").glob("*.cif"))) == 12
    assert ran.names["best"].groupby("B").size().max() <= 2
    assert set(ran.names["relaxed"]["became"]) <= {"single cubic a0a0a0", "single tilted a-a-a-"}
    assert ran.names["relaxed"]["converged"].all()


def check_on_slurm(ran):
    assert "share 1/2 done; the run is complete\nshare 2/2 done; the run is complete" in ran.out
    assert ran.out.count(" True\n") == 3
    assert "False" not in ran.out


CHECKS = {
    "first-screen": check_first_screen,
    "train-your-own": check_train_your_own,
    "screen-to-dft": check_screen_to_dft,
    "on-slurm": check_on_slurm,
}
