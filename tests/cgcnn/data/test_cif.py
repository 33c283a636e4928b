"""CIFs are read as pymatgen reads them, plain ones fast, unless that is not what they say."""

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pymatgen.core import DummySpecies, Lattice, Structure
from pymatgen.io.cif import CifWriter

from cgcnn.data.cif import plain_cif, read_cif
from cgcnn.data.cif_blocks import crystals, only_block, rows

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


def plain(text: str) -> Structure | None:
    try:
        block = only_block(text)
        return plain_cif(block, rows(block))
    except ValueError:
        return None


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
    found = plain(text)
    if found is not None:  # atoms too near each other and noble gases are left to pymatgen
        assert_same(found, by_pymatgen(text))


def test_what_pymatgen_writes_is_plain(rutile: Structure) -> None:
    text = written(rutile)
    assert_same(plain(text), by_pymatgen(text))


def test_what_ase_writes_is_plain(rutile: Structure) -> None:
    io, ase = pytest.importorskip("io"), pytest.importorskip("ase.io")
    stream = io.BytesIO()
    ase.write(stream, rutile.to_ase_atoms(), format="cif")
    text = stream.getvalue().decode()
    assert_same(plain(text), by_pymatgen(text))


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
        ("data_TiO2", "nonsense"),
        ("0.50000000", "nan"),
        ("0.50000000", "0.00100000"),
    ],
)
def test_what_is_not_plain_is_left_to_pymatgen(old: str, new: str, rutile: Structure) -> None:
    text = written(rutile)
    assert old in text
    assert plain(text.replace(old, new)) is None


def test_symmetry_charges_and_nothing_are_left_to_pymatgen(rutile: Structure) -> None:
    charged = rutile.copy()
    charged.add_oxidation_state_by_element({"Ti": 4, "O": -2})
    odd = Structure(Lattice.cubic(4), [DummySpecies("X")], [[0, 0, 0]])
    for text in (written(rutile, symprec=0.01), written(charged), written(odd), "", "data_x"):
        assert plain(text) is None


def test_an_uncertainty_is_no_part_of_a_number(rutile: Structure) -> None:
    text = written(rutile)
    assert_same(plain(text.replace("0.50000000", "0.50000000(12)")), by_pymatgen(text))


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("  1\n  Ti  Ti1", "  0\n  Ti  Ti1", r"atom 1 \(Ti\) has the occupancy 0"),
        ("  1\n  Ti  Ti1", "  -1\n  Ti  Ti1", "occupancy -1"),
        ("  1\n  Ti  Ti1", "  nan\n  Ti  Ti1", "occupancy nan"),
        ("  1\n  Ti  Ti1", "  2\n  Ti  Ti1", "occupancy 2"),
        ("  Ti  Ti0  1", "  0  Ti0  1", "'0' is not an element"),
        ("  Ti  Ti0  1", "  -Ti  Ti0  1", "'-Ti' is not an element"),
        ("  Ti  Ti0  1", "  Vac  Ti0  1", "'Vac' is not an element"),
        ("  Ti  Ti0  1", "  Uuo  Ti0  1", "'Uuo' is not an element"),
        ("  Ti  Ti0  1", "  T  Ti0  1", "'T' is not an element"),
        ("  Ti  Ti0  1", "  ?  Ti0  1", "is not an element"),
        ("0.50000000", "?", "has '[?]' as coordinate"),
        ("0.50000000", ".", "has '[.]' as coordinate"),
        ("0.50000000", "nan", "has 'nan' as coordinate"),
        ("0.50000000", "1e9", "fractions of the cell"),
        ("_cell_length_a   4.59400000", "_cell_length_a   -4.594", "lengths -4.594"),
        ("_cell_length_a   4.59400000", "_cell_length_a   0", "lengths 0"),
        ("_cell_length_a   4.59400000", "_cell_length_a   1e7", "lengths 1e"),
        ("_cell_length_a   4.59400000", "_cell_length_a   ?", "the cell is nan"),
        ("_cell_angle_alpha   90.00000000", "_cell_angle_alpha   -90", "angles -90"),
        ("_cell_angle_alpha   90.00000000", "_cell_angle_alpha   180", "angles 180"),
        ("_cell_angle_alpha   90.00000000", "_cell_angle_alpha   0.001", "which no cell has"),
        ("'x, y, z'", "'x, y, q'", "no symmetry operation"),
        ("0.50000000  0.50000000  0.50000000", "0.00000000  0.00000000  0.00000000", "nvalid CIF|places"),
        ("data_TiO2", "nonsense", "expected"),
    ],
)
@pytest.mark.parametrize("reader", ["ours", "pymatgen"])
def test_what_is_not_read_as_it_is_written_is_refused(
    old: str, new: str, reason: str, reader: str, rutile: Structure
) -> None:
    text = written(rutile)
    if reader == "pymatgen":  # an odd tag leaves it to it
        text = text.replace("_cell_formula_units_Z", "_cell_measurement_temperature")
    assert old in text
    assert_same(read_cif(text), by_pymatgen(text))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(ValueError, match=reason):
            read_cif(text.replace(old, new))


@pytest.mark.parametrize("label", ["T1", "Vac1", "Uuo", "OW1", "1Ti"])
def test_a_label_is_an_element_where_there_is_no_other(label: str, rutile: Structure) -> None:
    text = written(rutile).replace(" _atom_site_type_symbol\n", "")
    for symbol in ("Ti", "O"):
        text = text.replace(f"\n  {symbol}  {symbol}", f"\n  {symbol}")
    assert_same(read_cif(text), by_pymatgen(text))
    with pytest.raises(ValueError, match=f"'{label}' is not an element"):
        read_cif(text.replace("Ti0", label))


def test_an_atom_that_pymatgen_drops_is_missed(rutile: Structure, monkeypatch: pytest.MonkeyPatch) -> None:
    text = written(rutile, symprec=0.01)
    assert len(read_cif(text)) == 6
    whole = by_pymatgen(text)
    for change in (lambda crystal: crystal.remove_sites([5]), lambda crystal: crystal.replace(0, "Zr")):
        lacking = whole.copy()
        change(lacking)
        monkeypatch.setattr(Structure, "from_str", lambda *_, lacking=lacking, **__: lacking)
        if lacking[0].specie.symbol == "Zr":
            with pytest.raises(ValueError, match=r"atom 1 \(Ti\) would be read as Zr"):
                read_cif(text)


def test_more_symmetry_than_can_be_expanded_is_refused(rutile: Structure) -> None:
    operations = "\n".join("  'x, y, z'" for _ in range(8_000))
    text = written(rutile).replace("  1  'x, y, z'", operations).replace(" _symmetry_equiv_pos_site_id\n", "")
    with pytest.raises(ValueError, match="more than can be read"):
        read_cif(text)


def test_several_data_blocks_are_several_crystals(rutile: Structure) -> None:
    text, other = written(rutile), written(Structure(Lattice.cubic(4.2), ["Mg", "O"], [[0, 0, 0], [0.5, 0.5, 0.5]]))
    note = "data_global\n_journal_year 2000\n"
    assert crystals(text) == [text]
    found = crystals(note + text + other)
    assert [read_cif(one).composition.reduced_formula for one in found] == ["TiO2", "MgO"]
    assert_same(read_cif(crystals(note + text)[0]), by_pymatgen(text))
    same_names = crystals(text + text)
    assert [read_cif(one).composition.reduced_formula for one in same_names] == ["TiO2", "TiO2"]
    with pytest.raises(ValueError, match="2 data blocks with atoms"):
        read_cif(text + other)


def test_large_plain_cifs_are_read_fast() -> None:
    crystal = Structure(Lattice.cubic(4.2), ["Mg", "O"], [[0, 0, 0], [0.5, 0.5, 0.5]]) * (10, 10, 10)
    text = written(crystal)
    assert_same(plain(text), by_pymatgen(text))
