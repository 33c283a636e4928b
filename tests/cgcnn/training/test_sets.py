"""Networks in which a set of elements that shares a role has a vector of its own."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from cgcnn.elements import element_features
from cgcnn.graphs.batch import GraphBatch
from cgcnn.graphs.prototype import PROTOTYPES
from cgcnn.network.reference import CGCNN, TensorBatch
from cgcnn.network.settings import Settings
from cgcnn.training.distil import grid_network, set_names, shared_sets

SETTINGS = Settings(targets=("e",), width=4, layers=0, hidden=8, gaussians=4, radius=6.0, sites=4)
FEATURES = torch.from_numpy(element_features())
ROWS = [[38, 22, 8, 8, 8], [38, 22, 7, 8, 8], [38, 22, 8, 7, 8], [38, 22, 7, 7, 8], [56, 22, 7, 8, 8]]


def batch(rows: list[list[int]] = ROWS) -> TensorBatch:
    species = PROTOTYPES["cubic-perovskite"].canonical(np.array(rows, dtype=np.uint8))
    prototype = PROTOTYPES["cubic-perovskite"]
    return TensorBatch.of(GraphBatch.of_prototype(prototype, species, np.full(len(rows), 4.0, dtype=np.float32), 12))


def test_a_set_has_one_name_whatever_the_order_and_the_other_sites() -> None:
    names = set_names(batch())[:, 2]
    assert names[1] == names[2] == names[4]
    assert len(names.unique()) == 3
    assert len(shared_sets(batch())) == 3  # of X alone: A and B have one atom each


def test_a_known_set_has_a_vector_of_its_own_and_others_have_their_mean() -> None:
    known = shared_sets(batch(ROWS[:3]))  # O3 and O2N
    torch.manual_seed(0)
    made = grid_network(SETTINGS, FEATURES, known).eval()
    torch.manual_seed(0)
    plain = CGCNN(SETTINGS, FEATURES)
    plain.load_state_dict(made.state_dict(), strict=False)
    with torch.inference_mode():
        assert torch.equal(made(batch()), plain.eval()(batch()))  # zero at first
        made.sites.of_set[torch.searchsorted(known, set_names(batch())[1, 2])] += 1.0
        moved = (made(batch()) != plain(batch()))[:, 0]
    assert moved.tolist() == [False, True, True, False, True]


def test_sets_without_a_readout_of_sites_are_refused() -> None:
    with pytest.raises(ValueError, match="only with a readout of sites"):
        grid_network(Settings(targets=("e",)), FEATURES, shared_sets(batch()))
