import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cgcnn.errors import UserError
from screening.chemistry.descriptors import columns
from screening.chemistry.filters import KINDS, Filter, apply, explain_filters, parse_filter
from screening.recipe import DEFAULT_FILTERS
from screening.status import MOST_FILTERS, Status

quick = settings(deadline=None, derandomize=True, max_examples=40)

COLUMNS = {
    "charge_balanced": np.array([True, False, False, True, True]),
    "tolerance_factor": np.array([0.9, 0.9, 0.5, 1.2, np.nan], dtype=np.float32),
    "octahedral_factor": np.array([0.4, 0.4, 0.4, 0.95, 0.4], dtype=np.float32),
    "tau": np.array([3.8, 4.2, np.nan, 4.18, 3.0], dtype=np.float32),
    "in_domain": np.array([True, True, True, False, True]),
}


def status(*texts):
    return apply([parse_filter(text) for text in texts], COLUMNS).tolist()


def test_no_filters_keep_everything():
    assert status() == [Status.OK] * 5


def test_the_first_failing_filter_names_the_status():
    assert status("charge", "tolerance=0.75:1.10", "domain") == [1, 10, 10, 11, 11]
    assert status("domain", "tolerance=0.75:1.10", "charge") == [1, 12, 11, 10, 11]


def test_nan_fails_numeric_filters():
    assert status("tolerance=-1000:1000")[4] == Status.FILTERED
    assert status("tau=1000")[2] == Status.FILTERED


def test_a_value_at_the_limit_passes():
    assert status("tau=4.18")[3] == Status.OK
    assert status("tolerance=0.9:1.2") == [1, 1, 10, 1, 10]


def test_defaults_hold_where_no_value_is_given():
    assert parse_filter("tau") == Filter("tau", None, 4.18)
    assert parse_filter("tolerance") == parse_filter("tolerance=0.75:1.10")
    assert status("octahedral") == [1, 1, 1, 10, 1]


@quick
@given(st.sampled_from(["tolerance", "octahedral"]), st.tuples(*[st.floats(-1e6, 1e6)] * 2).map(sorted))
def test_text_and_filter_are_inverses(name, limits):
    chosen = Filter(name, *limits)
    assert parse_filter(str(chosen)) == chosen


@pytest.mark.parametrize("name", [name for name, kind in KINDS.items() if kind.default])
def test_the_text_of_a_default_gives_it_again(name):
    assert parse_filter(str(parse_filter(name))) == parse_filter(name)


@pytest.mark.parametrize(
    "text",
    [
        "foo",
        "",
        "tau=x",
        "tau=",
        "tau=nan",
        "tau=1:2",
        "tolerance=1",
        "tolerance=1.1:0.8",
        "tolerance=0:inf",
        "charge=1",
        "redox=",
        "radioactive=1",
        "exclude",
        "exclude=",
        "exclude=Xx",
        "exclude=Tc,",
    ],
)
def test_what_is_no_filter_is_named_with_the_choices(text):
    with pytest.raises(UserError, match=rf"`filters` {re.escape(text)}: .*charge, redox=MIN .*tau=MAX .*domain"):
        parse_filter(text)


def test_more_filters_than_status_codes_are_refused():
    most = [parse_filter("charge")] * MOST_FILTERS
    assert apply(most, COLUMNS).tolist() == [1, 10, 10, 1, 1]
    with pytest.raises(UserError, match="too many"):
        apply([*most, parse_filter("tau")], COLUMNS)


def passing(text, *rows):
    """Which rows of A, B, X a filter lets pass."""
    species = np.array([[a, b, x, x, x] for a, b, x in rows], dtype=np.uint8)
    return (apply([parse_filter(text)], {"species": species, **columns(species)}) == Status.OK).tolist()


BA_TC_O, CS_PB_I, BA_TI_O, CA_PT_O = (56, 43, 8), (55, 82, 53), (56, 22, 8), (20, 78, 8)


def test_elements_and_groups_are_excluded():
    rows = (BA_TC_O, CS_PB_I, BA_TI_O, CA_PT_O)
    assert passing("exclude=Tc,Pb", *rows) == [False, False, True, True]
    assert passing("exclude=halogens, 4d", *rows) == [False, False, True, True]
    assert passing("radioactive", *rows) == [False, True, True, True]
    assert passing("toxic", *rows) == [True, False, True, True]
    assert passing("noble-gas", *rows, (56, 54, 8)) == [True] * 4 + [False]


def test_rare_and_costly_elements_are_left_out():
    assert passing("rare", BA_TI_O, CA_PT_O, BA_TC_O) == [True, True, False]
    assert passing("rare=0.01", BA_TI_O, CA_PT_O) == [True, False]
    assert passing("hhi=2000", BA_TI_O, CA_PT_O) == [False, False]
    assert passing("hhi=5000", BA_TI_O, CA_PT_O) == [True, True]
    assert parse_filter("cost=1500") == parse_filter("hhi=1500")


def test_the_text_of_excluded_elements_gives_them_again():
    chosen = parse_filter("exclude=lanthanides,Tc")
    assert str(chosen).startswith("exclude=Tc,La,Ce,")
    assert parse_filter(str(chosen)) == chosen


def test_default_filters_keep_known_perovskites_and_drop_what_is_none():
    filters = [parse_filter(text) for text in DEFAULT_FILTERS]
    rows = [(20, 22, 8), (57, 26, 8), (55, 82, 53), (55, 50, 53), (26, 57, 8), (57, 57, 8), (12, 22, 8), (11, 22, 8)]
    species = np.array([[a, b, x, x, x] for a, b, x in rows], dtype=np.uint8)
    status = apply(filters, {"species": species, **columns(species)})
    assert (status == Status.OK).tolist() == [True] * 4 + [False] * 4


def test_every_filter_is_explained():
    rows = explain_filters()
    assert [row["name"] for row in rows] == list(KINDS)
    assert all(row["meaning"] and row["source"] for row in rows)
    assert {row["name"]: row["default"] for row in rows}["tau"] == "4.18"


def test_a_gap_lies_within_limits_with_a_probability() -> None:
    likely, sure = parse_filter("gap=0.8:2.0"), parse_filter("gap=0.8:2.0:0.9")
    assert (str(likely), str(sure)) == ("gap=0.8:2.0:0.5", "gap=0.8:2.0:0.9")
    assert parse_filter(str(sure)) == sure
    gaps = {"band_gap": np.float32([1.4, 1.4, 0.8, 0.7, np.nan]), "band_gap_std": np.float32([0.2, 0.5, 0.1, 0.1, 0.1])}
    assert likely.passes(gaps).tolist() == [True, True, True, False, False]
    assert sure.passes(gaps).tolist() == [True, False, False, False, False]
    assert likely.passes({"band_gap": gaps["band_gap"]}).tolist() == [True, True, True, False, False]  # older runs
    metals = {"band_gap": np.float32([0.0, 0.0]), "band_gap_std": np.float32([0.2, 2.0])}
    assert parse_filter("gap=0:0.5").passes(metals).tolist() == [True, True]
    assert parse_filter("gap=0:0.5:0.7").passes(metals).tolist() == [True, False]


@pytest.mark.parametrize("text", ["gap=0.8", "gap=2:1", "gap=1:2:0", "gap=1:2:1.5", "gap=1:2:0.5:0.5", "tau=1:0.5"])
def test_limits_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(UserError, match="is no value for"):
        parse_filter(text)


def test_tau_passes_quadrivalent_a_below_b_of_which_it_says_nothing():
    charges = np.array([[4, 5, -3, -3, -3], [4, 2, -2, -2, -2], [2, 4, -2, -2, -2]], dtype=np.int8)  # ThTaN3, TeCdO3
    found = {"tau": np.float32([np.nan, np.nan, np.nan]), "charges": charges}
    assert parse_filter("tau").passes(found).tolist() == [True, False, False]
