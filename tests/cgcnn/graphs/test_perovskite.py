"""Perovskites are found however they are written down, and what only resembles them is left out."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pymatgen.core.lattice import Lattice
from pymatgen.core.structure import Structure

from cgcnn.elements import atomic_number
from cgcnn.graphs.perovskite import Perovskite, find_perovskite
from cgcnn.graphs.prototype import CUBIC_PEROVSKITE, DOUBLE_PEROVSKITE


def _cubic() -> Structure:
    return CUBIC_PEROVSKITE.structure(np.array([38, 22, 8, 8, 8]), 3.9)


def _elpasolite() -> Structure:
    return DOUBLE_PEROVSKITE.structure(np.array([55, 47, 83, 17]), 5.4)


def _pnma() -> Structure:
    """CaTiO3 (Sasaki et al., Acta Cryst. 1987, C43, 1668), set in Pnma."""
    species, frac = (
        ["Ca", "Ti", "O", "O"],
        [[0.0359, 0.25, 0.9932], [0, 0, 0.5], [0.4838, 0.25, 0.0714], [0.2888, 0.0371, 0.7112]],
    )
    return Structure.from_spacegroup("Pnma", Lattice.orthorhombic(5.4424, 7.6417, 5.3807), species, frac)


def _r3c() -> Structure:
    """LaAlO3 (Howard et al., J. Phys. Condens. Matter 2000, 12, 349), hexagonal axes."""
    lattice = Lattice.hexagonal(5.3647, 13.1114)
    return Structure.from_spacegroup("R-3c", lattice, ["La", "Al", "O"], [[0, 0, 0.25], [0, 0, 0], [0.5281, 0, 0.25]])


def _p4mbm() -> Structure:
    """CsSnI3, tetragonal (Yamada et al., Chem. Lett. 1991, 20, 801), idealised."""
    species, frac = ["Cs", "Sn", "I", "I"], [[0, 0.5, 0.5], [0, 0, 0], [0, 0, 0.5], [0.205, 0.295, 0]]
    return Structure.from_spacegroup("P4/mbm", Lattice.tetragonal(8.772, 6.261), species, frac)


def _p4mm() -> Structure:
    """PbTiO3: polar, octahedra not turned."""
    species, frac = ["Pb", "Ti", "O", "O"], [[0, 0, 0], [0.5, 0.5, 0.5377], [0.5, 0.5, 0.1118], [0.5, 0, 0.6174]]
    return Structure.from_spacegroup("P4mm", Lattice.tetragonal(3.902, 4.156), species, frac)


def _i4mcm() -> Structure:
    """As SrTiO3 at low temperature, turned farther: in alternating senses along c."""
    lattice = Lattice.tetragonal(5.507, 7.796)
    species, frac = ["Sr", "Ti", "O", "O"], [[0, 0.5, 0.25], [0, 0, 0], [0, 0, 0.25], [0.237, 0.737, 0]]
    return Structure.from_spacegroup("I4/mcm", lattice, species, frac)


def _layered_a() -> Structure:
    """Two elements on A, in layers."""
    crystal = _cubic().make_supercell([1, 1, 2], in_place=False)
    crystal.replace(next(i for i, site in enumerate(crystal) if site.specie.symbol == "Sr"), "Ba")
    return crystal


def _layered_b() -> Structure:
    crystal = _cubic().make_supercell([1, 1, 2], in_place=False)
    crystal.replace(next(i for i, site in enumerate(crystal) if site.specie.symbol == "Ti"), "Zr")
    return crystal


def _ilmenite() -> Structure:
    lattice, frac = Lattice.hexagonal(5.0884, 14.0855), [[0, 0, 0.3554], [0, 0, 0.1464], [0.3174, 0.0233, 0.2451]]
    return Structure.from_spacegroup("R-3", lattice, ["Fe", "Ti", "O"], frac)


def _hexagonal() -> Structure:
    """BaNiO3: chains of octahedra that share faces; Ba has corner-sharing neighbours of its own."""
    lattice, frac = Lattice.hexagonal(5.629, 4.811), [[1 / 3, 2 / 3, 0.25], [0, 0, 0], [0.1462, 0.2924, 0.25]]
    return Structure.from_spacegroup("P6_3/mmc", lattice, ["Ba", "Ni", "O"], frac)


def _post_perovskite() -> Structure:
    """CaIrO3: octahedra that share edges."""
    lattice = Lattice.orthorhombic(3.1472, 9.8630, 7.2990)
    species, frac = ["Ca", "Ir", "O", "O"], [[0, 0.2498, 0.25], [0, 0, 0], [0, 0.9304, 0.25], [0, 0.3708, 0.0470]]
    return Structure.from_spacegroup("Cmcm", lattice, species, frac)


def _corundum() -> Structure:
    frac = [[0, 0, 0.3522], [0.3064, 0, 0.25]]
    return Structure.from_spacegroup("R-3c", Lattice.hexagonal(4.7602, 12.9933), ["Al", "O"], frac)


def _rutile() -> Structure:
    frac = [[0, 0, 0], [0.3053, 0.3053, 0]]
    return Structure.from_spacegroup("P4_2/mnm", Lattice.tetragonal(4.594, 2.959), ["Ti", "O"], frac)


def _calcite() -> Structure:
    """CaCO3: a corner-sharing net of CaO6, but carbon has anions of its own."""
    frac = [[0, 0, 0], [0, 0, 0.25], [0.2568, 0, 0.25]]
    return Structure.from_spacegroup("R-3c", Lattice.hexagonal(4.9896, 17.061), ["Ca", "C", "O"], frac)


PEROVSKITES = {
    "cubic": (_cubic, "cubic", "a0a0a0", "single"),
    "elpasolite": (_elpasolite, "cubic", "a0a0a0", "rock-salt"),
    "Pnma": (_pnma, "tilted", "a+b-b-", "single"),
    "R-3c": (_r3c, "tilted", "a-a-a-", "single"),
    "P4/mbm": (_p4mbm, "tilted", "a0a0c+", "single"),
    "I4/mcm": (_i4mcm, "tilted", "a0a0c-", "single"),
    "P4mm": (_p4mm, "distorted", "a0a0a0", "single"),
    "A in layers": (_layered_a, "cubic", "a0a0a0", "single"),
    "B in layers": (_layered_b, "cubic", "a0a0a0", "layered"),
}
OTHERS = (_ilmenite, _hexagonal, _post_perovskite, _corundum, _rutile, _calcite)


def _found(crystal: Structure) -> Perovskite:
    result = find_perovskite(crystal)
    assert result is not None
    return result


@pytest.mark.parametrize("name", PEROVSKITES)
def test_known_perovskites(name: str) -> None:
    build, family, glazer, order = PEROVSKITES[name]
    found = _found(build())
    assert (found.family, found.glazer, found.order) == (family, glazer, order)


@pytest.mark.parametrize("build", OTHERS)
def test_what_is_no_perovskite(build: object) -> None:
    assert find_perovskite(build()) is None  # type: ignore[operator]


def test_sites_and_size() -> None:
    found = _found(_pnma())
    assert found.elements("A") == {20: 4}
    assert found.elements("B") == {22: 4}
    assert found.elements("X") == {8: 12}
    assert found.a == pytest.approx(3.825, abs=0.001)
    assert found.angle == pytest.approx(156, abs=1)


def test_rotations_are_those_of_the_octahedra() -> None:
    found = _found(_r3c())  # 5.6 degrees about the threefold axis
    assert np.linalg.norm(found.tilts) == pytest.approx(5.6, abs=0.3)
    assert np.ptp(found.tilts) < 0.01


def test_antiperovskite() -> None:
    found = _found(CUBIC_PEROVSKITE.structure(np.array([53, 16, 47, 47, 47]), 4.9))  # Ag3SI
    assert (found.elements("A"), found.elements("B"), found.elements("X")) == ({53: 1}, {16: 1}, {47: 3})


def test_element_on_two_roles() -> None:
    found = _found(DOUBLE_PEROVSKITE.structure(np.array([19, 13, 19, 9]), 4.25))  # K3AlF6
    assert (found.elements("A"), found.elements("B")) == ({19: 2}, {13: 1, 19: 1})


def test_what_it_is_in_words() -> None:
    assert [_found(build()).text for build in (_pnma, _elpasolite)] == [
        "single tilted a+b-b-",
        "rock-salt cubic a0a0a0",
    ]


def test_several_anions() -> None:
    found = _found(CUBIC_PEROVSKITE.structure(np.array([56, 73, 8, 8, 7]), 4.1))
    assert found.elements("X") == {7: 1, 8: 2}


def test_disordered_crystal_is_none() -> None:
    crystal = _cubic()
    crystal.replace(0, {"Sr": 0.5, "Ba": 0.5})
    assert find_perovskite(crystal) is None


MATRICES = st.sampled_from(
    [[[2, 0, 0], [0, 1, 0], [0, 0, 1]], [[1, 1, 0], [0, 1, 0], [0, 0, 1]], [[1, -1, 0], [1, 1, 0], [0, 1, 1]]]
)


@settings(max_examples=40, deadline=None)
@given(name=st.sampled_from(sorted(PEROVSKITES)), matrix=MATRICES, seed=st.integers(0, 2**16))
def test_the_same_in_every_description(name: str, matrix: list[list[int]], seed: int) -> None:
    rng, crystal = np.random.default_rng(seed), PEROVSKITES[name][0]()
    expected = _found(crystal)
    turned = crystal.make_supercell(matrix, in_place=False)
    order = rng.permutation(len(turned))
    rotation = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    frac = turned.frac_coords[order] + rng.normal(size=3) + rng.integers(-2, 3, (len(turned), 3))
    numbers = np.array(turned.atomic_numbers)[order]
    found = _found(Structure(turned.lattice.matrix @ rotation, numbers, frac))
    assert (found.family, found.glazer, found.order) == (expected.family, expected.glazer, expected.order)
    assert found.a == pytest.approx(expected.a)
    assert found.angle == pytest.approx(expected.angle, abs=0.01)
    assert found.tilts == pytest.approx(expected.tilts, abs=0.01)
    times = len(turned) // len(crystal)
    for role in "ABX":
        assert found.elements(role) == {z: n * times for z, n in expected.elements(role).items()}
    assert [found.roles[i] for i in np.argsort(order)] == list(_found(turned).roles)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**16))
def test_small_displacements_change_no_role(seed: int) -> None:
    crystal = _pnma()
    crystal.perturb(0.05, seed=seed)
    assert _found(crystal).roles == _found(_pnma()).roles


def test_numbers_stand_for_elements() -> None:
    assert _found(_cubic()).numbers[0] == atomic_number("Sr")
