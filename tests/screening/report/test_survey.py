"""What a report gathers on the way of the blocks to the ranking."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from screening.report.survey import LOWEST, STEP, Best, Survey
from screening.status import Status

PAIR, ROLES = (0, 1), {"A": (0,), "B": (1,), "X": (2, 3, 4)}


def blocks_of(seed, count, size):
    """Blocks of random rows of ABX3, some of them filtered, failed, outside the domain, or with new anions."""
    draw = np.random.default_rng(seed)
    rows = {
        "status": draw.choice([Status.OK, Status.OK, Status.FAILED, Status.FILTERED], count).astype(np.uint8),
        "species": draw.integers(1, 5, (count, 5)).astype(np.uint8),
        "e_above_hull": draw.choice(np.linspace(-2, 6, 9), count).astype(np.float32),
        "e_above_hull_std": draw.random(count).astype(np.float32),
        "p_stable": draw.random(count).astype(np.float32),
        "in_domain": draw.random(count) < 0.8,
        "domain_distance": np.where(draw.random(count) < 0.8, 0, 1).astype(np.float32),
    }
    blocks = [(at, {name: values[at : at + size] for name, values in rows.items()}) for at in range(0, count, size)]
    return rows, blocks


@given(st.integers(0, 10**6), st.integers(1, 60), st.integers(1, 30))
def test_it_says_of_many_blocks_what_it_says_of_all_rows_at_once(seed, count, size):
    rows, blocks = blocks_of(seed, count, size)
    survey = Survey(0.05, dict(zip("AB", PAIR, strict=True)), ROLES)
    assert [start for start, _ in survey.watch(blocks)] == [start for start, _ in blocks]
    scored = rows["status"] == Status.OK
    near = np.flatnonzero(scored & rows["in_domain"] & (rows["domain_distance"] == 0))
    energy = rows["e_above_hull"]
    assert (survey.scored, survey.below, survey.near) == (scored.sum(), (energy[scored] <= 0.05).sum(), len(near))
    assert survey.expected == pytest.approx(rows["p_stable"][scored].sum(dtype=float))
    assert survey.histogram.sum() == scored.sum()
    for a, b in np.unique(rows["species"][near][:, :2], axis=0):
        there = near[(rows["species"][near, :2] == (a, b)).all(axis=1)]
        best = there[np.lexsort((there, energy[there]))[0]]
        kind = int(a) * 101 + int(b)
        assert survey.pairs.index[kind] == best
        assert survey.pairs.energy[kind] == energy[best]
        assert (survey.pairs.atoms[kind] == rows["species"][best]).all()
    for role, columns in ROLES.items():
        for z in range(1, 5):
            there = near[(rows["species"][near][:, columns] == z).any(axis=1)]
            assert survey.elements[role].count[z] == len(there)
            assert survey.elements[role].expected[z] == pytest.approx(rows["p_stable"][there].sum(dtype=float))


def test_energies_beyond_the_histogram_count_in_its_ends():
    survey = Survey(0.0, {}, {})
    energy = np.array([-9, LOWEST + STEP / 2, 99], dtype=np.float32)
    rows = {
        "status": np.full(3, Status.OK, dtype=np.uint8),
        "composition": np.zeros((3, 101), dtype=np.uint16),
        "e_above_hull": energy,
        "e_above_hull_std": energy,
        "p_stable": np.array([1, np.nan, 0], dtype=np.float32),
        "in_domain": np.ones(3, dtype=bool),
    }
    list(survey.watch([(0, rows)]))
    assert (survey.histogram[0], survey.histogram[-1], survey.expected) == (2, 1, 1.0)


def test_of_equal_candidates_the_first_is_the_best():
    best = Best(2)
    for start in (0, 2):
        energies = np.full(2, 0.5, dtype=np.float32)
        rows = {"index": start + np.arange(2), "e_above_hull": energies, "e_above_hull_std": energies}
        best.add(np.array([1, 1]), rows | {"atoms": np.array([[start], [9]], dtype=np.uint8)})
    assert best.there.tolist() == [1]
    assert (best.index[1], best.atoms[1, 0]) == (0, 0)
