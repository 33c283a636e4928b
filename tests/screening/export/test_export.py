"""Exports: each is opened by the library that it is for, and says where it comes from."""

import json
import re
from fractions import Fraction

import ase.db
import ase.io
import gemmi
import numpy as np
import pytest
from monty.json import MontyDecoder
from pymatgen.core import Structure
from pymatgen.symmetry.analyzer import SpacegroupAnalyzer

import screening
from cgcnn.errors import UserError
from cgcnn.graphs.perovskite import find_perovskite
from cgcnn.models.files import save
from cgcnn.network.settings import Settings
from cgcnn.testing import untrained_for_structures
from screening.chemistry.magnetism import guess_moments
from screening.export import anonymous, hill

SETTINGS = Settings(targets=("e_above_hull",), width=8, layers=1, hidden=8, gaussians=12)
SITES = {"a": ["Ca", "Sr", "La"], "b": ["Ti", "Mn"], "x": ["O", "N"]}


@pytest.fixture(scope="module")
def run(tmp_path_factory, model_path):
    out = tmp_path_factory.mktemp("run") / "R.zarr"
    return screening.screen("perovskites", **SITES, model=str(model_path), out=out)


@pytest.fixture(scope="module")
def top(run):
    return run.rank(top=6)


def group(structure):
    return SpacegroupAnalyzer(structure, 1e-3).get_space_group_symbol()


def test_cif_files_name_the_atoms_by_their_sites_and_say_where_they_come_from(run, top, tmp_path):
    folder = run.export(tmp_path / "cifs", top=6, tilts=["a0a0a0", "a-b+a-"])
    assert len(list(folder.iterdir())) == 12
    for (rank, row), crystal in zip(top.iterrows(), top.structures(), strict=True):
        name = f"{rank:04d}-{row['formula']}-{row['index']}"
        text = (folder / f"{name}.cif").read_text()
        assert f"# run {run.url}\n" in text
        assert f"\n# index {row['index']}\n" in text
        small = gemmi.make_small_structure_from_block(gemmi.cif.read_string(text).sole_block())
        assert [site.label for site in small.sites][:2] == [f"{row['A']}1_A", f"{row['B']}1_B"]
        assert small.cell.a == pytest.approx(row["a_angstrom"], abs=1e-4)
        assert Structure.from_file(folder / f"{name}.cif").matches(crystal)
        tilted = Structure.from_file(folder / f"{name}-a-b+a-.cif")
        assert (len(tilted), find_perovskite(tilted).glazer) == (20, "a+b-b-")


def test_doubles_come_in_cells_of_ten_atoms_or_as_crystallographers_write_them(doubles, tmp_path):
    for conventional, atoms in ((False, 10), (True, 40)):
        path = doubles.export(tmp_path / f"{atoms}.json", top=3, conventional=conventional)
        crystals = json.loads(path.read_text(), cls=MontyDecoder)
        assert [(len(crystal), group(crystal)) for crystal in crystals] == [(atoms, "Fm-3m")] * 3
        assert crystals[0].volume / atoms == pytest.approx(abs(crystals[0].properties["a_angstrom"]) ** 3 / 5, rel=1e-5)
    expected = {"a-b+a-": (20, "P2_1/c"), "a-a-a-": (10, "R-3"), "a0a0c-": (10, "I4/m")}
    for tilts, found in expected.items():
        crystal = doubles.rank(top=1).structures(tilts)[0]
        assert (len(crystal), group(crystal)) == found


def test_poscar_files_are_read_as_they_were_written(run, top, tmp_path):
    folder = run.export(tmp_path / "starts", format="poscar", top=6, tilts=["a-a-a-"])
    for path, crystal in zip(sorted(folder.glob("*.vasp")), top.structures("a-a-a-"), strict=True):
        read = Structure.from_file(path)
        assert read.matches(crystal)
        assert len(read) == 10
        assert ase.io.read(path, format="vasp").get_chemical_formula() == ase_formula(crystal)


def ase_formula(crystal):
    return ase.Atoms([site.specie.symbol for site in crystal]).get_chemical_formula()


def test_ase_reads_extended_xyz_with_moments_and_predictions(run, top, tmp_path):
    images = ase.io.read(run.export(tmp_path / "starts.extxyz", top=6, tilts=["a0a0c-"]), ":")
    for (rank, row), atoms, crystal in zip(top.iterrows(), images, top.structures("a0a0c-"), strict=True):
        assert (atoms.info["rank"], atoms.info["index"], atoms.info["run"]) == (rank, row["index"], run.url)
        assert atoms.info["e_above_hull"] == pytest.approx(row["e_above_hull"], rel=1e-6)
        assert np.allclose(atoms.cell[:], crystal.lattice.matrix, atol=1e-6)
        assert atoms.arrays["site"].tolist() == crystal.site_properties["site"]
        moments = atoms.get_initial_magnetic_moments()
        assert [moment for moment in moments if moment] == ([5.0, 5.0] if row["B"] == "Mn" else [])


def test_a_database_of_ase_is_selected_by_what_is_predicted(run, top, tmp_path):
    path = run.export(tmp_path / "starts.db", top=6, tilts=["a0a0a0", "a-a-a-"])
    run.export(path, top=6, tilts=["a0a0a0", "a-a-a-"])  # in place of what was there
    with ase.db.connect(path) as database:
        assert database.count() == 12
        assert database.count(tilts="a-a-a-") == 6
        limit = top["e_above_hull"].median()
        assert database.count(f"e_above_hull<{limit}") == 2 * int((top["e_above_hull"] < limit).sum())
        found = next(database.select(rank=1, tilts="a0a0a0"))
        assert (found.data["run"], found.data["formula"]) == (run.url, top["formula"][1])
        assert found.data["labels"][1].endswith("_B")
    assert [path.name for path in tmp_path.iterdir()] == ["starts.db"]


def test_pymatgen_reads_its_json_with_properties(run, top, tmp_path):
    crystals = json.loads(run.export(tmp_path / "starts.json", top=6).read_text(), cls=MontyDecoder)
    for (rank, row), crystal in zip(top.iterrows(), crystals, strict=True):
        assert crystal.properties["rank"] == rank
        assert crystal.properties["model"] == top.attrs["model"]
        assert crystal.properties["p_stable"] == pytest.approx(row["p_stable"], rel=1e-6)
        assert crystal.properties.keys() >= {"run", "index", "formula", "e_above_hull_std", "tilts", "program"}
        assert crystal.labels[1] == f"{row['B']}1_B"
        assert ("magmom" in crystal.site_properties) == (row["B"] == "Mn")


def test_json_lines_follow_optimade(run, top, tmp_path):
    head, *lines = map(json.loads, run.export(tmp_path / "starts.jsonl", top=6).read_text().splitlines())
    assert re.fullmatch(r"1\.\d+\.\d+", head["x-optimade"]["meta"]["api_version"])
    assert len({line["id"] for line in lines}) == 6
    for (_, row), line in zip(top.iterrows(), lines, strict=True):
        told = line["attributes"]
        assert (line["type"], told["nsites"], told["nelements"]) == ("structures", 5, len(told["elements"]))
        assert told["elements"] == sorted({row[site] for site in ("A", "B", "X")})
        assert sum(told["elements_ratios"]) == pytest.approx(1)
        reduced = dict(re.findall(r"([A-Z][a-z]?)(\d*)", told["chemical_formula_reduced"]))
        assert list(reduced) == told["elements"]
        ratios = [Fraction(int(n or 1), 5) for n in reduced.values()]
        assert [float(ratio) for ratio in ratios] == pytest.approx(told["elements_ratios"])
        assert told["chemical_formula_descriptive"] == row["formula"]
        assert told["chemical_formula_anonymous"] in {"A3BC", "A2BCD"}
        assert np.shape(told["lattice_vectors"]) == (3, 3)
        assert np.shape(told["cartesian_site_positions"]) == (5, 3)
        assert {species["name"] for species in told["species"]} == set(told["species_at_sites"])
        own = [name for name in told if name.startswith("_")]
        assert "_screen_e_above_hull" in own
        assert all(re.fullmatch(r"_screen_[a-z][a-z0-9_]*", name) for name in own)


def test_optimades_own_models_accept_every_line(run, doubles, tmp_path):
    models = pytest.importorskip("optimade.models", reason="needs optimade")
    for exported, tilts in ((run, ["a0a0a0", "a-b+a-"]), (doubles, ["a-a-a-"])):
        _, *lines = map(json.loads, exported.export(tmp_path / "o.jsonl", top=6, tilts=tilts).read_text().splitlines())
        assert lines
        for line in lines:
            read = models.StructureResource(**line)
            assert read.attributes.nsites == len(line["attributes"]["species_at_sites"])
    wrong = {**lines[0], "attributes": {**lines[0]["attributes"], "elements_ratios": [0.9, 0.9]}}
    with pytest.raises(ValueError, match="elements_ratios"):
        models.StructureResource(**wrong)


def test_formulas_of_optimade_are_those_of_its_specification():
    assert anonymous([1, 1, 3]) == "A3BC"
    assert anonymous([1] * 27).endswith("ZAa")
    assert hill({"C": 1, "Cl": 3, "H": 6, "N": 1, "Pb": 1}) == [("C", 1), ("H", 6), ("Cl", 3), ("N", 1), ("Pb", 1)]
    assert hill({"Ba": 1, "H": 1, "O": 2, "Ti": 1})[0] == ("Ba", 1)


def test_parquet_holds_the_whole_ranking(run, tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet", reason="needs pyarrow")
    read = parquet.read_table(run.export(tmp_path / "R.parquet")).to_pydict()
    whole = run.rank()
    assert read["formula"] == whole["formula"].tolist()
    assert read["rank"] == list(range(1, len(whole) + 1))
    assert np.array_equal(read["e_above_hull"], whole["e_above_hull"])
    assert len(parquet.read_table(run.export(tmp_path / "R.parquet", top=3))) == 3


def test_moments_are_those_of_magnetic_cations_alone():
    assert guess_moments(["Sr", "Fe", "O", "O", "O"]) == [0, 5, 0, 0, 0]
    assert guess_moments(["Gd", "Al", "O"]) == [7, 0, 0]
    assert guess_moments(["Sr", "Ti", "O"]) is None


def test_what_cannot_be_exported_is_refused_and_leaves_nothing(run, tmp_path):
    (tmp_path / "file").write_text("mine")
    (tmp_path / "folder.json").mkdir()
    for path, settings, message in (
        ("a.json", {"tilts": ["a+a+a+"]}, "`tilts` a\\+a\\+a\\+: no such tilt system"),
        ("no/such.db", {}, "`export` .*not a writable directory"),
        ("file", {}, "`export` .*cif needs a directory"),
        ("folder.json", {}, "`export` .*json needs a file"),
        ("a.xml", {"format": "xml"}, "format xml: unknown"),
        ("a.json", {"sort": "beauty"}, "no such column"),
    ):
        with pytest.raises(UserError, match=message):
            run.export(tmp_path / path, **settings)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder.json"]
    run.export(tmp_path / "cifs", top=3)
    with pytest.raises(UserError, match=r"`export` \S+cifs: holds 3 CIF files of another ranking"):
        run.export(tmp_path / "cifs", top=2, tilts=["a-a-a-"])


def test_structures_stay_as_they_were_given(run, tmp_path):
    folder = run.export(tmp_path / "cifs", top=2, tilts=["a-a-a-"])
    model = save(untrained_for_structures(SETTINGS), tmp_path / "any")
    paths = [str(folder)]
    judged = screening.screen("structures", paths=paths, model=str(model), out=tmp_path / "S.zarr")
    crystals = json.loads(judged.export(tmp_path / "S.json").read_text(), cls=MontyDecoder)
    given = {path.stem: Structure.from_file(path) for path in folder.iterdir()}
    assert len(crystals) == len(given) == 2
    for crystal in crystals:
        assert crystal.matches(given[crystal.properties["id"]])
        assert "tilts" not in crystal.properties
    judged.export(tmp_path / "S.db")
    with ase.db.connect(tmp_path / "S.db") as database:
        assert {row.data["id"] for row in database.select()} == set(given)
    for wrong in ({"tilts": ["a-a-a-"]}, {"conventional": True}):
        with pytest.raises(UserError, match="structures stay as they were given"):
            judged.export(tmp_path / "T.json", **wrong)
