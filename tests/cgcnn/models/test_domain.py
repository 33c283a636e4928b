from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cgcnn.data.composition import composition_keys
from cgcnn.elements import MAX_Z, atomic_number
from cgcnn.graphs.prototype import CUBIC_PEROVSKITE
from cgcnn.models.domain import element_distance, with_labels
from cgcnn.models.files import load, save
from cgcnn.models.model import Model
from cgcnn.testing import untrained


def row(*symbols: str) -> np.ndarray:
    return np.array([[atomic_number(symbol) for symbol in symbols]], dtype=np.uint8)


def test_trained_elements_are_at_no_distance(model: Model) -> None:
    assert model.on("cubic-perovskite").domain_distance(row("Ba", "Ti", "O", "O", "N")) == [0]
    assert model.on("cubic-perovskite").domain_distance(row("Ba", "Ti", "O", "O", "S")) > 0


def test_the_least_known_element_decides(model: Model) -> None:
    iron, uranium, both = (
        float(model.on("cubic-perovskite").domain_distance(row(a, b, "O", "O", "O"))[0])
        for a, b in [("Ba", "Fe"), ("U", "Ti"), ("U", "Fe")]
    )
    assert both == max(iron, uranium)


def test_distance_is_that_of_the_networks_own_vectors() -> None:
    model = untrained(CUBIC_PEROVSKITE, {"A": ["Sr", "Ba"], "B": ["Ti", "Zr"], "X": ["O", "F"]}, members=1)
    table = np.zeros((1, 3, MAX_Z + 1, 8), dtype=np.float32)
    for symbol, place in {"Sr": 0, "Ba": 2, "Ca": -3, "Ti": 10, "Zr": 11, "O": 20, "F": 22}.items():
        table[0, :, atomic_number(symbol), 0] = place
    table[0, 1:, atomic_number("Ca"), 0] = 0  # on other roles it is nearer to what was trained
    assert model.domain is not None
    distance = element_distance(table, model.domain.trained)
    # Sr and Ba are 2 apart, which is the unit; Ca is 3 from Sr.
    assert distance[0, atomic_number("Ca")] == pytest.approx(1.5)


def test_of_one_trained_element_nothing_is_near() -> None:
    model = untrained(CUBIC_PEROVSKITE, {"A": ["Ba"], "B": ["Ti", "Zr"], "X": ["O", "F"]})
    assert model.domain is not None
    assert np.isinf(model.domain.distance[0, atomic_number("Sr")])
    assert model.domain.distance[0, atomic_number("Ba")] == 0


def test_shipped_model_finds_a_neighbour_nearer_than_a_stranger() -> None:
    castelli = load("castelli")
    near, far = castelli.on("cubic-perovskite").domain_distance(
        np.vstack([row("Gd", "Ti", "O", "O", "O"), row("Cl", "Ti", "O", "O", "O")])
    )
    assert 0 < near < far


def test_anions_that_were_never_together_are_at_a_distance() -> None:
    """As of elements, by the vectors that the networks start with; a mixture is in the middle of its elements."""
    model = untrained(CUBIC_PEROVSKITE, {"A": ["Ba"], "B": ["Ti"], "X": ["O", "N", "F"]}, members=1)
    model.members[0]["embed.weight"][:] = 0
    for symbol, place in {"O": 0, "N": 3, "F": -9}.items():
        model.members[0]["learned"][atomic_number(symbol), 0] = place
    sets = ["OOO", "NNN", "OON"]  # at 0, 3 and 1
    known = composition_keys(np.vstack([row("Ba", "Ti", *x) for x in sets]))
    assert model.domain is not None
    model = Model(model.card, model.members, replace(model.domain, known=np.sort(known)))
    # The trained ones are 1, 2 and 1 from the nearest other one, 4/3 in the mean.
    found = model.on("cubic-perovskite").domain_distance(
        np.vstack([row("Ba", "Ti", *x) for x in (*sets, "NOO", "ONN", "FFF", "FFO")])
    )
    assert found == pytest.approx([0, 0, 0, 0, 1 / (4 / 3), 9 / (4 / 3), 6 / (4 / 3)])
    assert model.on("cubic-perovskite").in_domain(row("Ba", "Ti", "F", "F", "F")).all()


def test_a_single_set_of_anions_leaves_all_others_far() -> None:
    model = untrained(CUBIC_PEROVSKITE, {"A": ["Ba"], "B": ["Ti"], "X": ["O", "N"]})
    assert model.domain is not None
    oxide = row("Ba", "Ti", "O", "O", "O")
    model = Model(model.card, model.members, replace(model.domain, known=composition_keys(oxide)))
    assert model.on("cubic-perovskite").domain_distance(
        np.vstack([oxide, row("Ba", "Ti", "O", "O", "N")])
    ).tolist() == [0, np.inf]


@pytest.mark.parametrize(
    ("name", "known", "new"), [("castelli", ["OOO", "FNO"], ["FFF", "OSS"]), ("mp", ["OOO", "FFF", "NOO"], ["FOO"])]
)
def test_shipped_models_know_their_sets_of_anions(name: str, known: list[str], new: list[str]) -> None:
    model = load(name)
    rows = np.vstack([row("Ba", "Ti", *x) for x in (*known, *new)])
    assert (model.on("cubic-perovskite").domain_distance(rows) > 0).tolist() == [False] * len(known) + [True] * len(new)


def test_labels_and_ids_of_the_training_are_found_by_composition_the_lowest_of_several(tmp_path: Path) -> None:
    model = untrained(CUBIC_PEROVSKITE, {"A": ["Ba", "Sr"], "B": ["Ti"], "X": ["O", "N"]})
    assert model.domain is not None
    rows = np.vstack([row("Ba", "Ti", *"OOO"), row("Sr", "Ti", *"OON"), row("Ba", "Ti", *"OOO")])
    domain = replace(model.domain, known=np.unique(composition_keys(rows)))
    part = (CUBIC_PEROVSKITE, np.arange(3), rows)
    labels, bound = np.array([0.3, np.nan, 0.2], dtype=np.float32), np.array([False, False, True])
    labelled = with_labels(domain, [part], labels, bound, ["a", "mp-2", "lowest"])
    save(Model(model.card, model.members, labelled), tmp_path / "labelled")
    found = load(tmp_path / "labelled").on("cubic-perovskite")
    asked = np.vstack([rows[0], row("Sr", "Ti", *"NOO"), row("Ca", "Ti", *"OOO")])
    assert found.known_labels(asked, "e_above_hull") == pytest.approx([0.2, np.nan, np.nan], nan_ok=True)
    assert found.known_bounds(asked).tolist() == [True, False, False]
    assert [bytes(text).rstrip(b"\0") for text in found.known_ids(asked)] == [b"lowest", b"mp-2", b""]


def test_models_without_labels_know_none_and_keep_their_digest() -> None:
    model = untrained(CUBIC_PEROVSKITE, {"A": ["Ba"], "B": ["Ti"], "X": ["O"]})
    assert np.isnan(model.on("cubic-perovskite").known_labels(row("Ba", "Ti", *"OOO"), "e_above_hull")).all()
    assert not model.on("cubic-perovskite").known_bounds(row("Ba", "Ti", *"OOO")).any()
    assert model.on("cubic-perovskite").known_ids(row("Ba", "Ti", *"OOO")).shape == (1, 0)
    assert load("castelli").digest == load("castelli").card.digest
