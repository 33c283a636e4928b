"""A tenth of the fuzz campaign, with a seed of its own: no traceback, no hang, nothing wrong taken for sound."""

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_odd_and_hostile_inputs_end_in_one_clear_line_or_a_failed_row(monkeypatch):
    monkeypatch.setattr(sys, "path", [str(ROOT / "benchmarks"), *sys.path])
    from fuzz import run
    from fuzz_cases import draw

    cases = draw(1, 100, ROOT)
    answers = run(cases)
    wrong = [
        f"{verdict}: {case.kind}, {case.what}: {answer.said.strip()[-200:]}"
        for case, answer in zip(cases, answers, strict=True)
        if (verdict := answer.verdict(case))
    ]
    assert not wrong
    assert sum(case.refused for case in cases) > 40  # known to be wrong, and found to be
