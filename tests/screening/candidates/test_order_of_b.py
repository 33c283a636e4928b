"""Whether B and B' order, and which elements of groups take part."""

import numpy as np

from cgcnn.graphs.prototype import CUBIC_PEROVSKITE, DOUBLE_PEROVSKITE
from screening.candidates.compositions import OrderOfB
from screening.candidates.space import parse_elements, radioactive_members, symbols
from screening.chemistry.descriptors import columns


def order_of(*rows):
    species = np.array([parse_elements(text) for text in rows], dtype=np.uint8)
    charges = columns(species, DOUBLE_PEROVSKITE)["charges"]
    return OrderOfB().columns_of({"species": species, "charges": charges}, DOUBLE_PEROVSKITE)["b_order"].to_pylist()


def test_charges_and_radii_order_b_of_oxides():
    assert order_of("Ba,Mg,W,O", "Sr,Mn,Ru,O", "La,Al,Sc,O", "La,Mn,Ni,O") == ["likely", "unlikely", "unsure", "unsure"]


def test_nothing_is_said_of_halides_and_of_single_perovskites():
    assert order_of("Cs,Ag,Bi,Br") == [None]
    one = {"species": np.array([[38, 22, 8, 8, 8]], dtype=np.uint8), "charges": np.array([[2, 4, -2, -2, -2]], np.int8)}
    assert OrderOfB().columns_of(one, CUBIC_PEROVSKITE)["b_order"].to_pylist() == [None]


def test_groups_stand_for_elements_that_are_not_radioactive():
    assert "Pm" not in symbols(parse_elements("lanthanides"))
    assert symbols(parse_elements("lanthanides,Pm"))[-1] == "Pm"
    assert len(parse_elements("actinides")) == 12  # which has no others
    assert symbols(radioactive_members("lanthanides,Ti", "4d")) == ("Tc", "Pm")
    assert radioactive_members("lanthanides,Pm") == ()
    assert radioactive_members((), "Ca,Ti") == ()
