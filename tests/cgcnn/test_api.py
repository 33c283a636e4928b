"""The library from Python: load, predict, train."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pymatgen.core import Lattice, Structure

import cgcnn
from cgcnn.cli.commands import app
from cgcnn.errors import UserError
from cgcnn.graphs.prototype import CUBIC_PEROVSKITE, DOUBLE_PEROVSKITE
from cgcnn.network.settings import Settings
from cgcnn.testing import untrained, untrained_for_structures

HALVES = [[0, 0, 0], [0.5, 0.5, 0.5]]
SMALL = {"width": 8, "layers": 1, "hidden": 8, "gaussians": 12}


def salt(metal: str, a: float = 3.5) -> Structure:
    return Structure(Lattice.cubic(a), [metal, "Cl"], HALVES)


def test_importing_needs_no_heavy_library() -> None:
    code = (
        "import sys, cgcnn; print({'torch', 'numpy', 'pymatgen', 'pandas'} & set(sys.modules)); "
        "assert {'load', 'predict', 'train'} <= set(dir(cgcnn)); cgcnn.load('mp'), cgcnn.predict, cgcnn.Model; "
        "print('torch' in sys.modules)"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.split() == ["set()", "False"]
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        cgcnn.nothing  # noqa: B018  # it is what fails


def test_crystals_are_predicted_with_their_reasons(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    model = untrained_for_structures(Settings(targets=("gap", "energy"), **SMALL))
    salt("Na").to(filename=str(tmp_path / "salt.cif"))
    (tmp_path / "bad.cif").write_text("none")
    mixed = Structure(Lattice.cubic(3.5), [{"Na": 0.5, "K": 0.5}, "Cl"], HALVES)
    table = cgcnn.predict([tmp_path / "salt.cif", str(tmp_path / "bad.cif"), salt("Na"), mixed], model)
    assert list(table) == ["id", "gap", "gap_std", "energy", "energy_std", "in_domain", "reason"]
    assert table["id"].tolist() == ["salt", "bad", "2", "3"]
    assert np.isfinite(table["gap"]).tolist() == [True, False, True, False]
    assert table["gap"][0] == pytest.approx(table["gap"][2], abs=1e-5)
    assert table["in_domain"].isna().tolist() == [False, True, False, True]
    assert "not a crystal" in table["reason"][1]
    assert "partially occupied" in table["reason"][3]
    assert table["reason"][0] == ""
    assert table.attrs == {"units": {"gap": "", "energy": ""}, "model": "untrained"}
    assert capfd.readouterr() == ("", "")


def test_one_item_and_one_directory_are_predicted_too(tmp_path: Path) -> None:
    model = untrained_for_structures(Settings(targets=("gap",), **SMALL))
    for metal in ("Na", "K"):
        salt(metal).to(filename=str(tmp_path / f"{metal}.cif"))
    assert cgcnn.predict(tmp_path, model)["id"].tolist() == ["K", "Na"]
    assert cgcnn.predict(salt("Na"), model)["id"].tolist() == ["0"]
    assert len(cgcnn.predict([], model)) == 0
    with pytest.raises(UserError, match="give paths, or structures"):
        cgcnn.predict([3], model)
    with pytest.raises(UserError, match="no such model"):
        cgcnn.predict(tmp_path, "nothing")


def test_predictions_are_those_of_the_command(tmp_path: Path) -> None:
    from click.testing import CliRunner

    salt("Na").to(filename=str(tmp_path / "salt.cif"))
    out = tmp_path / "out.csv"
    arguments = ["predict", str(tmp_path / "salt.cif"), "--model", "formation-energy", "--csv", str(out), "--no-cache"]
    CliRunner(catch_exceptions=False).invoke(app, arguments)
    table = cgcnn.predict(tmp_path / "salt.cif", "formation-energy")
    assert pd.read_csv(out)["prediction"][0] == pytest.approx(table.iloc[0, 1], rel=1e-6)


def test_models_of_compositions_read_structures_too() -> None:
    model = untrained(CUBIC_PEROVSKITE, {"A": ["Ba"], "B": ["Ti"], "X": ["O"]})
    crystals = [CUBIC_PEROVSKITE.structure(np.array([z, 22, 8, 8, 8], dtype=np.uint8), 4.0) for z in (56, 38)]
    table = cgcnn.predict(crystals, model)
    assert table["in_domain"].tolist() == [True, False]
    assert np.isfinite(table["e_above_hull"]).all()


def test_candidates_of_a_prototype_are_predicted_by_their_elements() -> None:
    model = untrained(DOUBLE_PEROVSKITE, {"A": ["Cs"], "B": ["Ag", "Bi"], "X": ["Cl"]})
    table = model.on("double-perovskite").predict(A=["Cs"], B=["Ag", "Bi", "In"], X=["Cl", "Br"])
    sites = list(DOUBLE_PEROVSKITE.sites)
    assert list(table) == [*sites, "e_above_hull", "e_above_hull_std", "a", "a_std", "in_domain", "known"]
    assert len(table) == 1 * 3 * 2
    first = table[(table[sites[1]] == "Ag") & (table[sites[2]] == "Bi") & (table[sites[3]] == "Cl")]
    assert first["in_domain"].tolist() == [True]
    assert table["in_domain"].sum() == 1
    one = model.on("double-perovskite").predict(A="Cs", B=["Ag", "Bi"], X="Cl")
    species = np.array([[55, 47, 83, 17]], dtype=np.uint8)
    assert one["e_above_hull"][0] == model.on("double-perovskite").predict(species)["e_above_hull"][0][0]
    with pytest.raises(UserError, match="no elements for X"):
        model.on("double-perovskite").predict(A=["Cs"], B=["Ag", "Bi"])
    with pytest.raises(UserError, match="B takes 2 different elements"):
        model.on("double-perovskite").predict(A=["Cs"], B=["Ag"], X=["Cl"])
    with pytest.raises(UserError, match="no role Y"):
        model.on("double-perovskite").predict(A=["Cs"], B=["Ag", "Bi"], X=["Cl"], Y=["O"])
    with pytest.raises(UserError, match="'Xx' is not the symbol of an element"):
        model.on("double-perovskite").predict(A=["Xx"], B=["Ag", "Bi"], X=["Cl"])


METALS = ["Li", "Na", "K", "Rb", "Cs", "Mg", "Ca", "Sr", "Ba", "Zn"]


def test_a_model_is_trained_and_saved(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    rows = [{"id": m, "gap": i / 5, "structure": salt(m, 3.2 + i / 10).as_dict()} for i, m in enumerate(METALS)]
    (tmp_path / "data.json").write_text(json.dumps(rows))
    seen: list[tuple[str, int, int]] = []
    best = cgcnn.train(
        tmp_path / "data.json", target="gap", epochs=2, members=2, progress=lambda s, m, p: seen.append((s, m, p.epoch))
    )
    assert seen == [("training", m, e) for m in (0, 1) for e in (1, 2)]
    assert (best.card.training_size, best.card.members) == (6, 2)
    assert [m.metric for m in best.card.metrics][:1] == ["MAE"]
    files = best.save(tmp_path / "gap")
    assert {file.name for file in files} >= {"gap.safetensors", "gap.metrics.json", "gap.test.csv"}
    table = cgcnn.predict(salt("Na"), tmp_path / "gap")
    assert table["gap"][0] == cgcnn.predict(salt("Na"), best.best)["gap"][0]
    assert capfd.readouterr() == ("", "")


def test_records_and_tables_are_trained_on_alike() -> None:
    rows = [{"id": m, "gap": i / 5, "structure": salt(m, 3.2 + i / 10)} for i, m in enumerate(METALS)]
    how = {"target": "gap", "epochs": 1, "members": 1}
    digests = {cgcnn.train(data, **how).best.digest for data in (rows, iter(rows), pd.DataFrame(rows))}
    assert len(digests) == 1
    with pytest.raises(UserError, match="no target: pass `target`"):
        cgcnn.train(rows)
    with pytest.raises(UserError, match="no record has the label 'colour'"):
        cgcnn.train(rows, target="colour")


def test_a_training_goes_on_from_its_checkpoints(tmp_path: Path) -> None:
    rows = [{"id": m, "gap": i / 5, "structure": salt(m, 3.2 + i / 10)} for i, m in enumerate(METALS)]

    def stop(_stage: str, member: int, _progress: object) -> None:
        if member == 1:
            raise KeyboardInterrupt

    how = {"target": "gap", "epochs": 1, "members": 2, "checkpoints": tmp_path / "progress"}
    with pytest.raises(KeyboardInterrupt):
        cgcnn.train(rows, **how, progress=stop)
    seen: list[int] = []
    resumed = cgcnn.train(rows, **how, progress=lambda _s, m, _p: seen.append(m))
    assert seen == []  # both were done
    assert resumed.best.digest == cgcnn.train(rows, target="gap", epochs=1, members=2).best.digest
