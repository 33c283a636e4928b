"""Models with random weights, to test an engine with."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from cgcnn.elements import MAX_Z, atomic_number, element_features
from cgcnn.models.card import Card, Target
from cgcnn.models.domain import Domain, element_distance
from cgcnn.models.model import Model
from cgcnn.network.kernel import role_table
from cgcnn.network.reference import CGCNN, weights
from cgcnn.network.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from cgcnn.graphs.prototype import Prototype
    from cgcnn.network.kernel import Weights

TINY = Settings(targets=("e_above_hull", "a"), width=8, layers=2, hidden=8, gaussians=12)


def untrained(
    prototype: Prototype,
    trained: Mapping[str, Iterable[str]],
    settings: Settings = TINY,
    *,
    members: int = 2,
    seed: int = 0,
) -> Model:
    """Make a model of a prototype with random weights that claims to know the elements ``trained``, role → symbols."""
    networks = _members(settings, members, seed)
    table = np.zeros((len(prototype.role_names), MAX_Z + 1), dtype=np.bool_)
    for role, symbols in trained.items():
        table[prototype.role_names.index(role), [atomic_number(symbol) for symbol in symbols]] = True
    lattice = np.full(table.shape, 4.0 / len(table), dtype=np.float32)
    known, span = np.empty(0, dtype=np.int64), np.array([3.0, 6.0], dtype=np.float32)
    domain = Domain(table, known, lattice, span, element_distance(role_table(settings, networks), table))
    return Model(_card(prototype, settings), networks, domain)


def untrained_for_structures(settings: Settings, *, members: int = 2, seed: int = 0) -> Model:
    """Make a model of structures with random weights."""
    return Model(_card(None, settings), _members(settings, members, seed))


def _members(settings: Settings, members: int, seed: int) -> list[Weights]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        features = torch.from_numpy(element_features())
        return [weights(CGCNN(settings, features)) for _ in range(members)]


def _card(prototype: Prototype | None, settings: Settings) -> Card:
    return Card(
        name="untrained",
        summary="Random weights; its numbers mean nothing.",
        input="structure" if prototype is None else "prototype",
        prototypes=() if prototype is None else (prototype.name,),
        targets=tuple(Target(name=name, unit="") for name in settings.targets),
        label="none",
        hull="none",
        data="none",
        split="none",
        training_size=0,
        members=0,
        recipe="none",
        licence="MIT",
        settings=settings,
        version="0",
    )
