"""What a model was trained on, and how far others are from it."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure
from safetensors.numpy import load_file, save_file

from cgcnn.data.composition import composition_keys
from cgcnn.elements import MAX_Z, atomic_number
from cgcnn.errors import UserError
from cgcnn.graphs.batch import GraphBatch
from cgcnn.graphs.graph import CrystalGraph
from cgcnn.graphs.prototype import CUBIC_PEROVSKITE
from cgcnn.models.domain import element_distance, fingerprint, fit_likeness, with_labels
from cgcnn.models.files import load, save
from cgcnn.models.model import Model
from cgcnn.network.settings import Settings
from cgcnn.network.torch_kernel import TorchKernel
from cgcnn.testing import untrained, untrained_for_structures


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


def graph(structure: Structure) -> CrystalGraph:
    return CrystalGraph.from_structure(structure)


def perovskite(a: float, shift: float, symbols: str = "Sr Ti O") -> Structure:
    first, second, third = symbols.split()
    frac = [[shift, 0, 0], [0.5, 0.5, 0.5], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]]
    return Structure(Lattice.cubic(a), [first, second, third, third, third], frac)


def test_a_fingerprint_does_not_depend_on_scale_elements_or_cell(rutile: Structure) -> None:
    one, other = fingerprint(
        GraphBatch.of_graphs([graph(perovskite(4.0, 0.0)), graph(perovskite(4.4, 0.0, "Ba Zr S"))])
    )
    assert one == pytest.approx(other, abs=1e-4)
    full = graph(rutile)
    large = graph(rutile * (2, 1, 1))
    found = fingerprint(GraphBatch.of_graphs([full, full.quotient(), large]))
    assert found[1] == pytest.approx(found[0], abs=1e-5)
    assert found[2] == pytest.approx(found[0], abs=1e-4)


def test_other_structures_are_far_and_like_ones_near(rutile: Structure) -> None:
    rng = np.random.default_rng(0)
    shapes = fingerprint(
        GraphBatch.of_graphs([graph(perovskite(a, s)) for a, s in rng.uniform([3.8, 0], [4.4, 0.1], (120, 2))])
    )
    pooled = rng.normal(size=(120, 8)).astype(np.float32)
    known = fit_likeness(shapes[:100], pooled[:100])
    assert (known.distance(shapes[:100], pooled[:100]) <= 1).mean() >= 0.98
    assert (known.distance(shapes[100:], pooled[100:]) <= 1.5).mean() >= 0.9
    silicon = Structure.from_spacegroup("Fd-3m", Lattice.cubic(5.43), ["Si"], [[0, 0, 0]])
    others = fingerprint(GraphBatch.of_graphs([graph(rutile), graph(silicon)]))
    assert (known.distance(others, pooled[:2]) > 1.5).all()
    assert known.distance(shapes[:1], pooled[:1] + 30)[0] > 1.5


def test_few_crystals_are_enough() -> None:
    shapes = fingerprint(GraphBatch.of_graphs([graph(perovskite(4.0, 0.0)), graph(perovskite(4.1, 0.05))]))
    pooled = np.array([[0.0, 1.0], [1.0, 1.0]], dtype=np.float32)
    known = fit_likeness(shapes, pooled)
    assert np.isfinite(known.distance(shapes, pooled)).all()


def test_a_model_keeps_what_it_was_trained_on(rutile: Structure, tmp_path: Path) -> None:
    plain = untrained_for_structures(Settings(targets=("e_above_hull",), width=8, layers=1, hidden=8, gaussians=12))
    grid = np.random.default_rng(0).uniform([3.8, 0], [4.4, 0.1], (100, 2))
    training = GraphBatch.of_graphs([graph(perovskite(a, s)) for a, s in grid])
    known = fit_likeness(fingerprint(training), plain.kernel.pooled(training))
    model = Model(plain.card, plain.members, known)
    again = load(save(model, tmp_path / "kept"))
    crystals = GraphBatch.of_graphs([graph(rutile), graph(perovskite(4.0, 0.05))])
    far, near = again.structural_distance(crystals)
    assert far > 1 >= near
    assert again.structural_distance(crystals).tolist() == model.structural_distance(crystals).tolist()
    assert np.isnan(plain.structural_distance(crystals)).all()
    reference = TorchKernel(model.settings, model.members)
    np.testing.assert_allclose(model.kernel.pooled(training), reference.pooled(training), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda d: d.pop("domain.axes"), "domain.axes"),
        (lambda d: d.update({"domain.mean": np.zeros(3, np.float32)}), "domain.mean is"),
        (lambda d: d["domain.reach"].fill(0), "not above 0"),
        (lambda d: d.update({"domain.more": np.zeros(3, np.float32)}), "foreign array domain.more"),
    ],
)
def test_damaged_domains_are_refused(damage: Callable[[dict], object], said: str, tmp_path: Path) -> None:
    plain = untrained_for_structures(Settings(targets=("e_above_hull",), width=8, layers=1, hidden=8, gaussians=12))
    training = GraphBatch.of_graphs([graph(perovskite(4.0, s)) for s in (0.0, 0.02, 0.05)])
    path = save(
        Model(plain.card, plain.members, fit_likeness(fingerprint(training), plain.kernel.pooled(training))),
        tmp_path / "kept",
    )
    arrays = load_file(path)
    damage(arrays)
    save_file(arrays, path)
    with pytest.raises(UserError, match=said):
        load(path)
