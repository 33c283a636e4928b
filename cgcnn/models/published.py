"""Checkpoints of the published code (txie-93/cgcnn) as models of this library.

The published network is ours with other names: a product with v_i ⊕ v_j ⊕ u is a sum of three products, and the log
softmax of two outputs is the sigmoid of their difference. What differs is the graph; see `cgcnn.graphs.graph`.
"""

from __future__ import annotations

import codecs
import io
import json
import pickletools
import re
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from cgcnn import __version__
from cgcnn.elements import MAX_Z
from cgcnn.errors import UserError
from cgcnn.files import SMALL, read_regular, read_text
from cgcnn.models.arrays import shapes, wrong_with_card
from cgcnn.models.card import Card, Metric, Target
from cgcnn.models.model import Model
from cgcnn.network.reference import CGCNN, weights
from cgcnn.network.settings import Settings

if TYPE_CHECKING:
    from torch import Tensor

LARGEST = 256 * 2**20  # bytes of a checkpoint; those that were published have some hundred thousand
PICKLED = 2 * 2**20  # bytes of what is in it beside numbers
ENTRIES = 10_000  # tensors and the like
FEATURES = 10_000  # numbers that describe an element
TEXT = 10_000  # characters of an option or a name
COPIES = 2**27  # calls times bytes of a pickle: each call may copy all of it. Ten layers with Adam come to 2**24
GLOBALS = re.compile(
    r"collections OrderedDict|torch._utils _rebuild_(tensor|tensor_v2|parameter)|torch \w+Storage"
    r"|torch (device|Size|b?float\d*|double|half|u?int\d+|long|bool)|_codecs encode"
    r"|numpy\._?core\.multiarray scalar|numpy dtype"
)
"""What a checkpoint may name. Some of what `weights_only` allows beside it allocates what the file declares."""
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
    """The contents of a published checkpoint.

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
        """Whether it separates class 1 from class 0."""
        return bool(self.arguments.get("task") == "classification")

    @property
    def target(self) -> str:
        """Name of the property if the checkpoint gives it, else `target`."""
        options = self.arguments.get("data_options") or []
        return str(options[2]) if len(options) > 2 else "target"


def read_checkpoint(path: str | Path) -> Checkpoint:
    """Read a ``.pth.tar`` of the published code; nothing in it is ever executed (``weights_only``).

    Raises:
        UserError: No such file, or not such a checkpoint.
    """
    file = Path(path)
    try:
        data = read_regular(file, LARGEST)
        content = _loaded(data)
        checkpoint = Checkpoint(
            path=file,
            state=_tensors(content["state_dict"], len(data)),
            mean=float(content["normalizer"]["mean"]),
            std=float(content["normalizer"]["std"]),
            arguments=_options(content["args"]),
            best=float(content.get("best_mae_error", np.nan)),
        )
    except OSError as error:
        raise UserError(f"{file}: cannot be read ({error.strerror})") from None
    except Exception as error:  # noqa: BLE001  # torch.load documents no set of errors for damaged files
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise UserError(f"{file}: not a checkpoint of the published code ({reason}); expected its .pth.tar") from None
    _check(checkpoint)
    return checkpoint


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


def _loaded(data: bytes) -> Any:
    """Load a checkpoint, which is a zip file or, before torch 1.6, pickles and then numbers.

    What a few bytes may declare is refused before torch allocates it.

    Raises:
        ValueError: It holds what no checkpoint needs, or more than its size.
        Exception: Whatever else torch finds; it documents no set of errors.
    """
    if data.startswith(b"PK\x03\x04"):
        data = _plain_zip(data)
    else:
        stream = io.BytesIO(data[:PICKLED])
        for _ in range(5):  # a magic number, the protocol, the system, the content, and the names of its storages
            _check_pickle(stream)
    allowed: list[Any] = [(_number, f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")]
    with torch.serialization.safe_globals([*allowed, (_Kind, "numpy.dtype")]):
        return torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)


def _plain_zip(data: bytes) -> bytes:
    """Copy the files to another zip file, as torch writes them: not compressed, none twice or within another."""
    if data.count(b"PK\x01\x02") > ENTRIES:
        raise ValueError(f"more than {ENTRIES:,} files in it")
    plain = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as packed, zipfile.ZipFile(plain, "w") as unpacked:
        infos = packed.infolist()
        stored = all(i.compress_type == zipfile.ZIP_STORED and i.file_size == i.compress_size for i in infos)
        if not stored or sum(info.file_size for info in infos) > len(data):
            raise ValueError("it is compressed, or its files overlap")
        if len({info.filename for info in infos}) < len(infos):
            raise ValueError("a file is in it twice")
        for info in infos:
            content = packed.read(info)
            if info.filename.endswith(".pkl"):
                if len(content) > PICKLED:
                    raise ValueError(f"{info.filename} has more than {PICKLED:,} bytes")
                _check_pickle(io.BytesIO(content))
            unpacked.writestr(info.filename, content)
    return plain.getvalue()


def _check_pickle(stream: io.BytesIO) -> None:
    """Raise ValueError unless a pickle names only what checkpoints need, and cannot grow as it is read."""
    start, calls, encodes, transform = stream.tell(), 0, False, ""
    for opcode, argument, _ in pickletools.genops(stream):
        calls += opcode.name == "REDUCE"
        if opcode.name == "GLOBAL":
            encodes = encodes or argument == "_codecs encode"
            if not GLOBALS.fullmatch(str(argument)):
                raise ValueError(f"it needs {argument}, which no checkpoint of that code does")
        elif isinstance(argument, (str, bytes)):
            if len(argument) > TEXT:
                raise ValueError(f"a text of more than {TEXT:,} characters")
            if isinstance(argument, str) and _makes_bytes_of_bytes(argument):
                transform = argument
    if encodes and transform:  # again and again, as hex does, it doubles what is there
        raise ValueError(f"it encodes, perhaps as {transform}, which no checkpoint of that code does")
    if calls * (stream.tell() - start) > COPIES:
        raise ValueError(f"{calls:,} calls, more than any checkpoint of that code needs")


def _makes_bytes_of_bytes(codec: str) -> bool:
    """Tell whether a text names a codec such as hex or base64, whose output can be encoded again."""
    try:
        codecs.lookup(codec)
    except (LookupError, ValueError):  # ValueError: a NUL
        return False
    try:
        "".encode(codec)
    except (LookupError, ValueError):
        return True
    return False


class _Kind:
    """A stand-in for NumPy's type of a number, which some published files name."""

    def __init__(self, name: str, *_: object) -> None:
        self.name = name

    def __setstate__(self, state: object) -> None:
        """Ignore byte order and the like: all of these files are little-endian."""


def _number(kind: _Kind, content: bytes) -> float:
    """Make a number as NumPy pickles one."""
    if kind.name not in {"f4", "f8", "i4", "i8"}:
        raise ValueError(f"a NumPy object of type {kind.name}")
    return float(np.frombuffer(content, f"<{kind.name}", count=1)[0])


def _tensors(state: Any, size: int) -> dict[str, Tensor]:
    """Read the tensors as float32, if a file of so many bytes can hold them: views may declare any size."""
    tensors: dict[str, Tensor] = {str(name): tensor for name, tensor in state.items()}
    if any(tensor.layout is not torch.strided or tensor.device.type != "cpu" for tensor in tensors.values()):
        raise ValueError("a tensor is not plain numbers")
    if sum(tensor.numel() * tensor.element_size() for tensor in tensors.values()) > size:
        raise ValueError("its tensors declare more numbers than the file holds")
    return {name: tensor.detach().float() for name, tensor in tensors.items()}


def _options(arguments: Any) -> dict[str, Any]:
    """Read the options of the command line that are texts, numbers, or lists of texts."""
    plain = (str, int, float, bool)
    return {
        name: value
        for name, value in arguments.items()
        if isinstance(value, plain) or (isinstance(value, list) and all(isinstance(text, str) for text in value))
    }


def read_atom_init(path: str | Path) -> Tensor:
    """Read element vectors (101, F) float32 of an ``atom_init.json``; NaN for missing elements.

    Raises:
        UserError: No such file, or not element vectors.
    """
    file = Path(path)
    try:
        content = json.loads(read_text(file, SMALL))
        vectors = {int(key): np.array(value, dtype=np.float32) for key, value in content.items()}
        if any(vector.size > FEATURES for vector in vectors.values()):
            raise ValueError(f"a vector of more than {FEATURES:,} numbers")  # noqa: TRY301  # one message for all
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
    """Convert a checkpoint to a model that predicts the same.

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
    if wrong := wrong_with_card(about):
        raise UserError(f"{checkpoint.path}: no such model is possible ({wrong})")
    try:
        theirs = _renamed(checkpoint, settings)
        _check_shapes(theirs, shapes(settings, width))  # before a network of that size is made
        network = CGCNN(settings, features)
        network.load_state_dict(network.state_dict() | theirs)
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


def _check_shapes(theirs: dict[str, Tensor], expected: dict[str, tuple[int, ...]]) -> None:
    """Raise KeyError or RuntimeError unless the tensors fit the network that the settings describe."""
    for name, shape in expected.items():
        if name not in _OWN and tuple(theirs[name].shape) != shape:
            raise RuntimeError(f"{name} has the shape {tuple(theirs[name].shape)}, not {shape}")


_OWN = {"element_features", "learned", "centres", "target_mean", "target_std"}


def _renamed(checkpoint: Checkpoint, settings: Settings) -> dict[str, Tensor]:
    """Rename the tensors of a checkpoint to our names."""
    state, width = checkpoint.state, settings.width
    ours = {"embed.weight": state["embedding.weight"], "embed.bias": state["embedding.bias"]}
    for i in range(settings.layers):
        theirs, mine = f"convs.{i}.", f"convolutions.{i}."
        receiver, sender, distance = torch.split(
            state[theirs + "fc_full.weight"], [width, width, settings.gaussians], dim=1
        )
        ours |= {mine + "receiver.weight": receiver, mine + "receiver.bias": state[theirs + "fc_full.bias"]}
        ours |= {mine + "sender.weight": sender, mine + "distance.weight": distance}
        for bn, norm in (("bn1.", "edge_norm."), ("bn2.", "node_norm.")):
            ours |= {mine + norm + new: state[theirs + bn + old] for old, new in _NORM.items()}
    layers = ["conv_to_fc", *(f"fcs.{i}" for i in range(settings.hidden_layers - 1))]
    for i, layer in enumerate(layers):
        ours |= {f"hidden.{i}.{part}": state[f"{layer}.{part}"] for part in ("weight", "bias")}
    ours |= {f"output.{part}": _output(checkpoint, state[f"fc_out.{part}"]) for part in ("weight", "bias")}
    if not checkpoint.classifies:
        ours |= {"target_mean": torch.tensor([checkpoint.mean]), "target_std": torch.tensor([checkpoint.std])}
    return ours


_NORM = {"weight": "scale", "bias": "shift", "running_mean": "mean", "running_var": "variance"}


def _output(checkpoint: Checkpoint, published: Tensor) -> Tensor:
    """Reduce the output to one row for one target: the difference of a classifier's two rows."""
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
