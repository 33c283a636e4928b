import math
import pickle
from itertools import combinations_with_replacement, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cgcnn.errors import UserError
from cgcnn.graphs.prototype import CUBIC_PEROVSKITE, DOUBLE_PEROVSKITE
from screening.candidates.space import Multiset, Space, double_perovskites, parse_elements, perovskites, unordered_pair

quick = settings(deadline=None, derandomize=True, max_examples=40)


@st.composite
def multisets(draw, most_elements=7, most_sites=6):
    elements = tuple(sorted(draw(st.sets(st.integers(1, 100), max_size=most_elements))))
    size = draw(st.integers(1, most_sites))
    least = draw(st.integers(1, size))
    return Multiset(elements, size, least, draw(st.integers(least, size)))


spaces = st.lists(multisets(most_elements=4, most_sites=3).filter(lambda f: f.count), min_size=1, max_size=3).map(
    lambda factors: Space("any", tuple(factors))
)


@quick
@given(multisets())
def test_multisets_are_those_of_brute_force_each_once(factor):
    species = factor.unrank(np.arange(factor.count))
    kinds = range(factor.least_kinds, factor.most_kinds + 1)
    expected = {m for m in combinations_with_replacement(factor.elements, factor.size) if len(set(m)) in kinds}
    assert factor.count == len(expected)
    assert {tuple(sorted(row)) for row in species.tolist()} == expected


@quick
@given(spaces)
def test_encode_inverts_decode(space):
    species = space.decode(0, space.count)
    assert species.dtype == np.uint8
    assert species.shape == (space.count, space.n_sites)
    np.testing.assert_array_equal(space.encode(species), np.arange(space.count))
    assert len(np.unique(species, axis=0)) == space.count


@quick
@given(spaces, st.data())
def test_decoded_slices_are_slices_of_what_is_decoded(space, data):
    start = data.draw(st.integers(0, space.count))
    stop = data.draw(st.integers(start, space.count))
    np.testing.assert_array_equal(space.decode(start, stop), space.decode(0, space.count)[start:stop])


@quick
@given(st.integers(0, 2**62), st.integers(1, 4))
def test_large_spaces_are_exact_anywhere(start, sites):
    many = tuple(range(1, 101))
    space = Space("any", (Multiset(many, sites, 1, sites), *[Multiset(many)] * 3, Multiset(many, 3, 1, 3)))
    assert space.count == math.comb(99 + sites, sites) * 100**3 * 171_700
    start %= space.count - 100
    species = space.decode(start, start + 100)
    np.testing.assert_array_equal(space.encode(species), np.arange(start, start + 100))


def test_perovskites_are_those_of_brute_force_in_canonical_order():
    a, b, x = (38, 20, 57), (22, 73), (7, 8, 9, 16)
    for anions in (1, 2, 3):
        space = perovskites(a, b, x, anions)
        multisets = [m for m in combinations_with_replacement(sorted(x), 3) if len(set(m)) <= anions]
        rows = np.array([(*ab, *m) for ab in product(a, b) for m in multisets], dtype=np.uint8)
        expected = {tuple(row) for row in CUBIC_PEROVSKITE.canonical(rows).tolist()}
        assert space.count == len(expected)
        assert {tuple(row) for row in space.decode(0, space.count).tolist()} == expected


def test_canonical_rows_have_the_most_frequent_anion_first():
    rows = perovskites((57,), (22,), (7, 8, 9), 3).decode(0, 10)[:, 2:].tolist()
    assert [8, 8, 7] in rows
    assert [7, 7, 8] in rows
    assert rows[-1] == [7, 8, 9]


def test_encode_takes_equal_sites_in_any_order():
    space = perovskites((57,), (22,), (7, 8, 9), 3)
    (index,) = space.encode([[57, 22, 7, 8, 8]])
    assert space.encode([[57, 22, 8, 7, 8]]) == [index]


def test_spaces_do_not_depend_on_the_order_in_which_elements_are_named():
    assert perovskites((38, 20), (22,), (9, 8, 8)) == perovskites((20, 38), (22,), (8, 9))


def test_spaces_are_small_hashable_and_picklable():
    space = perovskites(range(1, 101), range(1, 101), range(1, 101), 3)
    space.decode(0, 10)
    pickled = pickle.dumps(space)
    assert len(pickled) < 4000
    assert pickle.loads(pickled) == space
    assert len({space, pickle.loads(pickled)}) == 1


def test_pairs_of_different_elements_come_once():
    space = Space("any", (unordered_pair((41, 22, 40)),))
    assert sorted(map(tuple, space.decode(0, space.count).tolist())) == [(22, 40), (22, 41), (40, 41)]
    assert space.encode([[41, 22]]) == space.encode([[22, 41]])


@quick
@given(*[st.sets(st.integers(1, 100), min_size=least, max_size=6) for least in (1, 2, 1)])
def test_double_perovskites_are_those_of_brute_force_each_once_and_canonical(a, b, x):
    space = double_perovskites(tuple(a), tuple(b), tuple(x))
    species = space.decode(0, space.count)
    assert space.count == len(a) * math.comb(len(b), 2) * len(x)
    expected = {(*quadruple,) for quadruple in product(a, b, b, x) if quadruple[1] < quadruple[2]}
    assert {tuple(row) for row in species.tolist()} == expected
    np.testing.assert_array_equal(DOUBLE_PEROVSKITE.canonical(species), species)
    swapped = species[:, [0, 2, 1, 3]]
    np.testing.assert_array_equal(space.encode(swapped), np.arange(space.count))
    np.testing.assert_array_equal(DOUBLE_PEROVSKITE.canonical(swapped), species)


def test_large_spaces_of_double_perovskites_are_exact():
    many = tuple(range(1, 101))
    space = double_perovskites(many, many, many)
    assert space.count == 100 * 4950 * 100
    species = space.decode(space.count - 1000, space.count)
    np.testing.assert_array_equal(space.encode(species), np.arange(space.count - 1000, space.count))


def test_one_element_is_no_pair_for_b():
    with pytest.raises(UserError, match=r"Only Ti for B and B'\. Name two or more elements for `b`"):
        double_perovskites((56,), (22, 22), (8,))
    with pytest.raises(UserError, match="No element for site A"):
        double_perovskites((), (22, 40), (8,))


@pytest.mark.parametrize("row", [[57, 22, 8, 8, 16], [58, 22, 8, 8, 8], [57, 22, 7, 8, 9]])
def test_encode_names_a_row_that_is_not_in_the_space(row):
    with pytest.raises(UserError, match="is not a candidate"):
        perovskites((57,), (22,), (7, 8, 9), 2).encode([[57, 22, 8, 8, 8], row])


@pytest.mark.parametrize(("start", "stop"), [(-1, 1), (2, 1), (0, 3)])
def test_decode_refuses_what_is_outside(start, stop):
    with pytest.raises(IndexError, match="not within the 2 candidates"):
        perovskites((57, 58), (22,), (8,)).decode(start, stop)


def test_empty_spaces_are_refused():
    with pytest.raises(UserError, match="empty"):
        Space("any", (unordered_pair((22,)),))
    with pytest.raises(UserError, match="No element for site B"):
        perovskites((57,), (), (8,))


def test_spaces_that_int64_cannot_address_are_refused():
    with pytest.raises(UserError, match="more than 2\\^63 - 1"):
        Space("any", (Multiset(tuple(range(1, 101))),) * 10)


def test_elements_are_parsed_in_order_and_each_once():
    assert parse_elements("Ca, Sr,Ba,Ca") == (20, 38, 56)
    assert parse_elements(["O", "N"]) == (8, 7)


def test_groups_stand_for_their_elements():
    assert parse_elements("Sr,alkaline-earths") == (38, 4, 12, 20, 56)
    assert parse_elements(["Halogens"]) == (9, 17, 35, 53)
    assert len(parse_elements("lanthanides")) == 14  # Pm has to be named


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Ca,Xx", "'Xx'.*Did you mean Xe"),
        ("ca", r"Write the symbol: Ca\."),
        ("Md", "Z = 100"),
        ("", "No element"),
        ("Ca,,Sr", "''"),
    ],
)
def test_what_is_no_element_is_named(text, message):
    with pytest.raises(UserError, match=message):
        parse_elements(text)
