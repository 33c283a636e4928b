"""Checkpoints of the published code (txie-93/cgcnn) as models of this library.

The published network is ours with other names: a product with v_i ⊕ v_j ⊕ u is a sum of three products, and the log
softmax of two outputs is the sigmoid of their difference. What differs is the graph; see `cgcnn.graphs.graph`.
"""

from __future__ import annotations

import json
import os
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from cgcnn import __version__
from cgcnn.elements import MAX_Z
from cgcnn.errors import UserError
from cgcnn.files import SMALL, open_regular, read_regular
from cgcnn.models.card import Card, Metric, Target
from cgcnn.models.model import Model
from cgcnn.network.reference import CGCNN, weights
from cgcnn.network.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterable

    from torch import Tensor

STEP = 0.2  # Å, between the Gaussians of the published code; also their width
_UNITS = {
    "formation_energy_per_atom": "eV/atom",
    "final_energy_per_atom": "eV/atom",
    "band_gap": "eV",
    "efermi": "eV",
    "bulk_moduli": "log10(GPa)",
    "shear_moduli": "log10(GPa)",
}
_WEAKNESSES = (
    "Neighbours are cut at the twelfth as in the published code: of equally distant ones, the order decides.",
    "Published element vectors are equal for some pairs, such as La and Ce: it cannot tell these elements apart.",
    "Trained on relaxed crystals: not for ideal or guessed geometries.",
)


@dataclass(frozen=True)
class Checkpoint:
    """What a published checkpoint holds.

    Attributes:
        path: The file.
        state: Tensors by the published names.
        mean: Of the training targets.
        std: Of the training targets.
        arguments: The options of the training's command line.
        best: The best validation error (or AUC) in training; NaN where unknown.
    """

    path: Path
    state: dict[str, Tensor]
    mean: float
    std: float
    arguments: dict[str, Any]
    best: float

    @property
    def classifies(self) -> bool:
        """Whether it tells class 1 from class 0."""
        return bool(self.arguments.get("task") == "classification")

    @property
    def target(self) -> str:
        """Name of the property, as far as the checkpoint tells it: `target` otherwise."""
        options = self.arguments.get("data_options") or []
        return str(options[2]) if len(options) > 2 else "target"


def read_checkpoint(path: str | Path) -> Checkpoint:
    """Read a ``.pth.tar`` of the published code; nothing in it is ever executed (``weights_only``).

    Raises:
        UserError: No such file, or not such a checkpoint.
    """
    file = Path(path)
    try:
        _check_size(file)
        with torch.serialization.safe_globals(_numpy_scalars()):
            content = torch.load(file, map_location="cpu", weights_only=True)
        _check_tensors(file, (*content["state_dict"].values(), *content["normalizer"].values()))
        checkpoint = Checkpoint(
            path=file,
            state={str(name): tensor.float() for name, tensor in content["state_dict"].items()},
            mean=float(content["normalizer"]["mean"]),
            std=float(content["normalizer"]["std"]),
            arguments=dict(content["args"]),
            best=float(content.get("best_mae_error", np.nan)),
        )
    except UserError:
        raise
    except OSError as error:
        raise UserError(f"{file}: cannot be read ({error.strerror})") from None
    except Exception as error:  # noqa: BLE001  # torch.load documents no set of errors for damaged files
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise UserError(f"{file}: not a checkpoint of the published code ({reason}); expected its .pth.tar") from None
    _check(checkpoint)
    return checkpoint


def _check_size(file: Path) -> None:
    """Refuse what would fill the memory before it can be looked at: checkpoints are not compressed."""
    with open_regular(file) as opened:
        size = os.fstat(opened.fileno()).st_size
        if zipfile.is_zipfile(opened):
            inside = sum(member.file_size for member in zipfile.ZipFile(opened).infolist())
            if inside > 2 * size + SMALL:
                raise UserError(f"{file}: {size:,} bytes that unpack to {inside:,}; no checkpoint does")


def _check_tensors(file: Path, values: Iterable[object]) -> None:
    """Refuse a tensor that is larger than what it holds: copied, it would fill the memory."""
    for tensor in values:
        if isinstance(tensor, torch.Tensor) and tensor.nbytes > tensor.untyped_storage().nbytes():
            raise UserError(
                f"{file}: has a tensor of {tensor.nbytes:,} bytes that holds far fewer; no training makes it"
            )


def _check(checkpoint: Checkpoint) -> None:
    """Refuse numbers that would make every prediction NaN or the same: those of a training that failed."""
    for name, tensor in checkpoint.state.items():
        if not tensor.isfinite().all():
            raise UserError(f"{checkpoint.path}: tensor {name} has numbers that are not finite; its training failed")
        if name.endswith("running_var") and tensor.min() < 0:
            raise UserError(f"{checkpoint.path}: tensor {name} has negative variances; the file is damaged")
    if not (np.isfinite(checkpoint.mean) and np.isfinite(checkpoint.std) and checkpoint.std > 0):
        raise UserError(
            f"{checkpoint.path}: its training targets have the mean {checkpoint.mean:g} and the deviation "
            f"{checkpoint.std:g}; a model needs finite ones, and a deviation above 0"
        )


def _numpy_scalars() -> list[Any]:
    """What some of the published files need besides tensors: a NumPy float under its old and its new address."""
    scalar = np.float64(0).__reduce__()[0]
    names = [f"numpy.{core}.multiarray.scalar" for core in ("core", "_core")]
    return [*((scalar, name) for name in names), np.dtype, type(np.dtype(np.float64))]


def read_atom_init(path: str | Path) -> Tensor:
    """Element vectors (101, F) float32 of an ``atom_init.json``; NaN for elements that it lacks.

    Raises:
        UserError: No such file, or not element vectors.
    """
    file = Path(path)
    try:
        vectors = {
            int(key): np.array(value, dtype=np.float32)
            for key, value in json.loads(read_regular(file, 4 * SMALL)).items()
        }
        features = np.full((MAX_Z + 1, len(next(iter(vectors.values())))), np.nan, dtype=np.float32)
        features[0] = 0
        for number, vector in vectors.items():
            if 1 <= number <= MAX_Z:
                features[number] = vector
    except OSError as error:
        raise UserError(f"{file}: cannot be read ({error.strerror}); pass the data set's atom_init.json") from None
    except (ValueError, TypeError, AttributeError, StopIteration, RecursionError) as error:
        raise UserError(f"{file}: not element vectors ({error}); expected atomic number → list of numbers") from None
    if any(not np.isfinite(vector).all() for vector in vectors.values()):
        raise UserError(f"{file}: not element vectors (not all of them are finite); expected those of the training")
    return torch.from_numpy(features)


def import_model(checkpoint: Checkpoint, features: Tensor, name: str) -> Model:
    """The checkpoint as a model that predicts the same.

    Args:
        checkpoint: From `read_checkpoint`.
        features: (101, F) element vectors that it was trained with, from `read_atom_init`.
        name: What the model is to be called.

    Raises:
        UserError: The element vectors or the tensors do not fit.
    """
    try:
        settings = _settings(checkpoint)
        about = _card(checkpoint, settings, name)
    except (IndexError, TypeError, ValueError) as error:  # ValueError: those of pydantic, too
        reason = " ".join(str(error).split())
        raise UserError(f"{checkpoint.path}: not the published network ({reason})") from None
    width = checkpoint.state["embedding.weight"].shape[1]
    if features.shape[1] != width:
        raise UserError(
            f"{checkpoint.path}: trained on element vectors of {width} numbers, `atom_init` has {features.shape[1]}; "
            "pass the atom_init.json of its training"
        )
    network = CGCNN(settings, features)
    try:
        network.load_state_dict(_renamed(checkpoint, network))
    except (KeyError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{checkpoint.path}: not the published network ({reason})") from None
    return Model(about, [weights(network)])


def _settings(checkpoint: Checkpoint) -> Settings:
    state, arguments = checkpoint.state, checkpoint.arguments
    if arguments.get("enable_tanh"):
        raise UserError(f"{checkpoint.path}: trained with enable_tanh, which only one branch of the code knew")
    try:
        width = state["embedding.weight"].shape[0]
        hidden = state["conv_to_fc.weight"].shape[0]
        gaussians = state["convs.0.fc_full.weight"].shape[1] - 2 * width
    except KeyError as error:
        raise UserError(f"{checkpoint.path}: not the published network (no tensor {error})") from None
    target, reach = checkpoint.target, (gaussians - 1) * STEP
    radius = float(arguments.get("radius", reach))
    if abs(radius - reach) > 1e-6:
        raise UserError(
            f"{checkpoint.path}: its Gaussians end at {reach:g} Å, its radius is {radius:g} Å: not supported"
        )
    return Settings(
        targets=(target,),
        width=width,
        layers=sum(name.endswith("fc_full.weight") for name in state),
        hidden=hidden,
        hidden_layers=1 + sum(name.startswith("fcs.") and name.endswith(".weight") for name in state),
        gaussians=gaussians,
        radius=radius,
        neighbours=int(arguments.get("max_num_nbr", 12)),
        graphs="original",
        binary=(target,) if checkpoint.classifies else (),
    )


def _renamed(checkpoint: Checkpoint, network: CGCNN) -> dict[str, Tensor]:
    """The checkpoint's tensors under our names; those that it has none of are as in a new network."""
    state, width = checkpoint.state, network.settings.width
    ours = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    ours |= {"embed.weight": state["embedding.weight"], "embed.bias": state["embedding.bias"]}
    for i in range(network.settings.layers):
        theirs, mine = f"convs.{i}.", f"convolutions.{i}."
        receiver, sender, distance = torch.split(
            state[theirs + "fc_full.weight"], [width, width, network.settings.gaussians], dim=1
        )
        ours |= {mine + "receiver.weight": receiver, mine + "receiver.bias": state[theirs + "fc_full.bias"]}
        ours |= {mine + "sender.weight": sender, mine + "distance.weight": distance}
        for bn, norm in (("bn1.", "edge_norm."), ("bn2.", "node_norm.")):
            ours |= {mine + norm + new: state[theirs + bn + old] for old, new in _NORM.items()}
    layers = ["conv_to_fc", *(f"fcs.{i}" for i in range(network.settings.hidden_layers - 1))]
    for i, layer in enumerate(layers):
        ours |= {f"hidden.{i}.{part}": state[f"{layer}.{part}"] for part in ("weight", "bias")}
    ours |= {f"output.{part}": _output(checkpoint, state[f"fc_out.{part}"]) for part in ("weight", "bias")}
    if not checkpoint.classifies:
        ours |= {"target_mean": torch.tensor([checkpoint.mean]), "target_std": torch.tensor([checkpoint.std])}
    return ours


_NORM = {"weight": "scale", "bias": "shift", "running_mean": "mean", "running_var": "variance"}


def _output(checkpoint: Checkpoint, published: Tensor) -> Tensor:
    """One row for one target; of a classifier's two rows, the difference."""
    return published[1:] - published[:1] if checkpoint.classifies else published


def _card(checkpoint: Checkpoint, settings: Settings, name: str) -> Card:
    target, arguments = settings.targets[0], checkpoint.arguments
    data = Path(str((arguments.get("data_options") or ["not stated"])[0])).name
    size = int(arguments.get("train_size") or 0)
    unit = "probability" if checkpoint.classifies else _UNITS.get(target, "")
    best = Metric(
        metric="AUC" if checkpoint.classifies else "MAE",
        target=target,
        value=checkpoint.best,
        unit="" if checkpoint.classifies else unit,
        split="its validation set, as the checkpoint says",
        input="structure",
    )
    return Card(
        name=name,
        summary=f"Imported from {checkpoint.path.name}, a checkpoint of txie-93/cgcnn; original mode.",
        input="structure",
        targets=(
            Target(name=target, unit=unit, description="probability of class 1" if checkpoint.classifies else ""),
        ),
        label=f"{target}, as in the data",
        hull="none",
        data=data,
        split="as the checkpoint says" + (f": {size} training crystals" if size else ""),
        training_size=size,
        members=1,
        metrics=(best,) if np.isfinite(checkpoint.best) else (),
        weaknesses=_WEAKNESSES,
        recipe=f"cgcnn import {checkpoint.path.name} --atom-init atom_init.json -o {name}",
        licence="that of the checkpoint",
        settings=settings,
        version=__version__,
    )
