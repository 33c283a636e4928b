"""Crystals in the forms that programs write: POSCAR, pymatgen, JARVIS, OPTIMADE."""

import json

import numpy as np
import pytest
from pymatgen.core import Structure
from pymatgen.io.vasp import Poscar

from cgcnn.data.crystal import structure
from cgcnn.data.read import read
from cgcnn.errors import UserError

CUBE = """SrTiO3
{scale}
{vectors}
{symbols}
1 1 3
{kind}
0 0 0
{half} {half} {half}
{half} {half} 0
{half} 0 {half}
0 {half} {half}
"""


def poscar(scale="1.0", edges=(3.9, 3.9, 3.9), symbols="Sr Ti O", kind="Direct", half="0.5"):
    vectors = "\n".join(" ".join(f"{edge if i == j else 0}" for j in range(3)) for i, edge in enumerate(edges))
    return CUBE.format(scale=scale, vectors=vectors, symbols=symbols, kind=kind, half=half)


def same(one: Structure, other: Structure) -> bool:
    apart = one.frac_coords - other.frac_coords
    return (
        [site.specie.symbol for site in one] == [site.specie.symbol for site in other]
        and np.allclose(apart, np.round(apart), atol=1e-6)
        and np.allclose(one.lattice.parameters, other.lattice.parameters)
    )


@pytest.mark.parametrize(
    "text",
    [
        poscar(),
        poscar(symbols="SR TI O"),
        poscar(symbols="Sr_sv Ti_pv O"),
        poscar(symbols="Sr/4b2f Ti/11aa O/9c"),
        poscar(scale="3.9", edges=(1, 1, 1)),
        poscar(scale="1.0 1.0 1.0"),
        poscar(scale="3.9 1.95 1.3", edges=(1, 2, 3)),
        poscar(scale=str(-(3.9**3)), edges=(1, 1, 1)),
        poscar(kind="Selective dynamics\nDirect").replace("0 0 0\n", "0 0 0 T T F\n", 1),
        poscar(kind="Cartesian", half="1.95"),
        poscar(scale="3.9", edges=(1, 1, 1), kind="cartesian"),
        poscar(scale="2.0 1.0 1.3 ! of x, y and z", edges=(1.95, 3.9, 3.0)),
        poscar(edges=("3.9d0", 3.9, 3.9)),
    ],
)
def test_a_poscar_is_read_however_it_is_scaled_and_named(text):
    expected = Structure.from_str(poscar(), fmt="poscar")
    assert same(structure("poscar", text), expected)


def test_elements_may_stand_behind_the_coordinates():
    lines = poscar().splitlines()
    del lines[5]
    for at, symbol in zip(range(7, 12), ["Sr", "Ti", "O", "O", "O"], strict=True):
        lines[at] += f" {symbol}"
    assert same(structure("poscar", "\n".join(lines)), Structure.from_str(poscar(), fmt="poscar"))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (poscar().replace("Sr Ti O\n", ""), "does not name its elements"),
        (poscar(symbols="Sr Ti"), "2 elements, but 3 numbers"),
        (poscar(scale="1.0 1.0"), "the scale is 1, 1; give one number, or three"),
        (poscar(scale="0"), "the scale is 0"),
        (poscar(scale="one"), "line 2 has 'one' instead of numbers"),
        (poscar().replace("1 1 3", "1 1 30"), "32 atoms in"),
        (poscar().replace("1 1 3", "1 1 3.5"), "'3.5' is not a number of atoms"),
        (poscar(symbols="Sr Ti Xx"), "Xx"),
        (poscar().replace("0 0 0\n", "0 0\n"), "2 numbers instead of 3"),
    ],
)
def test_a_poscar_that_is_none_is_refused_with_what_is_wrong(text, reason):
    with pytest.raises(UserError, match=reason):
        structure("poscar", text)


def test_what_pymatgen_writes_as_poscar_is_read(rutile):
    assert same(structure("poscar", Poscar(rutile).get_str(significant_figures=12)), rutile)


@pytest.fixture
def forms(rutile):
    """The crystal as programs write it: name of a file -> content."""
    lattice, places = rutile.lattice.matrix.tolist(), rutile.frac_coords.tolist()
    elements = [site.specie.symbol for site in rutile]
    atoms = {"lattice_mat": lattice, "coords": places, "elements": elements, "cartesian": False}
    cartesian = atoms | {"coords": rutile.cart_coords.tolist(), "cartesian": True}
    attributes = {
        "lattice_vectors": lattice,
        "cartesian_site_positions": rutile.cart_coords.tolist(),
        "species_at_sites": elements,
        "species": [{"name": s, "chemical_symbols": [s], "concentration": [1.0]} for s in ("Ti", "O")],
        "dimension_types": [1, 1, 1],
    }
    entry = {"id": "odbx/1", "type": "structures", "attributes": attributes}
    header = {"x-optimade": {"meta": {"api_version": "1.2.0"}}}
    return {
        "jarvis.json": [{"jid": "JVASP-1", "atoms": atoms}],
        "cartesian.json": [{"jid": "JVASP-1", "atoms": cartesian}],
        "answer.json": {"data": [entry], "meta": {}},
        "one.json": {"data": entry},
        "entries.jsonl": [header, entry],
        "flat.jsonl": [{"id": "x", **attributes}],
        "pymatgen.jsonl": [rutile.as_dict()],
        "pymatgen.json": [rutile.as_dict()],
    }


@pytest.mark.parametrize(
    "name",
    [
        "jarvis.json",
        "cartesian.json",
        "answer.json",
        "one.json",
        "entries.jsonl",
        "flat.jsonl",
        "pymatgen.jsonl",
        "pymatgen.json",
    ],
)
def test_records_of_other_programs_are_crystals(name, forms, tmp_path, rutile):
    lines = forms[name]
    text = "\n".join(map(json.dumps, lines)) if name.endswith(".jsonl") else json.dumps(lines)
    (tmp_path / name).write_text(text)
    (sample,) = read(tmp_path / name)
    assert same(structure(sample.form, sample.content), rutile)
    assert sample.id in {"JVASP-1", "odbx/1", "x", "0"}


def test_a_mixed_site_of_an_entry_is_refused_by_name(forms, tmp_path):
    answer = forms["answer.json"]
    answer["data"][0]["attributes"]["species"][0] |= {"chemical_symbols": ["Ti", "Zr"], "concentration": [0.5, 0.5]}
    (tmp_path / "answer.json").write_text(json.dumps(answer))
    (sample,) = read(tmp_path / "answer.json")
    with pytest.raises(UserError, match="site Ti has mixed occupancy: Ti, Zr"):
        structure(sample.form, sample.content)
