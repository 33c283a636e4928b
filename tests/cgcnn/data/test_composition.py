"""Compositions of records, by their columns or worked out from their crystals."""

import numpy as np
import pytest
from pymatgen.core import Structure

from cgcnn.data.composition import Composition, cell_vectors, composition, shapes, species
from cgcnn.data.samples import Record
from cgcnn.elements import SYMBOLS
from cgcnn.errors import UserError
from cgcnn.graphs.prototype import CUBIC_PEROVSKITE, DOUBLE_PEROVSKITE

BOTH = (CUBIC_PEROVSKITE, DOUBLE_PEROVSKITE)
TITANATE = {"A": "Ba", "B": "Ti", "X": "O"}


def record_of(crystal: Structure) -> Record:
    return {
        "cell": [*crystal.lattice.abc, *crystal.lattice.angles],
        "species": [site.specie.symbol for site in crystal],
        "frac": crystal.frac_coords.tolist(),
    }


def elpasolite(a: float = 5.5) -> Structure:
    return DOUBLE_PEROVSKITE.structure(np.array([55, 47, 83, 17], dtype=np.uint8), a)


@pytest.mark.parametrize("anions", [{"X": ["O", "N", "O"]}, {"X1": "N", "X2": "O", "X3": "O"}])
def test_sites_by_role_or_by_name(anions: Record) -> None:
    found = composition({"A": "Ba", "B": "Ti", **anions}, [CUBIC_PEROVSKITE])
    assert species([found], [CUBIC_PEROVSKITE]).tolist() == [[56, 22, 8, 8, 7]]


def test_one_symbol_fills_the_role() -> None:
    assert composition(TITANATE, BOTH) == Composition(0, (56, 22, 8, 8, 8))


def test_columns_of_a_double_perovskite_are_not_taken_for_a_single_one() -> None:
    record = {"A": "Cs", "B": "Bi", "B'": "Ag", "X": "Cl"}
    found = composition(record, BOTH)
    assert found == Composition(1, (55, 83, 47, 17))
    rows = species([found, composition(TITANATE, BOTH)], BOTH)
    assert rows.tolist() == [[55, 47, 83, 17, 0], [56, 22, 8, 8, 8]]


@pytest.mark.parametrize(
    ("change", "message"),
    [({"A": None}, "site A"), ({"X": ["O", "O"]}, "site X1"), ({"B": "Xx"}, "'Xx'"), ({"B": 22}, "site B")],
)
def test_bad_column_is_named(change: Record, message: str) -> None:
    with pytest.raises(UserError, match=message):
        composition({**TITANATE, **change}, [CUBIC_PEROVSKITE])


@pytest.mark.parametrize("order", [[0, 1, 2, 3, 4], [4, 2, 0, 3, 1]])
@pytest.mark.parametrize("row", [[56, 22, 8, 8, 8], [22, 56, 8, 8, 8], [56, 22, 8, 7, 9]])
def test_sites_of_a_cubic_crystal_in_any_order_of_its_atoms(row: list[int], order: list[int]) -> None:
    crystal = CUBIC_PEROVSKITE.structure(np.array(row, dtype=np.uint8), 4.0)
    crystal.translate_sites(range(5), [0.3, 0.6, 0.9])
    found = composition(record_of(Structure.from_sites([crystal[i] for i in order])), BOTH)
    assert species([found], BOTH).tolist() == CUBIC_PEROVSKITE.canonical(np.array([row], dtype=np.uint8)).tolist()


@pytest.mark.parametrize("conventional", [False, True])
def test_sites_of_a_double_perovskite_whose_anions_are_off_the_middle(*, conventional: bool) -> None:
    crystal = elpasolite()
    for i in range(4, 10):
        crystal.translate_sites([i], 0.04 * (np.array([0.5, 0.5, 0.5]) - crystal[i].frac_coords))
    if conventional:
        crystal.make_supercell([[-1, 1, 1], [1, -1, 1], [1, 1, -1]])
    record = record_of(crystal)
    if conventional:
        with pytest.raises(UserError, match="not ordered as in"):
            composition(record, BOTH)
    else:
        assert sorted(composition(record, BOTH).numbers) == [17, 47, 55, 83]


def test_layered_order_is_not_rock_salt() -> None:
    crystal = CUBIC_PEROVSKITE.structure(np.array([56, 22, 8, 8, 8], dtype=np.uint8), 4.0) * (2, 1, 1)
    second = [i for i, site in enumerate(crystal) if site.specie.symbol == "Ti"][1]
    crystal.replace(second, "Zr")
    with pytest.raises(UserError, match="a perovskite, but not ordered as in cubic-perovskite or double-perovskite"):
        composition(record_of(crystal), BOTH)


def test_other_crystals_are_no_perovskites(rutile: Structure) -> None:
    with pytest.raises(UserError, match="no element symbol for site A"):
        composition(record_of(rutile), BOTH)


@pytest.mark.parametrize("crystal", [{"cell": [1, 2]}, {"frac": [[0, 0]]}, {"frac": []}, {"cell": None}])
def test_a_broken_crystal_names_the_columns_that_are_missing(crystal: Record) -> None:
    with pytest.raises(UserError, match="columns needed: A,B,X1,X2,X3"):
        composition({**record_of(elpasolite()), **crystal}, BOTH)


def test_shapes_of_records() -> None:
    records = [TITANATE, {}, record_of(elpasolite())]
    assert shapes(records, [p.name for p in BOTH]) == [CUBIC_PEROVSKITE, None, DOUBLE_PEROVSKITE]


def test_cell_vectors_have_the_lengths_and_angles() -> None:
    vectors = cell_vectors([3.0, 4.0, 5.0, 80.0, 95.0, 110.0])
    length = np.linalg.norm(vectors, axis=1)
    cosine = (vectors @ vectors.T / np.outer(length, length))[[1, 0, 0], [2, 2, 1]]
    np.testing.assert_allclose(length, [3, 4, 5])
    np.testing.assert_allclose(np.degrees(np.arccos(cosine)), [80, 95, 110])


def test_symbols_are_those_of_the_numbers() -> None:
    assert [SYMBOLS[z] for z in composition(record_of(elpasolite()), [DOUBLE_PEROVSKITE]).numbers] == [
        "Cs",
        "Ag",
        "Bi",
        "Cl",
    ]
