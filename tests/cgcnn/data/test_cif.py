"""Plain CIFs are read as pymatgen reads them; all others are left to pymatgen."""

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pymatgen.core import DummySpecies, Lattice, Structure
from pymatgen.io.cif import CifWriter

from cgcnn.data.cif import plain_cif

properties = settings(deadline=None, derandomize=True, max_examples=25)
THIRDS = st.sampled_from([0.0, 0.25, 0.3333, 0.33333333, 0.6667, 0.66666, -0.3333, 1.0, 0.999999])


def written(crystal: Structure, symprec: float | None = None) -> str:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return str(CifWriter(crystal, symprec=symprec))


def by_pymatgen(text: str) -> Structure:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return Structure.from_str(text, fmt="cif")


def assert_same(found: Structure | None, expected: Structure) -> None:
    assert found is not None
    assert [site.specie.symbol for site in found] == [site.specie.symbol for site in expected]
    assert np.array_equal(found.frac_coords, expected.frac_coords)
    assert np.array_equal(found.lattice.matrix, expected.lattice.matrix)


@properties
@given(
    atoms=st.lists(
        st.tuples(
            st.sampled_from(["O", "Ti", "Xe", "He", "Cs", "F", "La", "Ce"]), *[THIRDS | st.floats(-0.9, 1.9)] * 3
        ),
        min_size=1,
        max_size=6,
    ),
    cell=st.tuples(*[st.floats(3, 12)] * 3, *[st.floats(70, 110)] * 3),
)
def test_the_result_is_that_of_pymatgen(atoms: list[tuple[str, float, float, float]], cell: tuple[float, ...]) -> None:
    text = written(Structure(Lattice.from_parameters(*cell), [a[0] for a in atoms], [a[1:] for a in atoms]))
    found = plain_cif(text)
    if found is not None:  # atoms too near each other and noble gases are left to pymatgen
        assert_same(found, by_pymatgen(text))


def test_what_pymatgen_writes_is_plain(rutile: Structure) -> None:
    text = written(rutile)
    assert_same(plain_cif(text), by_pymatgen(text))


def test_what_ase_writes_is_plain(rutile: Structure) -> None:
    io, ase = pytest.importorskip("io"), pytest.importorskip("ase.io")
    stream = io.BytesIO()
    ase.write(stream, rutile.to_ase_atoms(), format="cif")
    text = stream.getvalue().decode()
    assert_same(plain_cif(text), by_pymatgen(text))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("  O  O2  1", "  O2-  O2  1"),
        ("  Ti  Ti0  1", "  D  Ti0  1"),
        ("_cell_length_a   4.59400000", "_cell_length_a   ?"),
        ("_cell_length_a   4.59400000", "_cell_length_a   0.0001"),
        ("_atom_site_occupancy", "_atom_site_attached_hydrogens"),
        ("  1\n  Ti  Ti1", "  0.5\n  Ti  Ti1"),
        ("'x, y, z'", "'x, y, z'\n  2  '-x, -y, -z'"),
        ("'x, y, z'", "'-x, -y, -z'"),
        ("_cell_formula_units_Z", "_space_group_magn_name"),
        ("data_TiO2", "data_one\n_cell_length_a 1\ndata_TiO2"),
        ("data_TiO2", "nonsense"),
        ("0.50000000", "0.5(1)"),
        ("0.50000000", "nan"),
        ("0.50000000", "0.00100000"),
    ],
)
def test_what_is_not_plain_is_left_to_pymatgen(old: str, new: str, rutile: Structure) -> None:
    text = written(rutile)
    assert old in text
    assert plain_cif(text.replace(old, new)) is None


def test_symmetry_charges_and_nothing_are_left_to_pymatgen(rutile: Structure) -> None:
    charged = rutile.copy()
    charged.add_oxidation_state_by_element({"Ti": 4, "O": -2})
    odd = Structure(Lattice.cubic(4), [DummySpecies("X")], [[0, 0, 0]])
    for text in (written(rutile, symprec=0.01), written(charged), written(odd), "", "data_x"):
        assert plain_cif(text) is None
