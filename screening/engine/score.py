"""From a block to its rows: the one place that asks of which kind the candidates are."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import ModuleType

    import numpy as np

    from cgcnn.models.model import Model, PrototypeModel
    from screening.engine.block import Block, BlockResult
    from screening.engine.compositions import BuiltCompositions
    from screening.engine.structures import BuiltStructures
    from screening.plan import Plan

    Built = BuiltCompositions | BuiltStructures
    AnyModel = Model | PrototypeModel

SCORED_BY = {"space": "compositions", "list": "compositions", "structures": "structures"}
"""Kind of candidates -> the module beside this one that scores them; each is imported only where it is needed."""


def load_model(plan: Plan) -> AnyModel:
    """Load the model of a plan, for the candidates that the plan has.

    Raises:
        UserError: It cannot be read.
    """
    model: AnyModel = _kind(plan).load(plan)
    return model


def score_block(plan: Plan, model: AnyModel, block: Block) -> BlockResult:
    """Work out the rows of one block."""
    return infer_block(plan, model, build_block(plan, model, block))


def build_block(plan: Plan, model: AnyModel, block: Block) -> Built:
    """Do the first half of `score_block`: all that precedes the prediction."""
    built: Built = _kind(plan).build(plan, model, block)
    return built


def infer_block(plan: Plan, model: AnyModel, built: Built) -> BlockResult:
    """Do the second half of `score_block`: predict what was built, in this process or another."""
    result: BlockResult = _kind(plan).infer(plan, model, built)
    return result


def failed_block(plan: Plan, block: Block, reason: str) -> BlockResult:
    """Return the rows of a block that could not be scored: every candidate is there, with the status `failed`."""
    result: BlockResult = _kind(plan).failed(plan, block, reason)
    return result


def sift(plan: Plan, model: AnyModel, start: int, stop: int) -> dict[str, np.ndarray]:
    """Filter candidates [start, stop) short of their prediction: `status` is there."""
    rows: dict[str, np.ndarray] = _kind(plan).sift(plan, model, start, stop)
    return rows


def _kind(plan: Plan) -> ModuleType:
    return import_module(f"screening.engine.{SCORED_BY[plan.candidates.kind]}")
