"""A run of double perovskites."""

import pytest

import screening


@pytest.fixture(scope="session")
def doubles(tmp_path_factory, both_path):
    out = tmp_path_factory.mktemp("doubles") / "D.zarr"
    sites = {"a": ["Cs"], "b": ["Ag", "Bi", "In"], "x": ["Cl", "Br"]}
    return screening.screen("double-perovskites", **sites, model=str(both_path), out=out, workers=1)
