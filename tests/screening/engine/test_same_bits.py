"""The same structures get the same bits from `cgcnn predict`, `cgcnn evaluate` and `screen structures`."""

import json
import subprocess
import sys

import numpy as np
import pytest

from cgcnn.data.read import read
from cgcnn.inference.evaluate import evaluate
from cgcnn.inference.predict import BATCH, predict_samples
from cgcnn.models.files import load
from screening.engine.block import Block
from screening.engine.score import load_model, score_block
from screening.plan import make_plan
from screening.recipe import make_recipe

COUNT = 2 * BATCH + 17


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Salts of many sizes and elements, every tenth of them broken."""
    rng, path = np.random.default_rng(0), tmp_path_factory.mktemp("data") / "salts.jsonl"
    rows = []
    for i in range(COUNT):
        cell = None if i % 10 == 3 else [*rng.uniform(3.2, 4.5, 3), 90, 90, 90]
        species = [str(rng.choice(["Na", "K", "Ca", "Sr"])), str(rng.choice(["Cl", "O", "S"]))]
        crystal = {"cell": cell, "species": species, "frac": [[0, 0, 0], [0.5, 0.5, 0.5]]}
        rows.append({"id": f"salt{i}", "e_above_hull": 0.1, **crystal})
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_commands_agree_to_the_last_bit(data):
    model, samples = load("castelli-relaxed"), read(data)
    predicted, spread = predict_samples(model, samples).estimates["e_above_hull"]
    plan = make_plan(make_recipe(kind="structures", paths=(data,), model="castelli-relaxed"))
    rows = score_block(plan, load_model(plan), Block(0, 0, COUNT)).columns
    assert np.isnan(predicted).sum() == COUNT // 10 + 1
    assert rows["e_above_hull"].tobytes() == predicted.tobytes()
    assert rows["e_above_hull_std"].tobytes() == spread.tobytes()
    measured = evaluate(model, samples, "e_above_hull")
    assert measured.prediction.tobytes() == predicted[~np.isnan(predicted)].tobytes()


def test_blocks_of_structures_do_not_matter(data):
    plan = make_plan(make_recipe(kind="structures", paths=(data,), model="castelli-relaxed"))
    model = load_model(plan)
    whole = score_block(plan, model, Block(0, 0, COUNT)).columns
    part = score_block(plan, model, Block(1, BATCH, COUNT)).columns
    assert part["e_above_hull"].tobytes() == whole["e_above_hull"][BATCH:].tobytes()


@pytest.mark.slow
def test_measuring_needs_no_torch(data, tmp_path):
    arguments = ["evaluate", str(data), "--model", "castelli-relaxed", "--no-cache", "--workers", "1"]
    run = f"from cgcnn.cli.commands import app; app({arguments}, standalone_mode=False)"
    code = f"import sys; {run}; print('torch' in sys.modules)"
    shown = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert shown.stdout.strip().endswith("False")
