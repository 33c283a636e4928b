import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cgcnn.errors import UserError
from screening.chemistry.filters import KINDS, Filter, apply, parse_filter
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


@pytest.mark.parametrize("name", KINDS)
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
    ],
)
def test_what_is_no_filter_is_named_with_the_choices(text):
    with pytest.raises(UserError, match=rf"--filter {text}: .*charge, tolerance=LO:HI .*tau=MAX .*domain"):
        parse_filter(text)


def test_more_filters_than_status_codes_are_refused():
    most = [parse_filter("charge")] * MOST_FILTERS
    assert apply(most, COLUMNS).tolist() == [1, 10, 10, 1, 1]
    with pytest.raises(UserError, match="too many"):
        apply([*most, parse_filter("tau")], COLUMNS)
