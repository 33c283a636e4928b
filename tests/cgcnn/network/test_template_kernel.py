"""The compiled kernel gives what the reference gives, and the same bits however it is asked."""

import ctypes
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cgcnn.elements import atomic_number
from cgcnn.graphs.batch import GraphBatch
from cgcnn.graphs.prototype import CUBIC_PEROVSKITE, DOUBLE_PEROVSKITE, PROTOTYPES, Prototype
from cgcnn.models.card import read_card, weights_path
from cgcnn.models.files import load
from cgcnn.models.model import Model
from cgcnn.network import choice, template_kernel
from cgcnn.network.choice import for_candidates, name_kernel, note_slowness
from cgcnn.network.kernel import fold
from cgcnn.network.settings import Settings
from cgcnn.network.template_kernel import TemplateKernel, function, instruction_sets
from cgcnn.network.torch_kernel import TorchKernel
from cgcnn.testing import untrained

if not instruction_sets():
    pytest.skip("nothing was compiled: python hatch_build.py", allow_module_level=True)

CLOSE = 1e-5  # eV/atom, Å
SHIPPED = [
    (name, prototype) for name in ("castelli", "castelli-linear", "mp") for prototype in load(name).card.prototypes
]
DISTINCT = {"1 X": (2, 2, 2), "2 X": (2, 2, 3), "3 X": (2, 3, 4)}  # which of the columns A, B, X1, X2, X3 fills an X


def kernel_of(model: Model, instructions: str | None = None) -> TemplateKernel:
    return TemplateKernel(fold(model.settings, model.members), instructions)


def trained(model: Model, prototype: Prototype, count: int, seed: int = 0) -> np.ndarray:
    """Canonical species (count, n_sites) of elements that the model was trained on."""
    rng, known = np.random.default_rng(seed), model.domain.trained
    columns = [rng.choice(np.flatnonzero(known[role]), count) for role in prototype.role_index]
    return prototype.canonical(np.stack(columns, axis=1).astype(np.uint8))


def candidates(model: Model, prototype: Prototype, count: int = 200) -> tuple[np.ndarray, np.ndarray]:
    """Of every number of distinct X, side by side, and two of B and B' alike."""
    species = trained(model, prototype, count)
    if prototype is CUBIC_PEROVSKITE:
        parts = [species[:, [0, 1, *columns]] for columns in DISTINCT.values()]
        species = np.random.default_rng(1).permutation(np.concatenate(parts))
    else:
        species[:2, 2] = species[:2, 1]
    species = prototype.canonical(species)
    return species, model.domain.reference_lattice(prototype, species)


@pytest.fixture(scope="module", params=SHIPPED, ids="-".join)
def shipped(request):
    """A shipped model, a prototype, candidates of it, and what the reference says of them."""
    name, prototype = request.param
    model, kind = load(name), PROTOTYPES[prototype]
    species, a = candidates(model, kind)
    return model, kind, species, a, TorchKernel(model.settings, model.members).predict_cells(kind, species, a)


@pytest.mark.parametrize("instructions", instruction_sets())
def test_shipped_models_predict_as_by_the_reference(shipped, instructions):
    model, prototype, species, a, expected = shipped
    found = kernel_of(model, instructions).predict_cells(prototype, species, a)
    assert np.abs(found - expected).max() < CLOSE
    assert expected.std(axis=1).min() > 100 * CLOSE


def test_every_number_of_distinct_anions_is_predicted_as_by_the_reference():
    model = load("castelli")
    species = trained(model, CUBIC_PEROVSKITE, 100)
    kernel, reference = kernel_of(model), TorchKernel(model.settings, model.members)
    for columns in DISTINCT.values():
        rows = CUBIC_PEROVSKITE.canonical(species[:, [0, 1, *columns]])
        cells = CUBIC_PEROVSKITE, rows, model.domain.reference_lattice(CUBIC_PEROVSKITE, rows)
        assert np.abs(kernel.predict_cells(*cells) - reference.predict_cells(*cells)).max() < CLOSE


def test_instruction_sets_give_the_same_bits(shipped):
    model, prototype, species, a, _ = shipped
    found = {kernel_of(model, name).predict_cells(prototype, species, a).tobytes() for name in instruction_sets()}
    assert len(found) == 1


@pytest.mark.parametrize("size", [1, 7, 48, 100])
def test_bits_do_not_depend_on_batch_or_order(shipped, size):
    model, prototype, species, a, _ = shipped
    kernel = kernel_of(model)
    assert kernel.independent
    whole = kernel.predict_cells(prototype, species, a)
    parts = [kernel.predict_cells(prototype, species[i : i + size], a[i : i + size]) for i in range(0, len(a), size)]
    assert np.concatenate(parts, axis=1).tobytes() == whole.tobytes()
    order = np.random.default_rng(size).permutation(len(a))
    assert kernel.predict_cells(prototype, species[order], a[order]).tobytes() == whole[:, order].tobytes()


SIZES = [(8, 1, 5, 1), (16, 2, 16, 2), (24, 3, 40, 0), (96, 1, 128, 1), (100, 2, 33, 3)]


@pytest.mark.parametrize(("pooling", "sizes"), [*product(("mean", "sum", "max"), SIZES), ("linear", SIZES[2])])
def test_every_size_of_network_is_predicted_as_by_the_reference(pooling, sizes):
    """Widths that are no multiple of 16 too, one convolution, and more targets than fit into one group of columns."""
    targets = tuple(f"target {i}" for i in range(sizes[0] // 5))
    names = ("width", "layers", "hidden", "hidden_layers")
    settings = Settings(
        targets, gaussians=12, pooling=pooling, binary=targets[1:2], **dict(zip(names, sizes, strict=True))
    )
    for prototype in PROTOTYPES.values():
        model = untrained(prototype, {role: ["O", "F", "Ti", "Ba"] for role in prototype.role_names}, settings)
        species = trained(model, prototype, 90)
        cells = prototype, species, np.linspace(3.4, 5.6, 90, dtype=np.float32)
        expected = TorchKernel(settings, model.members).predict_cells(*cells)
        for name in instruction_sets():
            found = kernel_of(model, name).predict_cells(*cells)
            assert np.abs(found - expected).max() < CLOSE * max(1, np.abs(expected).max() / 10)  # untrained, and large


@pytest.mark.parametrize("a", [0.01, 1.0, 30.0, 1e6])
def test_distances_that_no_crystal_has_are_predicted_as_by_the_reference(a):
    """Within the table of distances and beyond its ends."""
    model = load("mp")
    species = trained(model, DOUBLE_PEROVSKITE, 20)
    cells = DOUBLE_PEROVSKITE, species, np.full(20, a, dtype=np.float32)
    expected = TorchKernel(model.settings, model.members).predict_cells(*cells)
    assert np.abs(kernel_of(model).predict_cells(*cells) - expected).max() < CLOSE * max(1, np.abs(expected).max() / 10)


def test_elements_without_features_and_cells_without_a_size_are_no_numbers(shipped):
    model, prototype, species, a, _ = shipped
    species, a = species[:50].copy(), a[:50].copy()
    barred = int(species[0, 0])
    for member in (model := Model(model.card, [dict(m) for m in model.members], model.domain)).members:
        member["element_features"] = member["element_features"].copy()
        member["element_features"][barred] = np.nan
    a[1], a[2] = np.nan, np.inf
    expected = (species == barred).any(axis=1)
    expected[1:3] = True
    found = kernel_of(model).predict_cells(prototype, species, a)
    assert (np.isnan(found).all(axis=(0, 2)) == expected).all()
    assert (np.isnan(found).any(axis=(0, 2)) == expected).all()


def test_nothing_gives_nothing_and_what_does_not_fit_is_refused(shipped):
    model, prototype, species, a, _ = shipped
    kernel = kernel_of(model)
    assert kernel.predict_cells(prototype, species[:0], a[:0]).shape == (
        len(model.members),
        0,
        len(model.settings.targets),
    )
    with pytest.raises(ValueError, match="lattice constants"):
        kernel.predict_cells(prototype, species, a[1:])
    with pytest.raises(ValueError, match="up to 101"):
        kernel.predict_cells(prototype, np.full_like(species, 101), a)


def test_graphs_are_predicted_as_by_numpy(shipped):
    model, prototype, species, a, expected = shipped
    batch = GraphBatch.of_prototype(prototype, species[:5], a[:5], model.settings.neighbours)
    assert np.abs(kernel_of(model).predict(batch) - expected[:, :5]).max() < CLOSE


def test_candidates_are_predicted_by_it_unless_it_cannot(monkeypatch):
    model = load("castelli")
    assert model.on("cubic-perovskite").kernel.name == "template"
    assert model.kernel.name == "numpy"
    other = TorchKernel(model.settings, model.members)
    assert for_candidates(other) is other
    monkeypatch.setattr(choice, "instruction_sets", lambda: ())
    assert for_candidates(model.kernel) is model.kernel


def test_other_convolutions_and_machines_are_refused():
    settings = replace(load("mp").settings, convolution="simple", targets=("x",))
    model = untrained(CUBIC_PEROVSKITE, {"A": ["Ba"], "B": ["Ti"], "X": ["O"]}, settings)
    assert model.on("cubic-perovskite").kernel.name == "numpy"
    with pytest.raises(ValueError, match="not simple"):
        kernel_of(model)
    with pytest.raises(ValueError, match="sse2"):
        kernel_of(load("castelli"), "sse2")


@pytest.fixture
def other_library(monkeypatch):
    """Patches `template_kernel`, which looks again for its library."""

    def patch(name, value):
        monkeypatch.setattr(template_kernel, name, value)
        template_kernel.instruction_sets.cache_clear()
        template_kernel._library.cache_clear()

    yield patch
    monkeypatch.undo()
    template_kernel.instruction_sets.cache_clear()
    template_kernel._library.cache_clear()


def test_a_library_of_another_version_is_not_used(other_library):
    other_library("VERSION", -1)
    assert instruction_sets() == ()
    assert "another version" in template_kernel.missing()


def test_what_is_missing_is_told_of_models_of_candidates_alone(other_library, tmp_path):
    settings = load("castelli").settings
    assert note_slowness(settings, candidates=True) == ""
    other_library("LIBRARY", tmp_path / "none.so")
    assert "was not compiled" in note_slowness(settings, candidates=True)
    assert note_slowness(settings, candidates=False) == ""
    assert note_slowness(replace(settings, convolution="edges"), candidates=True) == ""


def test_machines_without_the_instructions_are_told_which(other_library):
    other_library("SETS", ("sse2",))
    assert instruction_sets() == ()
    assert "AVX2" in template_kernel.missing()


def values_of(x: np.ndarray, instructions: str) -> tuple[np.ndarray, np.ndarray]:
    """2^x and log2(1 + 2^x) as the kernel makes them."""
    padded = np.zeros(-(-len(x) // 16) * 16, dtype=np.float32)
    padded[: len(x)] = x
    out = np.empty((2, len(padded)), dtype=np.float32)
    pointers = ctypes.c_void_p(padded.ctypes.data), ctypes.c_int64(len(padded)), ctypes.c_void_p(out.ctypes.data)
    function("functions", instructions)(*pointers)
    return out[0, : len(x)], out[1, : len(x)]


@pytest.mark.parametrize("instructions", instruction_sets())
@given(st.lists(st.floats(allow_nan=False, allow_infinity=False, width=32), min_size=1, max_size=40))
def test_powers_and_softplus_are_those_of_double_precision(instructions, numbers):
    x = np.array(numbers, dtype=np.float32)
    power, softplus = values_of(x, instructions)
    exact = np.clip(x.astype(np.float64), -125, 125)
    np.testing.assert_allclose(power, np.exp2(exact), rtol=2.5e-7)
    np.testing.assert_allclose(softplus, np.logaddexp2(0, x.astype(np.float64)), rtol=1e-7, atol=1.5e-7)


@pytest.mark.parametrize("instructions", instruction_sets())
def test_powers_and_softplus_rise_and_are_close_everywhere(instructions):
    x = np.linspace(-130, 130, 2_000_001, dtype=np.float32)
    power, softplus = values_of(x, instructions)
    np.testing.assert_allclose(power, np.exp2(np.clip(x.astype(np.float64), -125, 125)), rtol=2.5e-7)
    np.testing.assert_allclose(softplus, np.logaddexp2(0, x.astype(np.float64)), rtol=1e-7, atol=1.5e-7)
    assert (np.diff(softplus.astype(np.float64)) > -2e-7).all()


def test_large_values_are_no_accident():
    """Beyond what an exponential can hold."""
    model = load("castelli")
    members = [dict(member) for member in model.members]
    for member in members:
        member["convolutions.1.receiver.bias"] = np.linspace(-300, 300, 192, dtype=np.float32)
    species = trained(model, CUBIC_PEROVSKITE, 30)
    cells = CUBIC_PEROVSKITE, species, model.domain.reference_lattice(CUBIC_PEROVSKITE, species)
    expected = TorchKernel(model.settings, members).predict_cells(*cells)
    found = TemplateKernel(fold(model.settings, members)).predict_cells(*cells)
    assert np.isfinite(expected).all()
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-3)


def test_features_of_every_element_are_read():
    """The last one of the table too."""
    model = load("mp")
    species = np.array([[atomic_number("Ba"), atomic_number(b), 8, 8, 8] for b in ("H", "Ti", "Fm")], dtype=np.uint8)
    cells = CUBIC_PEROVSKITE, species, np.full(3, 4.2, dtype=np.float32)
    expected = TorchKernel(model.settings, model.members).predict_cells(*cells)
    found = kernel_of(model).predict_cells(*cells)
    assert (np.isnan(found) == np.isnan(expected)).all()
    assert np.abs(found - expected)[~np.isnan(expected)].max() < CLOSE


@pytest.mark.parametrize("name", ["castelli", "mp", "castelli-relaxed", "formation-energy"])
def test_a_kernel_can_be_named_without_loading_weights(name):
    model, card = load(name), read_card(weights_path(name))
    kernel = model.on(card.prototypes[0]).kernel if card.prototypes else model.kernel
    assert name_kernel(card.settings, candidates=bool(card.prototypes)) == f"{kernel.name} {kernel.version}"
