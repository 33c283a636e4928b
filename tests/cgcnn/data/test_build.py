"""Building graphs from samples: failures, the cache, processes."""

import sqlite3
from pathlib import Path

import numpy as np
import pytest
from pymatgen.core.structure import Structure

from cgcnn.data import build as graphs
from cgcnn.data.build import Builder, GraphCache, Rule
from cgcnn.data.samples import Sample, broken, from_record
from cgcnn.graphs.graph import CrystalGraph
from cgcnn.network.settings import Settings

RULE = Rule("shells", 12, 8.0)


def sample(a: float, **changes: object) -> Sample:
    record = {"cell": [a, a, a, 90, 90, 90], "species": ["Na", "Cl"], "frac": [[0, 0, 0], [0.5, 0.5, 0.5]]}
    return from_record({**record, **changes}, 0)


def same(one: object, other: object) -> bool:
    if isinstance(one, str) or isinstance(other, str):
        return one == other
    assert isinstance(one, CrystalGraph)
    assert isinstance(other, CrystalGraph)
    return all(np.array_equal(value, getattr(other, name)) for name, value in vars(one).items())


ENTRIES = [sample(4.0), broken("x", "lost"), sample(30.0), sample(4.2, species=[{"Na": 0.5}, "Cl"]), sample(4.1)]


def test_failures_stand_among_the_graphs_with_their_reasons() -> None:
    built = Builder(RULE).build([*ENTRIES, sample(4.0, species=["Na", "Xx"])])
    assert [isinstance(graph, str) for graph in built] == [False, True, True, True, False, True]
    for graph, reason in zip(built[1:4], ["lost", "isolated", "partially occupied"], strict=True):
        assert isinstance(graph, str)
        assert reason in graph


def test_a_crystal_that_breaks_the_search_stops_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    true_graph = Rule.graph

    def odd(rule: Rule, crystal: Structure) -> CrystalGraph:
        if crystal.volume > 65:
            raise ValueError("odd\nlattice")
        return true_graph(rule, crystal)

    monkeypatch.setattr(Rule, "graph", odd)
    first, second = Builder(RULE).build([sample(4.0), sample(4.1)])
    assert isinstance(first, CrystalGraph)
    assert second == "no graph can be built (ValueError: odd lattice)"


def test_cached_graphs_are_the_same_and_built_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = Builder(RULE, folder=tmp_path).build(ENTRIES)
    work: list[int] = []
    builder = Builder(RULE, folder=tmp_path, report=lambda _, total: work.append(total))
    again = builder.build(ENTRIES)
    assert all(same(one, other) for one, other in zip(first, again, strict=True))
    assert set(work) == {3}  # the failures, which are not kept
    monkeypatch.setattr(graphs, "_build_one", None)
    assert len(builder.build([ENTRIES[0]])) == 1


@pytest.mark.parametrize("other", [Rule("original", 12, 8.0), Rule("shells", 6, 8.0), Rule("shells", 12, 7.0)])
def test_other_settings_are_other_graphs(other: Rule) -> None:
    assert graphs.key(ENTRIES[0], RULE) != graphs.key(ENTRIES[0], other)
    assert graphs.key(ENTRIES[0], RULE) != graphs.key(ENTRIES[4], RULE)
    assert graphs.key(ENTRIES[0], RULE) == graphs.key(sample(4.0), Rule.of(Settings(targets=())))


@pytest.mark.parametrize("how", ["a flipped byte", "the form of another version"])
def test_damaged_graph_is_built_again(tmp_path: Path, how: str) -> None:
    builder = Builder(RULE, folder=tmp_path)
    (expected,) = builder.build(ENTRIES[:1])
    with sqlite3.connect(tmp_path / "graphs.sqlite") as connection:
        (content,) = connection.execute("SELECT graph FROM graphs").fetchone()
        other = content[16:-5]
        changed = content[:-1] + b"\x07" if how == "a flipped byte" else graphs._checksum(other) + other
        connection.execute("UPDATE graphs SET graph = ?", (changed,))
    connection.close()
    assert GraphCache(tmp_path).find([graphs.key(ENTRIES[0], RULE)]) == {}
    assert same(builder.build(ENTRIES[:1])[0], expected)
    assert len(GraphCache(tmp_path).find([graphs.key(ENTRIES[0], RULE)])) == 1


def test_unusable_cache_is_noted_once_and_does_not_stop(tmp_path: Path) -> None:
    (tmp_path / "graphs.sqlite").write_text("this is no database at all")
    notes: list[str] = []
    built = Builder(RULE, folder=tmp_path, note=notes.append).build(ENTRIES)
    assert sum(isinstance(graph, CrystalGraph) for graph in built) == 2
    assert len(notes) == 1
    assert "continuing without it" in notes[0]


def test_cache_forgets_the_oldest_half_when_it_is_full(tmp_path: Path) -> None:
    samples = [sample(4 + i / 100) for i in range(20)]
    built = Builder(RULE).build(samples)
    keys = [graphs.key(e, RULE) for e in samples]
    cache = GraphCache(tmp_path, size=0)
    cache.add({k: graph for k, graph in zip(keys, built, strict=True) if isinstance(graph, CrystalGraph)})
    assert set(cache.find(keys)) == set(keys[10:])


def test_processes_build_the_same_graphs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graphs, "_WORTH_A_WORKER", 1e-9)
    monkeypatch.setattr(graphs, "_CRYSTALS", 1)
    alone = Builder(RULE).build(ENTRIES)
    together = Builder(RULE, workers=2).build(ENTRIES)
    assert all(same(one, other) for one, other in zip(alone, together, strict=True))
