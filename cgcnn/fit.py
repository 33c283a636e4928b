"""Fitting one network: loss, rate schedule, averaged weights, checkpoints after every epoch."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import torch
from torch.nn import functional
from torch.optim.swa_utils import AveragedModel

from cgcnn.errors import UserError
from cgcnn.model import CGCNN

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from torch import Tensor

    from cgcnn.batch import Examples
    from cgcnn.card import Settings
    from cgcnn.recipe import Fit


@dataclass(frozen=True)
class Task:
    """What is fitted, and how.

    Attributes:
        settings: Shape of the network.
        how: Epochs, rates and so on.
        weights: (T,) share of each target in the loss.
        features: (101, F) element features.
    """

    settings: Settings
    how: Fit
    weights: Tensor
    features: Tensor


@dataclass(frozen=True)
class Progress:
    """What is known after an epoch.

    Attributes:
        epoch: Epochs done.
        epochs: Epochs in all.
        loss: Mean training loss of the epoch, in deviations of the targets.
        network: The averaged network so far, in evaluation mode.
    """

    epoch: int
    epochs: int
    loss: float
    network: CGCNN


@dataclass
class _State:
    """All that changes while fitting; what a checkpoint holds."""

    network: CGCNN
    average: AveragedModel
    optimizer: torch.optim.Optimizer
    generator: torch.Generator
    epoch: int = 0

    @property
    def averaged(self) -> CGCNN:
        """The network with averaged weights, in evaluation mode."""
        return cast("CGCNN", self.average.module).eval()


def fit(
    task: Task,
    examples: Examples,
    seed: int,
    checkpoint: Path | None = None,
    report: Callable[[Progress], None] = lambda _: None,
) -> CGCNN:
    """Train one network; the same arguments give the same weights, interrupted or not.

    Args:
        task: What to fit and how.
        examples: Training graphs and targets, NaN where a label is missing.
        seed: Of the initial weights, the order of the examples and the dropout.
        checkpoint: File written after every epoch, and continued from where it exists.
        report: Called after every epoch.

    Returns:
        The averaged network in evaluation mode.

    Raises:
        UserError: The checkpoint is not one, or the loss is no longer finite.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        state = _start(task, examples, seed)
        if checkpoint is not None and checkpoint.exists():
            _restore(state, checkpoint)
        while state.epoch < task.how.epochs:
            loss = _epoch(state, examples, task)
            if not math.isfinite(loss):
                raise UserError(f"training diverged in epoch {state.epoch}; lower learning_rate")
            if checkpoint is not None:
                _write(state, checkpoint)
            report(Progress(state.epoch, task.how.epochs, loss, state.averaged))
    return state.averaged


def _start(task: Task, examples: Examples, seed: int) -> _State:
    how = task.how
    network = CGCNN(task.settings, task.features)
    known = ~examples.targets.isnan()  # (n, T)
    count = known.sum(dim=0)  # (T,)
    mean = examples.targets.nan_to_num().sum(dim=0) / count
    square = torch.where(known, examples.targets - mean, 0.0).square().sum(dim=0) / count
    number = ~binary_columns(task.settings)
    network.target_mean.copy_(torch.where(number, mean, 0.0))
    network.target_std.copy_(torch.where(number & (square > 0), square.sqrt(), 1.0))
    average = AveragedModel(network, multi_avg_fn=_moving_average(how.average), use_buffers=True)
    optimizer = torch.optim.AdamW(network.parameters(), lr=how.learning_rate, weight_decay=how.weight_decay, fused=True)
    return _State(network, average, optimizer, torch.Generator().manual_seed(seed))


def _moving_average(decay: float) -> Callable[[Any, Any, Any], None]:
    def update(averages: list[Tensor], current: list[Tensor], _: Tensor) -> None:
        for average, tensor in zip(averages, current, strict=True):
            if average.is_floating_point():
                average.lerp_(tensor, 1 - decay)

    return torch.no_grad()(update)


def _epoch(state: _State, examples: Examples, task: Task) -> float:
    """One pass over the examples in random order; returns the mean loss."""
    n, how = len(examples.targets), task.how
    batches = torch.randperm(n, generator=state.generator).tensor_split(math.ceil(n / how.batch_size))
    total = 0.0
    state.network.train()
    for step, rows in enumerate(batches):
        rate = how.learning_rate * schedule((state.epoch + step / len(batches)) / how.epochs, how.warm_up)
        for group in state.optimizer.param_groups:
            group["lr"] = rate
        loss = masked_loss(state.network, examples, rows, task.weights)
        state.optimizer.zero_grad()
        torch.autograd.backward(loss)
        state.optimizer.step()
        state.average.update_parameters(state.network)
        total += float(loss.detach()) * len(rows)
    state.epoch += 1
    return total / n


def schedule(done: float, warm_up: float) -> float:
    """Share of the peak rate after a share ``done`` of the training: straight up, then a cosine down to zero."""
    if done < warm_up:
        return 0.04 + 0.96 * done / warm_up
    return 0.5 * (1 + math.cos(math.pi * (done - warm_up) / (1 - warm_up)))


def masked_loss(network: CGCNN, examples: Examples, rows: Tensor, weights: Tensor) -> Tensor:
    """Loss of each target over its known labels, summed with the targets' weights.

    It is the mean absolute error in deviations of a number, the cross entropy of a binary target.
    """
    labels = (examples.targets[rows] - network.target_mean) / network.target_std  # (n, T)
    known = ~labels.isnan()
    scaled, labels = network.scaled(examples.graphs.select(rows)), labels.nan_to_num()  # (n, T)
    error = torch.where(known, scaled - labels, 0.0).abs()  # (n, T)
    if network.settings.binary:
        entropy = functional.binary_cross_entropy_with_logits(scaled, labels.clamp(0, 1), reduction="none")  # (n, T)
        error = torch.where(binary_columns(network.settings), torch.where(known, entropy, 0.0), error)
    return (error.sum(dim=0) / known.sum(dim=0).clamp(min=1)) @ weights


def binary_columns(settings: Settings) -> Tensor:
    """(T,) bool, which targets are binary."""
    return torch.tensor([name in settings.binary for name in settings.targets])


def _write(state: _State, path: Path) -> None:
    """Replace the checkpoint in one step, so that a kill leaves the old one or the new one."""
    content = {
        "network": state.network.state_dict(),
        "average": state.average.state_dict(),
        "optimizer": state.optimizer.state_dict(),
        "order": state.generator.get_state(),
        "dropout": torch.get_rng_state(),
        "epoch": state.epoch,
    }
    partial = path.with_suffix(".partial")
    torch.save(content, partial)
    partial.replace(path)


def _restore(state: _State, path: Path) -> None:
    try:
        content: dict[str, Any] = torch.load(path, weights_only=True)
        state.network.load_state_dict(content["network"])
        state.average.load_state_dict(content["average"])
        state.optimizer.load_state_dict(content["optimizer"])
        state.generator.set_state(content["order"])
        torch.set_rng_state(content["dropout"])
        state.epoch = content["epoch"]
    except Exception as error:  # noqa: BLE001  # torch.load documents no set of errors for damaged files
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise UserError(f"{path}: not a checkpoint of this training ({reason}); delete it to start again") from None
