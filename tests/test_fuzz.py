"""A tenth of the fuzz campaign, with a seed of its own: no traceback, no hang, nothing wrong accepted or misread."""

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_odd_and_hostile_inputs_end_in_one_clear_line_or_a_failed_row(monkeypatch):
    monkeypatch.setattr(sys, "path", [str(ROOT / "benchmarks"), *sys.path])
    from fuzz import describe, draw, run

    cases = draw(1, 320, ROOT)
    wrong = [
        describe(case, answer, verdict) for case, answer, verdict in zip(cases, *run(cases), strict=True) if verdict
    ]
    assert not wrong
    assert sum(case.refused or case.reads != "" for case in cases) > 40  # known to be wrong, or what they say


def test_a_reading_agrees_with_itself_alone(monkeypatch):
    monkeypatch.setattr(sys, "path", [str(ROOT / "benchmarks"), *sys.path])
    from fuzz import agrees

    assert agrees(("1.001", "failed"), ("1.0", "failed"), exactly=True)
    assert not agrees(("1.1",), ("1.0",), exactly=False)
    assert agrees(("failed", "SrTiO3"), ("BaTiO3", "SrTiO3"), exactly=False)
    assert not agrees(("failed", "SrTiO3"), ("BaTiO3", "SrTiO3"), exactly=True)
    assert not agrees(("SrTiO3",), ("BaTiO3", "SrTiO3"), exactly=False)
    assert not agrees(None, ("SrTiO3",), exactly=False)
