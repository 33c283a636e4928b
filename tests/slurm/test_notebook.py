"""The notebook on SLURM finds one here, and sends it jobs."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

NOTEBOOK = Path(__file__).parents[2] / "docs/notebooks/on-slurm.ipynb"


@pytest.mark.slow
def test_the_notebook_sends_its_jobs_to_slurm(slurm, tmp_path):
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    code = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
    environment = slurm.environment | {"MPLBACKEND": "Agg"}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    )
    assert 'kind = "slurm"' in (tmp_path / "site.toml").read_text()
    assert list((tmp_path / "screen-logs").glob("screen-build-*"))
    assert done.stdout.count(" True\n") == 3
    assert "Every candidate is there exactly once" in done.stdout
