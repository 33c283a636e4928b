"""How far crystals are from the training."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure
from safetensors.numpy import load_file, save_file

from cgcnn.errors import UserError
from cgcnn.graphs.batch import GraphBatch
from cgcnn.graphs.graph import CrystalGraph
from cgcnn.models.files import load, save
from cgcnn.models.likeness import fingerprint, fit_likeness
from cgcnn.models.model import Model
from cgcnn.network.settings import Settings
from cgcnn.network.torch_kernel import TorchKernel
from cgcnn.testing import untrained_for_structures


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
