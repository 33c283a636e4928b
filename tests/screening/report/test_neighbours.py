"""The compounds of a training that are most like a candidate."""

import numpy as np
import pytest

from cgcnn.data.composition import composition_keys
from cgcnn.elements import SYMBOLS
from cgcnn.graphs.prototype import CUBIC_PEROVSKITE, DOUBLE_PEROVSKITE
from cgcnn.models.domain import Domain
from screening.report.neighbours import find_neighbours, mendeleev_numbers


class Trained:
    """A model as far as its training goes: compositions of a prototype, their labels, bounds and ids."""

    def __init__(self, prototype, rows):
        species = prototype.canonical(numbers(*(row[0] for row in rows)))
        order = np.argsort(composition_keys(species))
        labels = np.array([row[1] for row in rows], dtype=np.float32)
        ids = np.array([row[0].encode() for row in rows]).view(np.uint8).reshape(len(rows), -1)
        self.prototype = prototype
        self.domain = Domain(
            *(np.zeros((3, 101)), composition_keys(species)[order], *(np.zeros((3, 101)),) * 3),
            labels=labels[order], bounds=np.isin(labels, [0.5])[order], ids=ids[order],
        )  # fmt: skip


def numbers(*texts):
    return np.array([[SYMBOLS.index(symbol) for symbol in text.split()] for text in texts], dtype=np.uint8)


def names(found, place=0):
    return [" ".join(SYMBOLS[z] for z in found.species[at]) for at in found.of[place]]


def test_elements_that_replace_one_another_are_near():
    model = Trained(CUBIC_PEROVSKITE, [("Sr Ti O O O", 0.0), ("K Nb F F F", 0.1), ("Ba Zr O O O", 0.5)])
    found = find_neighbours(model, numbers("Ba Hf O O O", "Sr Ti O O O"), 2)
    assert names(found) == ["Ba Zr O O O", "Sr Ti O O O"]
    assert names(found, 1)[0] == "Sr Ti O O O"
    first = found.of[0, 0]
    assert (found.energy[first], found.bound[first], found.ids[first]) == (0.5, True, "Ba Zr O O O")


def test_the_order_of_b_and_of_anions_does_not_count():
    model = Trained(DOUBLE_PEROVSKITE, [("Cs Ag Bi Br", 0.0), ("Cs Na In Cl", 0.0)])
    assert names(find_neighbours(model, numbers("Cs Bi Ag Br"), 1)) == ["Cs Ag Bi Br"]
    mixed = Trained(CUBIC_PEROVSKITE, [("La Ta N N O", 0.0), ("La Ta O O O", 0.0)])
    assert names(find_neighbours(mixed, numbers("La Ta O N N"), 1)) == ["La Ta N N O"]


def test_what_has_no_value_does_not_count_where_others_have_one():
    model = Trained(CUBIC_PEROVSKITE, [("Sr Ti O O O", np.nan), ("K Nb F F F", 0.1)])
    assert names(find_neighbours(model, numbers("Sr Ti O O O"))) == ["K Nb F F F"]
    nowhere = Trained(CUBIC_PEROVSKITE, [("Sr Ti O O O", np.nan)])
    found = find_neighbours(nowhere, numbers("Sr Ti O O O"))
    assert names(found) == ["Sr Ti O O O"]
    assert np.isnan(found.energy).all()


def test_of_another_prototype_there_are_none():
    model = Trained(CUBIC_PEROVSKITE, [("Sr Ti O O O", 0.0)])
    model.prototype = DOUBLE_PEROVSKITE
    found = find_neighbours(model, numbers("Cs Ag Bi Br"))
    assert found.of.shape == (1, 0)
    assert found.ids == []


def test_elements_of_a_group_follow_one_another():
    place = mendeleev_numbers()
    for group in ("Ca Sr Ba", "Cl Br I", "Ti Zr Hf"):
        z = [SYMBOLS.index(symbol) for symbol in group.split()]
        assert np.ptp(place[z]) == pytest.approx(len(z) - 1)
