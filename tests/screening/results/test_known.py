import csv
import json

import numpy as np
import pytest

import screening
from cgcnn.errors import UserError
from cgcnn.graphs.prototype import CUBIC_PEROVSKITE, DOUBLE_PEROVSKITE
from screening.results.known import read_known
from screening.results.outputs import Outputs, present
from screening.store import Run as StoredRun

TITANATE, MIXED, ZIRCONATE = [56, 22, 8, 8, 8], [57, 22, 8, 8, 7], [56, 40, 8, 8, 8]


def rows(*species):
    return np.array(species, dtype=np.uint8)


def test_formulas_of_a_table_are_found_whatever_their_order(tmp_path):
    (tmp_path / "mine.csv").write_text("material_id,formula_pretty\nmp-1,TiBaO3\nmp-2,La2Ti2N2O4\nmp-3,Ba2MgWO6\n")
    known = read_known(tmp_path / "mine.csv")
    assert known.names_of(rows(TITANATE, MIXED, ZIRCONATE), CUBIC_PEROVSKITE) == ["mp-1", "mp-2", ""]
    assert known.are_known(rows(TITANATE, MIXED, ZIRCONATE), CUBIC_PEROVSKITE).tolist() == [True, True, False]
    double = rows([56, 12, 74, 8], [12, 56, 74, 8], [56, 22, 74, 8])
    assert known.names_of(double, DOUBLE_PEROVSKITE) == ["mp-3", "", ""]


def test_ids_of_the_materials_project_are_told_all_of_one_composition(tmp_path):
    records = [
        {"material_id": "mp-2998", "formula_pretty": "BaTiO3"},
        {"material_id": "mp-5020", "formula_pretty": "BaTiO3"},
        {"material_id": "mp-3834", "formula_pretty": "BaZrO3"},
    ]
    (tmp_path / "mine.json").write_text(json.dumps(records))
    (tmp_path / "mine.jsonl").write_text("\n".join(map(json.dumps, records)))
    for name in ("mine.json", "mine.jsonl"):
        known = read_known(tmp_path / name)
        assert known.names_of(rows(TITANATE, ZIRCONATE), CUBIC_PEROVSKITE) == ["mp-2998 mp-5020", "mp-3834"]


def test_cif_files_of_a_folder_are_called_by_their_names(tmp_path):
    crystal = CUBIC_PEROVSKITE.structure(rows(TITANATE)[0], 4.0)
    crystal.to(filename=str(tmp_path / "made-2024.cif"))
    assert read_known(tmp_path).names_of(rows(TITANATE, ZIRCONATE), CUBIC_PEROVSKITE) == ["made-2024", ""]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a,b\n1,2\n", "0 has no formula; its columns are a,b"),
        ("id,formula\nmp-7,XyO3\n", r"mp-7: 'XyO3' is no formula"),
        ("formula\n", "no records"),
        (None, "no such file"),
    ],
)
def test_what_says_no_composition_is_refused(tmp_path, content, message):
    file = tmp_path / "mine.csv"
    if content is not None:
        file.write_text(content)
    with pytest.raises(UserError, match=message):
        read_known(file)


@pytest.mark.slow
def test_a_ranking_marks_or_drops_what_a_user_has(tmp_path, model_path):
    (tmp_path / "mine.csv").write_text("formula\nBaTiO3\n")
    sites = {"a": "Ca,Sr,Ba", "b": "Ti", "x": "O", "model": str(model_path)}
    run = screening.screen("perovskites", out=tmp_path / "R.zarr", **sites)
    marked = run.rank(known=tmp_path / "mine.csv").set_index("A")["known_as"]
    assert marked.to_dict() == {"Ba": "BaTiO3", "Sr": "", "Ca": ""}
    assert set(run.rank(known=tmp_path / "mine.csv", drop_known=True)["A"]) == {"Ca", "Sr"}
    assert "known_as" not in run.rank()
    with pytest.raises(UserError, match="nothing is `known` to drop"):
        run.rank(drop_known=True)
    for top in (None, 2):
        asked = Outputs(known=tmp_path / "mine.csv", csv=tmp_path / "R.csv", top=top)
        with StoredRun.open(run.url) as opened:
            present(opened, asked)
        with (tmp_path / "R.csv").open(encoding="utf-8") as lines:
            written = {row["A"]: row["known_as"] for row in csv.DictReader(lines)}
        assert written.items() <= marked.to_dict().items()
        assert len(written) == (top or 3)
