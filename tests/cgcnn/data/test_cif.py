"""CIFs are read as pymatgen reads them, unless that is not what they say."""

import warnings

import gemmi
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pymatgen.core import Lattice, Structure
from pymatgen.io.cif import CifWriter

from cgcnn.data.cif import crystals, read_cif
from cgcnn.data.limits import CLOSEST

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
    crystal = Structure(Lattice.from_parameters(*cell), [a[0] for a in atoms], [a[1:] for a in atoms])
    text, distances = written(crystal), crystal.distance_matrix[np.triu_indices(len(atoms), 1)]
    if distances.min(initial=np.inf) < CLOSEST:
        with pytest.raises(ValueError, match=r"apart|place|formula"):
            read_cif(text)
        return
    found = read_cif(text)
    noble = any(a[0] in {"Xe", "He"} for a in atoms)
    assert_same(*((one.get_sorted_structure(key=str) if noble else one) for one in (found, by_pymatgen(text))))


def test_what_pymatgen_and_ase_write_is_read(rutile: Structure) -> None:
    assert_same(read_cif(written(rutile)), by_pymatgen(written(rutile)))
    io, ase = pytest.importorskip("io"), pytest.importorskip("ase.io")
    stream = io.BytesIO()
    ase.write(stream, rutile.to_ase_atoms(), format="cif")
    text = stream.getvalue().decode()
    assert_same(read_cif(text), by_pymatgen(text))


@pytest.mark.parametrize("symprec", [0.01, None])
def test_symmetry_is_expanded_in_the_order_of_pymatgen(symprec: float | None, rutile: Structure) -> None:
    spinel = Structure.from_spacegroup(
        "Fd-3m", Lattice.cubic(8.08), ["Mg", "Al", "O"], [[0] * 3, [5 / 8] * 3, [0.3874] * 3]
    )
    wurtzite = Structure.from_spacegroup(
        "P6_3mc", Lattice.hexagonal(3.25, 5.2), ["Zn", "O"], [[1 / 3, 2 / 3, 0], [1 / 3, 2 / 3, 0.382]]
    )
    for crystal in (rutile, spinel, wurtzite):
        text = written(crystal, symprec=symprec)
        found, expected = read_cif(text), by_pymatgen(text)
        assert [site.specie.symbol for site in found] == [site.specie.symbol for site in expected]
        apart = found.frac_coords - expected.frac_coords
        assert np.abs(apart - np.round(apart)).max() < 1e-7


def test_an_uncertainty_is_no_part_of_a_number(rutile: Structure) -> None:
    text = written(rutile)
    assert_same(read_cif(text.replace("0.50000000", "0.50000000(12)")), by_pymatgen(text))


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
        ("'x, y, z'", "'x, y, q'", "not a symmetry operation"),
        ("0.50000000  0.50000000  0.50000000", "0.00000000  0.00000000  0.00000000", "formula is Ti2 O4"),
        ("data_TiO2", "nonsense", "expected"),
    ],
)
def test_what_is_not_read_as_it_is_written_is_refused(old: str, new: str, reason: str, rutile: Structure) -> None:
    text = written(rutile)
    assert old in text
    assert_same(read_cif(text), by_pymatgen(text))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(ValueError, match=reason):
            read_cif(text.replace(old, new))


@pytest.mark.parametrize("label", ["Vac1", "Uuo", "1Ti"])
def test_a_label_is_an_element_where_there_is_no_other(label: str, rutile: Structure) -> None:
    text = written(rutile).replace(" _atom_site_type_symbol\n", "")
    for symbol in ("Ti", "O"):
        text = text.replace(f"\n  {symbol}  {symbol}", f"\n  {symbol}")
    assert_same(read_cif(text), by_pymatgen(text))
    with pytest.raises(ValueError, match=f"'{label}' is not an element"):
        read_cif(text.replace("Ti0", label))


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


CUBE = (3.905, 3.905, 3.905, 90, 90, 90)
PEROVSKITE = ["Sr1 Sr 0 0 0", "Ti1 Ti .5 .5 .5", "O1 O .5 .5 0", "O2 O .5 0 .5", "O3 O 0 .5 .5"]
TILTED = (5.381, 5.443, 7.640, 90, 90, 90)
IN_PBNM = ["Ca1 Ca -.0067 .0357 .25", "Ti1 Ti 0 .5 0", "O1 O .0715 .4832 .25", "O2 O .7108 .2886 .0374"]
MONOCLINIC = (5.60, 5.62, 7.93, 90, 93.2, 90)
ROCK_SALT = [
    "La1 La .01 .04 .25",
    "Mg1 Mg .5 0 0",
    "Ir1 Ir 0 .5 0",
    "O1 O .28 .29 .03",
    "O2 O .21 .78 .04",
    "O3 O .91 .49 .24",
]
SPINEL = ["Mg1 Mg2+ .125 .125 .125", "Al1 Al3+ .5 .5 .5", "O1 O2- .2624 .2624 .2624"]
RHOMB = (5.63, 5.63, 5.63, 59.4, 59.4, 59.4)
FERRITE = ["Bi1 Bi3+ 0 0 0", "Fe1 Fe3+ .22 .22 .22", "O1 O2- .93 .52 .40"]
WURTZITE = (3.25, 3.25, 5.207, 90, 90, 120)
SITE = "label type_symbol fract_x fract_y fract_z"


def cif(cell=CUBE, atoms=PEROVSKITE, *tags: str, ops=(), columns=SITE, top="") -> str:
    """A CIF of these atoms, with further lines."""
    names = ["length_a", "length_b", "length_c", "angle_alpha", "angle_beta", "angle_gamma"]
    lines = [f"{top}data_x", *tags, *(f"_cell_{name} {value}" for name, value in zip(names, cell, strict=True))]
    lines += ["loop_", "_symmetry_equiv_pos_as_xyz", *(f"'{op}'" for op in ops)] if ops else []
    return "\n".join([*lines, "loop_", *(f"_atom_site_{column}" for column in columns.split()), *atoms]) + "\n"


def group(name: str) -> str:
    return f"_symmetry_space_group_name_H-M '{name}'"


def content(text: str) -> str:
    counts = read_cif(text).composition.get_el_amt_dict()
    return "".join(f"{symbol}{count:g}" if count != 1 else symbol for symbol, count in counts.items())


@pytest.mark.parametrize("name", ["P b n m", "P B N M", "Pbnm", "P_b_n_m", "p b n m", "P 21/b 2/n 21/m", " P b n m "])
def test_a_setting_is_found_by_its_name_however_it_is_written(name: str) -> None:
    assert content(cif(TILTED, IN_PBNM, group(name), "_symmetry_Int_Tables_number 62")) == "Ca4Ti4O12"
    assert content(cif(TILTED, IN_PBNM, group(name))) == "Ca4Ti4O12"


@pytest.mark.parametrize("name", ["P 21/n", "P 1 21/n 1", "P21/n", "P 2_1/n"])
def test_a_monoclinic_name_without_its_axis_is_along_the_one_that_the_cell_has(name: str) -> None:
    assert content(cif(MONOCLINIC, ROCK_SALT, group(name))) == "La4Mg2Ir2O12"


def test_the_axis_of_a_short_monoclinic_name_is_the_one_whose_angle_is_free() -> None:
    along_c = [" ".join([*row.split()[:2], *(row.split()[2:][i] for i in (2, 0, 1))]) for row in ROCK_SALT]
    a, b, c, *_ = MONOCLINIC
    text = cif((c, a, b, 90, 90, 93.2), along_c, group("P 21/n"))
    assert content(text) == "La4Mg2Ir2O12"


@pytest.mark.parametrize("name", ["F d -3 m :2", "Fd-3m:2", "F d -3 m Z", "F d -3 m : 2"])
def test_an_origin_is_that_of_the_name(name: str) -> None:
    cube = (8.0806,) * 3 + (90,) * 3
    assert content(cif(cube, SPINEL, group(name))) == "Mg8Al16O32"
    assert content(cif(cube, SPINEL, group(name), "_space_group_IT_number 227")) == "Mg8Al16O32"


def test_an_origin_that_is_not_named_is_refused_unless_formula_and_z_tell_it() -> None:
    cube = (8.0806,) * 3 + (90,) * 3
    for tags in ([group("F d -3 m")], ["_symmetry_Int_Tables_number 227"]):
        with pytest.raises(ValueError, match="several settings or origins"):
            read_cif(cif(cube, SPINEL, *tags))
        told = ["_chemical_formula_sum 'Al2 Mg O4'", "_cell_formula_units_Z 8"]
        assert content(cif(cube, SPINEL, *tags, *told)) == "Mg8Al16O32"


@pytest.mark.parametrize("name", ["R 3 c :R", "R 3 c R", "R3c:R", "R 3 c"])
def test_rhombohedral_axes_are_those_of_the_cell(name: str) -> None:
    assert content(cif(RHOMB, FERRITE, group(name))) == "Fe2Bi2O6"


def test_hexagonal_axes_are_those_of_the_cell() -> None:
    corundum = ["Al1 Al 0 0 .3522", "O1 O .3063 0 .25"]
    assert content(cif((4.759, 4.759, 12.991, 90, 90, 120), corundum, group("R -3 c"))) == "Al12O18"


def test_a_number_is_enough_only_where_its_group_has_one_setting() -> None:
    salt = ["Na1 Na 0 0 0", "Cl1 Cl .5 .5 .5"]
    assert content(cif((5.64,) * 3 + (90,) * 3, salt, "_space_group_IT_number 225")) == "Na4Cl4"
    with pytest.raises(ValueError, match="62 has several settings"):
        read_cif(cif(TILTED, IN_PBNM, "_symmetry_Int_Tables_number 62"))
    with pytest.raises(ValueError, match="there are 1 to 230"):
        read_cif(cif(TILTED, IN_PBNM, "_symmetry_Int_Tables_number 231"))


def test_a_hall_symbol_is_enough() -> None:
    assert content(cif(TILTED, IN_PBNM, "_space_group_name_Hall '-P 2c 2ab'")) == "Ca4Ti4O12"


@pytest.mark.parametrize(
    ("cell", "atoms", "tags", "ops", "reason"),
    [
        (CUBE, PEROVSKITE, [group("Fd-3m (O1)")], (), "is not known"),
        (CUBE, PEROVSKITE, [group("nonsense")], (), "is not known"),
        (TILTED, IN_PBNM, [group("P m -3 m")], (), "does not have the symmetry of space group P m -3 m"),
        (TILTED, IN_PBNM, [], ("x,y,z", "y,x,z"), "does not have the symmetry of the operations"),
        (TILTED, IN_PBNM, [group("P b n m"), "_symmetry_Int_Tables_number 63"], (), "contradict each other"),
        (
            (5.64,) * 3 + (90,) * 3,
            ["Na1 Na 0 0 0"],
            [group("F m -3 m")],
            ("x,y,z",),
            "not those of space group F m -3 m",
        ),
        (CUBE, PEROVSKITE, [], ("-x,-y,-z",), "lack the identity"),
        (CUBE, ["Sr1 Sr .1 .2 .3"], [], ("x,y,z", "x+1/2,y,z", "x,y+1/2,z"), "are not a group: 4 would be"),
        (CUBE, PEROVSKITE, ["_cell_modulation_dimension 1"], (), "modulated in 1 dimensions"),
        (CUBE, PEROVSKITE, ["_chemical_formula_sum 'Sr Ti O2'"], (), "formula is Sr Ti O2, its atoms are O3 Sr1 Ti1"),
        (CUBE, PEROVSKITE, ["_chemical_formula_sum 'Sr Ti O3 H'"], (), "no hydrogen is listed"),
        (CUBE, PEROVSKITE, ["_chemical_formula_sum 'Sr Ti O3'", "_cell_formula_units_Z 4"], (), "it has Z = 4"),
        (CUBE, [*PEROVSKITE, "Ca1 Ca 0 0 0"], [], (), r"atom 1 \(Sr\) and atom 6 \(Ca\) are at one place"),
        (TILTED, IN_PBNM, ["_space_group_name_Hall '-P 2ac 2n'", group("P b n m")], (), "contradict each other"),
        (
            TILTED,
            IN_PBNM,
            ["_space_group_name_Hall '-P 2ac 2n'", "_space_group_IT_number 63"],
            (),
            "contradict each other",
        ),
        (CUBE, [*PEROVSKITE, "O4 O 0 0 .15"], [], (), r"atom 1 \(Sr\) and atom 6 \(O\) are 0.59 Å apart"),
        (CUBE, [*PEROVSKITE, "O4 O .5 .5 .1"], [], (), r"atom 3 \(O\) and atom 6 \(O\) are 0.39 Å apart"),
        (CUBE, ["M1 '0.8Nb + 0.2Zr' 0 0 0", *PEROVSKITE[1:]], [], (), "atom 1 has mixed occupancy"),
    ],
)
def test_what_contradicts_itself_or_is_left_open_is_refused(cell, atoms, tags, ops, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        read_cif(cif(cell, atoms, *tags, ops=ops))


def test_operations_of_another_group_pass_where_the_atoms_have_its_symmetry_too() -> None:
    assert content(cif(CUBE, PEROVSKITE, group("P m -3 m"), ops=("x,y,z",))) == "SrTiO3"
    assert content(cif(CUBE, PEROVSKITE, group("P m -3 m"), ops=("x,y,z", "-x,-y,-z"))) == "SrTiO3"
    whole = [*PEROVSKITE, "O4 O .5 .5 1", "Sr2 Sr 1 1 1"]  # listed with the faces of the cell
    assert content(cif(CUBE, whole, group("P m -3 m"))) == "SrTiO3"


def test_copies_of_an_atom_are_one_and_others_are_not() -> None:
    for place in (".5 .5 .01", ".5 .5 1.01", ".49 .51 0"):
        assert content(cif(CUBE, [*PEROVSKITE, f"O4 O {place}"])) == "SrTiO3"


def test_a_rounded_special_position_is_one_place_and_the_exact_one() -> None:
    atoms = ["Zn1 Zn .333 .667 0", "O1 O .333 .667 .382"]
    crystal = read_cif(cif(WURTZITE, atoms, group("P 63 m c")))
    assert crystal.composition.formula == "Zn2 O2"
    thirds = np.sort(crystal.frac_coords[:, :2], axis=1)
    np.testing.assert_allclose(thirds, [[1 / 3, 2 / 3]] * 4, atol=1e-9)


@pytest.mark.parametrize(
    ("columns", "rows", "reason"),
    [
        (f"{SITE} attached_hydrogens", ["0", "0", "1", "0", "0"], r"atom 3 \(O\) has 1 hydrogen"),
        (f"{SITE} disorder_group", ["1", ".", "2", ".", "."], "disorder group 2"),
        (f"{SITE} disorder_group", ["-1", ".", ".", ".", "."], "disorder group -1"),
        (f"{SITE} calc_flag", ["d", "d", "dum", "d", "d"], "dummy"),
    ],
)
def test_atoms_that_are_not_listed_or_not_all_there_are_refused(columns, rows, reason: str) -> None:
    atoms = [f"{atom} {more}" for atom, more in zip(PEROVSKITE, rows, strict=True)]
    with pytest.raises(ValueError, match=reason):
        read_cif(cif(CUBE, atoms, columns=columns))


def test_partial_occupancies_stay_and_those_that_make_one_element_are_whole() -> None:
    shares = ["1", "1", "1", "1", "0.8"]
    crystal = read_cif(
        cif(CUBE, [f"{a} {s}" for a, s in zip(PEROVSKITE, shares, strict=True)], columns=f"{SITE} occupancy")
    )
    assert not crystal.is_ordered
    assert crystal.composition["O"] == pytest.approx(2.8)
    mixed = ["La1 La 0 0 0 0.8", "Sr1 Sr 0 0 0 0.2", *(f"{a} 1" for a in PEROVSKITE[1:])]
    assert read_cif(cif(CUBE, mixed, columns=f"{SITE} occupancy")).composition["La"] == pytest.approx(0.8)
    valences = ["Ti1 Ti3+ .5 .5 .5 .5", "Ti2 Ti4+ .5 .5 .5 .5", *(f"{PEROVSKITE[i]} 1" for i in (0, 2, 3, 4))]
    assert content(cif(CUBE, valences, columns=f"{SITE} occupancy")) == "SrTiO3"


@pytest.mark.parametrize(
    "text",
    [
        cif(CUBE, PEROVSKITE, "_chemical_formula_sum 'Sr Ti O3'", "_chemical_formula_sum ''"),
        cif(top="\ufeff"),
        cif(CUBE, PEROVSKITE, "_citation_author_name 'A. N, and S. M',"),
        cif(top="Exported by a tool\n"),
        cif(CUBE, PEROVSKITE, "_symmetry_space_group_name_H-M P 1"),
        cif(CUBE, PEROVSKITE, "loop_\n_publ_author_name\n'A. B',\n'C. D',"),
        cif().replace("\n", "\r\n"),
        cif().replace("_cell", "_CELL").replace("_atom_site", "_ATOM_SITE"),
        cif().replace("_cell_", "_cell.").replace("_atom_site_", "_atom_site."),
        cif().replace("data_x", "DATA_x").replace("loop_", "LOOP_"),
        cif(CUBE, PEROVSKITE, "_publ_section_title\n;\ndata_ is what loop_ holds\n;"),
    ],
)
def test_what_does_not_matter_is_no_reason_to_refuse(text: str) -> None:
    assert content(text) == "SrTiO3"


def test_a_value_that_is_given_twice_and_matters_is_refused() -> None:
    with pytest.raises(ValueError, match=r"_cell_length_a is given as 4 and as 3\.905"):
        read_cif(cif(CUBE, PEROVSKITE, "_cell_length_a 4"))


@pytest.mark.parametrize("labels", [("SrA", "TiB", "O1"), ("Sr", "Ti1A", "OA"), ("Sr_1", "Ti2+", "O_1")])
def test_labels_name_elements_where_there_are_no_types(labels: tuple[str, ...]) -> None:
    a, b, x = labels
    atoms = [f"{a} 0 0 0", f"{b} .5 .5 .5", *(f"{x} {place}" for place in (".5 .5 0", ".5 0 .5", "0 .5 .5"))]
    assert content(cif(CUBE, atoms, columns="label fract_x fract_y fract_z")) == "SrTiO3"


def test_a_label_that_may_be_two_elements_is_refused_unless_the_formula_tells() -> None:
    atoms = ["CO1 0 0 0", "O1 .5 0 0"]
    with pytest.raises(ValueError, match="'CO1' of atom 1 may be Co or C"):
        read_cif(cif(CUBE, atoms, columns="label fract_x fract_y fract_z"))
    text = cif(CUBE, atoms, "_chemical_formula_sum 'Co O'", columns="label fract_x fract_y fract_z")
    assert content(text) == "CoO"


@pytest.mark.parametrize("label", ["OH1", "OW2", "Wat1", "Ow"])
def test_water_and_hydroxyl_are_no_bare_elements(label: str) -> None:
    with pytest.raises(ValueError, match="is not an element"):
        read_cif(cif(CUBE, [f"{label} 0 0 0"], columns="label fract_x fract_y fract_z"))


def test_deuterium_is_hydrogen() -> None:
    assert content(cif(CUBE, ["D1 D 0 0 0", *PEROVSKITE[1:]], "_chemical_formula_sum 'D Ti O3'")) == "TiHO3"


TABLE = [found for found in gemmi.spacegroup_table() if found.number > 2]


@properties
@given(setting=st.sampled_from(TABLE), seed=st.integers(0, 99))
def test_any_setting_by_its_full_name_is_that_of_its_operations(setting, seed: int) -> None:
    cell = {
        "triclinic": (5, 6, 7, 80, 85, 95), "monoclinic": (5, 6, 7, 90, 90, 90), "orthorhombic": (5, 6, 7, 90, 90, 90),
        "tetragonal": (6, 6, 7, 90, 90, 90), "trigonal": (6, 6, 7, 90, 90, 120), "hexagonal": (6, 6, 7, 90, 90, 120),
        "cubic": (6, 6, 6, 90, 90, 90),
    }[setting.crystal_system_str()]  # fmt: skip
    cell = (6, 6, 6, 70, 70, 70) if setting.ext == "R" else cell
    place = np.random.default_rng(seed).choice([0, 0.25, 0.5, 0.13], 3)
    atoms = [f"Sr1 Sr {place[0]} {place[1]} {place[2]}"]
    listed = [op.triplet() for op in setting.operations()]
    results = []
    for tags, ops in (([group(setting.xhm())], ()), ([], listed), ([f"_space_group_name_Hall '{setting.hall}'"], ())):
        try:
            results.append(len(read_cif(cif(cell, atoms, *tags, ops=ops))))
        except ValueError as error:
            results.append("near" if "apart" in str(error) else str(error))
    assert len(set(results)) == 1, (setting.xhm(), results)
