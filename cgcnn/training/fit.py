"""Fit one network: loss, rate schedule, averaged weights, and a checkpoint after every epoch.

Shapes: n examples, T targets.
"""

from __future__ import annotations

import hashlib
import io
import math
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from torch.nn import functional
from torch.optim.swa_utils import AveragedModel

from cgcnn.errors import UserError
from cgcnn.files import open_regular, read_text, write_whole
from cgcnn.network.reference import CGCNN, TensorBatch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from torch import Tensor

    from cgcnn.graphs.batch import GraphBatch
    from cgcnn.network.settings import Settings
    from cgcnn.training.data import Split, TrainingTable
    from cgcnn.training.recipe import Fit, TrainRecipe


@contextmanager
def one_thread() -> Iterator[None]:
    """Limit torch to one thread, for products so small that several threads mostly wait for each other.

    The waits are long on a busy machine. One thread also makes the bits independent of the number of cores.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@dataclass(frozen=True, eq=False)
class Examples:
    """Graphs with their labels.

    Attributes:
        graphs: n graphs.
        targets: (n, T) float32; NaN where a label is missing.
        below: (n, T) float32, cost of a prediction below the label, as a share of one above it: less than 1 where the
            label is only an upper bound. None if all labels are exact.
    """

    graphs: GraphBatch
    targets: Tensor
    below: Tensor | None = None

    def select(self, rows: Tensor) -> Examples:
        """Return the examples ``rows`` (k,), in that order."""
        below = None if self.below is None else self.below[rows]
        return Examples(self.graphs.select(rows.numpy()), self.targets[rows], below)

    @property
    def tensors(self) -> TensorBatch:
        """The graphs as the network reads them."""
        return TensorBatch.of(self.graphs)


_DECISIVE = {"input", "prototypes", "validation_folds", "network", "fit", "targets"}
"""Parts of a recipe that decide the weights; the texts of the card do not."""


def claim(
    folder: Path, table: TrainingTable, recipe: TrainRecipe, splits: Sequence[Split] = (), *, resume: bool
) -> None:
    """Prepare a folder for the checkpoints of one training.

    Raises:
        UserError: The folder holds checkpoints of another training, or of this one and ``resume`` is false; or it
            cannot be written.
    """
    mark, own = folder / "identity", identity(table, recipe, splits)
    if mark.exists() and not resume:
        raise UserError(f"{folder}: holds an unfinished training; pass `resume`, or delete the folder")
    if mark.exists() and _mark(mark) != own:
        raise UserError(f"{folder}: made from other data or another recipe; use those, or delete the folder")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{folder}: cannot be written ({error.strerror}); choose another output") from None
    write_whole(mark, own)


def _mark(path: Path) -> str:
    """Read the identity of a folder; unreadable text is no identity."""
    try:
        return read_text(path)
    except (OSError, ValueError):
        return ""


def identity(table: TrainingTable, recipe: TrainRecipe, splits: Sequence[Split] = ()) -> str:
    """Hash the rows, the splits and the parts of the recipe that decide the weights (SHA-256)."""
    decisive = _DECISIVE | (
        {"teachers"} if recipe.teachers else set()
    )  # keeps the identity of recipes without teachers
    sha = hashlib.sha256(recipe.model_dump_json(include=decisive).encode())
    for split in splits:
        sha.update(split.part.tobytes())
    if table.graphs is not None:
        sha.update(table.graphs.to_bytes())
    for array in (table.targets, table.fold, table.shape, table.species, table.lattice, table.bound):
        if array is not None:
            sha.update(np.ascontiguousarray(array).tobytes())
    return sha.hexdigest()


ROWS_AT_ONCE = 512  # per batch of inference; bounds memory


@dataclass(frozen=True)
class FitTask:
    """What to fit, and how.

    Attributes:
        network: Makes an untrained network with random weights.
        how: Epochs, rates and so on.
        weights: (T,) weight of each target in the loss.
    """

    network: Callable[[], CGCNN]
    how: Fit
    weights: Tensor


@dataclass(frozen=True)
class EpochProgress:
    """The state of a fit after an epoch.

    Attributes:
        epoch: Epochs done.
        epochs: Epochs in all.
        loss: Mean training loss of the epoch, in standard deviations of the targets.
        network: The averaged network so far, in evaluation mode.
        validation: Loss of the averaged network on the validation examples; NaN without validation examples.
    """

    epoch: int
    epochs: int
    loss: float
    network: CGCNN
    validation: float = math.nan


@dataclass(frozen=True)
class Fitted:
    """The result of a fit.

    Attributes:
        last: The averaged network after the last epoch, in evaluation mode.
        best: The averaged network of the epoch with the lowest validation loss; the last without validation examples.
        history: Training loss and validation loss of each epoch; NaN without validation examples.
    """

    last: CGCNN
    best: CGCNN
    history: tuple[tuple[float, float], ...]


@dataclass
class _State:
    """Everything that changes during a fit, which is what a checkpoint holds."""

    network: CGCNN
    average: AveragedModel
    optimizer: torch.optim.Optimizer
    generator: torch.Generator
    epoch: int = 0
    best: dict[str, Tensor] = field(default_factory=dict)
    best_epoch: int = 0
    history: list[tuple[float, float]] = field(default_factory=list)

    @property
    def averaged(self) -> CGCNN:
        """The network with averaged weights, in evaluation mode."""
        return cast("CGCNN", self.average.module).eval()


def fit(
    task: FitTask,
    parts: tuple[Examples, Examples | None],
    seed: int,
    checkpoint: Path | None = None,
    report: Callable[[EpochProgress], None] = lambda _: None,
) -> Fitted:
    """Fit one network; the same arguments give the same weights, interrupted or not.

    If the task has ``patience``, the fit stops after that many epochs without a lower validation loss.

    Args:
        task: What to fit and how.
        parts: Training examples, and examples that only choose the best epoch, or None. Missing labels are NaN.
        seed: Seed of the initial weights, the order of the examples and the dropout.
        checkpoint: File to write after every epoch; if it exists, the fit resumes from it.
        report: Called after every epoch.

    Raises:
        UserError: The checkpoint is not of this training, or the loss is no longer finite.
    """
    how, (examples, validation) = task.how, parts
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        state = _start(task, examples, seed)
        if checkpoint is not None and checkpoint.exists():
            _restore(state, checkpoint)
        while state.epoch < how.epochs and not _is_stale(state, how):
            loss = _epoch(state, examples, task)
            if not math.isfinite(loss):
                raise UserError(f"training diverged in epoch {state.epoch}; lower learning_rate")
            _judge(state, loss, validation, task)
            if checkpoint is not None:
                _write(state, checkpoint)
            report(EpochProgress(state.epoch, how.epochs, loss, state.averaged, state.history[-1][1]))
        best = task.network()
    best.load_state_dict(state.best)
    return Fitted(state.averaged, best.eval(), tuple(state.history))


def _is_stale(state: _State, how: Fit) -> bool:
    return how.patience is not None and state.epoch - state.best_epoch >= how.patience


def _judge(state: _State, loss: float, validation: Examples | None, task: FitTask) -> None:
    """Add the epoch to the history, and keep its network if it is the best so far."""
    checked = math.nan if validation is None else loss_on(state.averaged, validation, task)
    earlier = min((value for _, value in state.history), default=math.inf)
    state.history.append((loss, checked))
    if validation is None or checked < earlier or not state.best:
        state.best = {name: tensor.clone() for name, tensor in state.averaged.state_dict().items()}
        state.best_epoch = state.epoch


def _start(task: FitTask, examples: Examples, seed: int) -> _State:
    how = task.how
    network = task.network()
    known = ~examples.targets.isnan()  # (n, T)
    count = known.sum(dim=0)  # (T,)
    mean = examples.targets.nan_to_num().sum(dim=0) / count
    square = torch.where(known, examples.targets - mean, 0.0).square().sum(dim=0) / count
    if network.settings.mixed is not None:  # its parts are mixed before they get a unit
        whole, *parts = network.settings.mixed[:3]
        mean[parts], square[parts] = mean[whole].clone(), square[whole].clone()
    number = ~binary_columns(network.settings)
    network.target_mean.copy_(torch.where(number, mean, 0.0))
    network.target_std.copy_(torch.where(number & (square > 0), square.sqrt(), 1.0))
    steps = how.epochs * math.ceil(len(examples.targets) / how.batch_size)
    decay = min(how.average, max(0.0, 1 - 5 / steps))  # otherwise a short training would stay near its start
    average = AveragedModel(network, multi_avg_fn=_moving_average(decay), use_buffers=True)
    optimizer = torch.optim.AdamW(network.parameters(), lr=how.learning_rate, weight_decay=how.weight_decay, fused=True)
    return _State(network, average, optimizer, torch.Generator().manual_seed(seed))


def _moving_average(decay: float) -> Callable[[Any, Any, Any], None]:
    def update(averages: list[Tensor], current: list[Tensor], _: Tensor) -> None:
        for average, tensor in zip(averages, current, strict=True):
            if average.is_floating_point():
                average.lerp_(tensor, 1 - decay)

    return torch.no_grad()(update)


def _epoch(state: _State, examples: Examples, task: FitTask) -> float:
    """Pass over the examples once in random order and return the mean loss."""
    n, how = len(examples.targets), task.how
    batches = torch.randperm(n, generator=state.generator).tensor_split(math.ceil(n / how.batch_size))
    total = 0.0
    state.network.train()
    for step, rows in enumerate(batches):
        rate = how.learning_rate * schedule((state.epoch + step / len(batches)) / how.epochs, how.warm_up)
        for group in state.optimizer.param_groups:
            group["lr"] = rate
        loss = masked_loss(state.network, examples, rows, task)
        state.optimizer.zero_grad()
        torch.autograd.backward(loss)
        state.optimizer.step()
        state.average.update_parameters(state.network)
        total += float(loss.detach()) * len(rows)
    state.epoch += 1
    return total / n


def schedule(done: float, warm_up: float) -> float:
    """Return the share of the peak rate after a share ``done`` of the training: a line up, then a cosine to zero."""
    if done < warm_up:
        return 0.04 + 0.96 * done / warm_up
    return 0.5 * (1 + math.cos(math.pi * (done - warm_up) / (1 - warm_up)))


def masked_loss(network: CGCNN, examples: Examples, rows: Tensor, task: FitTask) -> Tensor:
    """Compute the loss of the network on some rows of the examples."""
    some = examples.select(rows)
    return _loss(network, network.scaled(some.tensors), some, task)


@torch.inference_mode()
def loss_on(network: CGCNN, examples: Examples, task: FitTask) -> float:
    """Compute the loss on all examples, in batches of bounded size."""
    parts = torch.split(torch.arange(len(examples.graphs)), ROWS_AT_ONCE)
    scaled = torch.cat([network.scaled(examples.select(rows).tensors) for rows in parts])  # (n, T)
    return float(_loss(network, scaled, examples, task))


@torch.inference_mode()
def answers(network: CGCNN, graphs: GraphBatch) -> Tensor:
    """Predict targets (n, T) of n graphs in their units, in batches of bounded size."""
    parts = torch.split(torch.arange(len(graphs)), ROWS_AT_ONCE)
    return torch.cat([network(TensorBatch.of(graphs.select(rows.numpy()))) for rows in parts])


def _loss(network: CGCNN, scaled: Tensor, examples: Examples, task: FitTask) -> Tensor:
    """Compute the loss of each target over its known labels, and sum them with the targets' weights.

    The loss is the mean absolute error of a number in standard deviations, times `Examples.below` where the prediction
    is lower than the label, and the cross entropy of a binary target.
    """
    labels = (examples.targets - network.target_mean) / network.target_std  # (n, T)
    known = ~labels.isnan()
    labels = labels.nan_to_num()
    error = torch.where(known, scaled - labels, 0.0)  # (n, T)
    if examples.below is not None:
        error = torch.where(error < 0, examples.below * error, error)
    error = error.abs()
    if network.settings.binary:
        entropy = functional.binary_cross_entropy_with_logits(scaled, labels.clamp(0, 1), reduction="none")  # (n, T)
        error = torch.where(binary_columns(network.settings), torch.where(known, entropy, 0.0), error)
    return (error.sum(dim=0) / known.sum(dim=0).clamp(min=1)) @ task.weights


def binary_columns(settings: Settings) -> Tensor:
    """Return (T,) bool, True for binary targets."""
    return torch.tensor([name in settings.binary for name in settings.targets])


def _write(state: _State, path: Path) -> None:
    """Write the checkpoint atomically, so that a kill leaves the old one or the new one."""
    content = {
        "network": state.network.state_dict(),
        "average": state.average.state_dict(),
        "optimizer": state.optimizer.state_dict(),
        "order": state.generator.get_state(),
        "dropout": torch.get_rng_state(),
        "epoch": state.epoch,
        "best": state.best,
        "best_epoch": state.best_epoch,
        "history": state.history,
    }
    buffer = io.BytesIO()
    torch.save(content, buffer)
    write_whole(path, buffer.getvalue())


def _restore(state: _State, path: Path) -> None:
    try:
        with open_regular(path) as file:
            content: dict[str, Any] = torch.load(file, weights_only=True)
        state.network.load_state_dict(content["network"])
        state.average.load_state_dict(content["average"])
        state.optimizer.load_state_dict(content["optimizer"])
        state.generator.set_state(content["order"])
        torch.set_rng_state(content["dropout"])
        state.epoch, state.best_epoch = content["epoch"], content["best_epoch"]
        state.best, state.history = content["best"], content["history"]
    except Exception as error:  # noqa: BLE001  # torch.load documents no set of errors for damaged files
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise UserError(f"{path}: not a checkpoint of this training ({reason}); delete it to start over") from None
