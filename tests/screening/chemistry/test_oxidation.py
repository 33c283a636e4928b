import numpy as np
import pytest

from cgcnn.errors import UserError
from screening.candidates.space import parse_elements
from screening.chemistry.oxidation import StateSet, ion_text, mixed_reluctances, read_states, reluctances
from screening.chemistry.sources import icsd_entries, icsd_shares


def reluctance(ion, anion, name="icsd"):
    symbol, charge = ion[:-1], int(ion[-1])
    (z,), (x,) = parse_elements(symbol), parse_elements(anion)
    return reluctances((x,), StateSet(name))[z, charge]


def test_the_tables_are_read_as_they_stand():
    assert icsd_entries()[26, [2, 3, 4]].tolist() == [7276, 11917, 230]
    assert icsd_shares(9)[47, [1, 2, 3]] == pytest.approx([0.4, 0.4667, 0.1333])
    assert np.isnan(icsd_shares(7)).all()


def test_reluctance_counts_ions_in_all_compounds_and_beside_the_anion():
    everywhere = -np.log10(27 / (3680 + 104 + 27 + 1))
    assert reluctance("Ag3", "F") == pytest.approx((everywhere - np.log10(0.1333)) / 2)
    assert reluctance("Ag3", "Cl", "all") == pytest.approx((everywhere + 3) / 2)
    assert reluctance("La3", "N") == pytest.approx(-np.log10(11447 / (7 + 74 + 11447 + 13)))


@pytest.mark.parametrize(
    ("ion", "beside", "not_beside"),
    [("Ag3", "F", "Cl"), ("Ni4", "F", "Cl"), ("Co4", "O", "Br"), ("Bi5", "O", "I"), ("Fe4", "O", "F")],
)
def test_an_ion_may_be_usual_with_one_anion_only(ion, beside, not_beside):
    assert np.isfinite(reluctance(ion, beside))
    assert reluctance(ion, not_beside) > reluctance(ion, beside)
    assert np.isinf(reluctance(ion, not_beside))


def test_sets_grow_from_common_to_all():
    known = [np.isfinite(reluctances((8,), StateSet(name))) for name in ("common", "icsd", "all")]
    assert (known[0] <= known[1]).all()
    assert (known[1] <= known[2]).all()
    assert known[0].sum() < known[1].sum() < known[2].sum()
    assert np.isfinite([reluctance("Fe4", "O"), reluctance("Fe6", "O", "all")]).all()
    assert np.isinf([reluctance("Fe4", "O", "common"), reluctance("Fe6", "O")]).all()


def test_few_compounds_with_an_anion_do_not_make_a_usual_state_unusual():
    assert reluctance("Ho3", "Br") < 1
    assert reluctance("Lu3", "I") < 1


def test_mean_states_are_mixed_valences_and_no_ions():
    single = reluctances((8,))
    assert np.isinf(single[83, 4])
    assert mixed_reluctances(single)[83, 4] == pytest.approx(0.5 + (single[83, 3] + single[83, 5]) / 2)
    assert np.isinf(mixed_reluctances(single)[26]).all()


@pytest.mark.parametrize(
    ("z", "charge", "text"),
    [(22, 4, "Ti4+"), (11, 1, "Na+"), (8, -2, "O2-"), (17, -1, "Cl-"), (83, 4, "Bi3+/Bi5+"), (79, 2, "Au+/Au3+")],
)
def test_ions_are_written_as_chemists_do(z, charge, text):
    assert ion_text(z, charge) == text


def test_a_user_gives_states_of_some_elements(tmp_path):
    file = tmp_path / "mine.csv"
    file.write_text("element,state\nFe,3\nFe,+6\nTi,4\n")
    own = read_states(file)
    assert own.own == ((22, (4,)), (26, (3, 6)))
    table = reluctances((8,), own)
    assert np.flatnonzero(np.isfinite(table[26])).tolist() == [3, 6]
    assert (table[20] == reluctances((8,))[20]).all()


@pytest.mark.parametrize("line", ["Xx,3", "Fe,0", "Fe,9", "Fe,-2", "Fe,x", "Fe", ",3"])
def test_a_line_that_is_no_state_is_named(tmp_path, line):
    file = tmp_path / "mine.csv"
    file.write_text(f"element,state\n{line}\n")
    with pytest.raises(UserError, match=r"mine\.csv, line 2, column (element|state): .* is (not the symbol|no state)"):
        read_states(file)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("element,state\nFe,3\nTi,3,4\n", r"line 3: 3 cells for 2 columns \(element,state\); '4' is beyond"),
        ("element;state\nTi;3,4\n", "line 2, column state: 3,4 is no state"),
        ("element,state,state\nTi,3,4\n", "2 columns are called state"),
        ('element,state\nTi,3\n",4\nFe,3\n', "line 3.*quote"),
        ("element state\nTi 3\n", "separate cells by commas"),
        ("Fe,3\nTi,4\n", "its columns are Fe,3"),
    ],
)
def test_no_state_of_a_file_is_lost(tmp_path, text, message):
    (tmp_path / "mine.csv").write_text(text)
    with pytest.raises(UserError, match=message):
        read_states(tmp_path / "mine.csv")


@pytest.mark.parametrize("header", ["element;state", "Element;Oxidation state", "symbol;oxidation_number"])
def test_columns_of_states_may_have_other_names_and_separators(tmp_path, header):
    (tmp_path / "mine.csv").write_bytes(f"{header}\r\nti;+4\r\nFe;3+\r\n;\r\n".encode("utf-16"))
    assert read_states(tmp_path / "mine.csv").own == ((22, (4,)), (26, (3,)))


def test_what_is_neither_a_set_nor_a_file_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"icsd2: .*No such file.* common, icsd, all"):
        read_states("icsd2")
    (tmp_path / "none.csv").write_text("element,state\n")
    with pytest.raises(UserError, match="no states below the header"):
        read_states(tmp_path / "none.csv")
