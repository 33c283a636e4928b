"""Tilted starts: the space group, the bonds and the net of octahedra are those of the tilt system."""

import numpy as np
import pytest
from pymatgen.symmetry.analyzer import SpacegroupAnalyzer

from cgcnn.errors import UserError
from cgcnn.graphs.perovskite import find_perovskite
from cgcnn.graphs.prototype import CUBIC_PEROVSKITE, DOUBLE_PEROVSKITE
from cgcnn.graphs.tilts import SYSTEMS, build

CATIO3 = np.array([20, 22, 8, 8, 8], dtype=np.uint8)
CS2AGBIBR6 = np.array([55, 47, 83, 35], dtype=np.uint8)
EXPECTED = {  # space groups of ABX3 and A2BB'X6, atoms in the smallest and in the usual cell, as found again
    "a0a0a0": ("Pm-3m", "Fm-3m", (5, 5), (10, 40), "a0a0a0"),
    "a-b+a-": ("Pnma", "P2_1/c", (20, 20), (20, 20), "a+b-b-"),
    "a-a-a-": ("R-3c", "R-3", (10, 30), (10, 30), "a-a-a-"),
    "a0a0c-": ("I4/mcm", "I4/m", (10, 20), (10, 20), "a0a0c-"),
}


def bonds(crystal, a):
    """(K, 6) distances of the X around each B."""
    site = crystal.site_properties["site"]
    found = []
    for i, name in enumerate(site):
        if name[0] == "B":
            near = crystal.get_neighbors(crystal[i], 0.75 * a)
            found.append(sorted(other.nn_distance for other in near if other.properties["site"][0] == "X")[:6])
    return np.array(found)


@pytest.mark.parametrize("conventional", [False, True])
@pytest.mark.parametrize("tilts", EXPECTED)
def test_a_start_has_the_space_group_and_the_tilts_of_its_system(tilts, conventional):
    single, double, *sizes, glazer = EXPECTED[tilts]
    assert EXPECTED.keys() == SYSTEMS.keys()
    cases = (CUBIC_PEROVSKITE, CATIO3, single, "single"), (DOUBLE_PEROVSKITE, CS2AGBIBR6, double, "rock-salt")
    for (prototype, species, group, order), size in zip(cases, sizes, strict=True):
        crystal = build(prototype, species, 4.0, tilts, conventional=conventional)
        assert len(crystal) == size[conventional]
        assert SpacegroupAnalyzer(crystal, 1e-3).get_space_group_symbol() == group
        found = find_perovskite(crystal)  # every X has two B, and two B share one X at most
        assert (found.glazer, found.order) == (glazer, order)
        assert [tilt for tilt in found.tilts if tilt > 1] == pytest.approx([8.0] * (3 - glazer.count("0")), abs=0.05)
        assert "".join(found.roles) == "".join(name[0] for name in crystal.site_properties["site"])


@pytest.mark.parametrize("tilts", EXPECTED)
@pytest.mark.parametrize("angle", [2.0, 8.0, 12.0])
def test_tilts_keep_the_bonds_and_make_the_cell_smaller(tilts, angle):
    a = 3.9
    ideal, crystal = (build(CUBIC_PEROVSKITE, CATIO3, a, system, angle=angle) for system in ("a0a0a0", tilts))
    rigid = 1e-9 if tilts != "a-b+a-" else 0.005  # octahedra with tilts of both senses do not quite fit
    assert np.abs(bonds(crystal, a) / (a / 2) - 1).max() < rigid
    volume = crystal.volume / len(crystal) * 5
    assert volume == pytest.approx(ideal.volume) if tilts == "a0a0a0" else volume < ideal.volume


def test_no_tilt_and_the_smallest_cell_is_the_prototype_itself():
    for prototype, species in ((CUBIC_PEROVSKITE, CATIO3), (DOUBLE_PEROVSKITE, CS2AGBIBR6)):
        built, ideal = build(prototype, species, 4.1), prototype.structure(species, 4.1)
        assert built.composition == ideal.composition
        assert np.allclose(np.sort(built.distance_matrix, axis=None), np.sort(ideal.distance_matrix, axis=None))


def test_atoms_are_named_by_their_sites_and_mixed_anions_keep_their_directions():
    crystal = build(CUBIC_PEROVSKITE, np.array([57, 73, 7, 7, 8], dtype=np.uint8), 4.1, "a-a-a-")
    assert crystal.labels[:4] == ["La1_A", "La2_A", "Ta1_B", "Ta2_B"]
    named = zip(crystal, crystal.site_properties["site"], strict=True)
    assert [atom.specie.symbol for atom, name in named if name == "X3"] == ["O", "O"]
    assert (bonds(crystal, 4.1).shape, len(set(crystal.labels))) == ((2, 6), 10)


def test_what_cannot_be_built_is_refused():
    with pytest.raises(UserError, match=r"a\+a\+a\+: no such tilt system. Choose of a0a0a0, a-b\+a-"):
        build(CUBIC_PEROVSKITE, CATIO3, 4.0, "a+a+a+")
    with pytest.raises(UserError, match="angle 45"):
        build(CUBIC_PEROVSKITE, CATIO3, 4.0, "a-a-a-", angle=45)
