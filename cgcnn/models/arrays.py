"""The arrays of a model: their names in a file, the digest over them, and what can be wrong with them and the card."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from cgcnn.elements import MAX_Z
from cgcnn.graphs.prototype import PROTOTYPES
from cgcnn.models.domain import FINGERPRINT
from cgcnn.network.settings import ROLES, Settings

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from cgcnn.models.card import Card
    from cgcnn.models.domain import Domain, Likeness
    from cgcnn.network.kernel import Weights

    Arrays = Mapping[str, NDArray[np.generic]]
    Shape = tuple[int, ...]


_OPTIONAL = frozenset({"labels", "bounds", "ids"})  # arrays of a domain that older models do not have
_LARGEST = {
    "width": 4_096,
    "layers": 100,
    "hidden": 8_192,
    "hidden_layers": 100,
    "gaussians": 1_000,
    "radius": 30,
    "neighbours": 1_000,
    "sites": 1_000,
}
_SMALLEST = {"layers": 0, "hidden_layers": 0, "sites": 0, "gaussians": 2}  # others are at least 1
_MEMBERS = 1_000
_DOMAIN = {"trained": "bool", "known": "int64", "lattice": "float32", "lattice_range": "float32", "distance": "float32"}


def named_arrays(members: Sequence[Weights], domain: Domain | Likeness | None) -> dict[str, NDArray[Any]]:
    """Return every array of a model by its name in the file."""
    named = {f"members.{i}.{name}": array for i, member in enumerate(members) for name, array in member.items()}
    arrays = {} if domain is None else vars(domain)
    parts = {f"domain.{name}": array for name, array in arrays.items() if name not in _OPTIONAL or len(array)}
    return {name: np.ascontiguousarray(array) for name, array in (named | parts).items()}


def digest(card: Card, members: Sequence[Weights], domain: Domain | Likeness | None) -> str:
    """Return the SHA-256 over what decides predictions: settings, calibrations, arrays with name, type and shape.

    Settings at their defaults are left out, so that adding a setting does not change the digest of older models.
    """
    defaults = asdict(Settings(targets=()))
    chosen = {name: value for name, value in asdict(card.settings).items() if value != defaults[name]}
    if card.calibrations:
        chosen["calibrations"] = [
            (c.target, c.scale, c.floor, c.factors, *((c.support, c.anions) if c.support else ()))
            for c in card.calibrations
        ]
    if card.odds:
        chosen["odds"] = [(o.target, o.power, o.factor) for o in card.odds]
    least = [(t.name, t.minimum) for t in card.targets if t.minimum is not None]
    if least:
        chosen["minima"] = least
    sha = hashlib.sha256(json.dumps(chosen, sort_keys=True).encode())
    arrays = named_arrays(members, domain)
    for name in sorted(arrays):
        sha.update(f"{name} {arrays[name].dtype.str} {arrays[name].shape}".encode())
        sha.update(arrays[name].tobytes())
    return sha.hexdigest()


def wrong_with_card(card: Card) -> str:
    """Say why no model can be as its card says; empty if one can."""
    settings = card.settings
    for name, largest in _LARGEST.items():
        value = getattr(settings, name)
        if not _SMALLEST.get(name, 1) <= value <= largest:
            return f"its card says {name} {value:g}; up to {largest:,} are possible"
    if not 1 <= card.members <= _MEMBERS:
        return f"its card says {card.members} members; 1 to {_MEMBERS:,} are possible"
    names = [target.name for target in card.targets]
    if not names or list(settings.targets) != names:
        return (
            f"its card says targets {', '.join(names) or 'none'}, its settings {', '.join(settings.targets) or 'none'}"
        )
    if wrong := _wrong_with_readout(card):
        return wrong
    unknown = [name for name in card.prototypes if name not in PROTOTYPES]
    if unknown or (card.input == "prototype") != bool(card.prototypes):
        return f"its card says the prototypes {', '.join(card.prototypes) or 'none'}; there is {', '.join(PROTOTYPES)}"
    lost = [calibration.target for calibration in card.calibrations if calibration.target not in names]
    lost += [odds.target for odds in card.odds if odds.target not in settings.binary]
    return f"its card calibrates {lost[0]}, which it does not predict" if lost else ""


def _wrong_with_readout(card: Card) -> str:
    settings = card.settings
    if settings.sites and (card.input != "prototype" or settings.pooling == "linear"):
        return "its card says a readout of sites, which only prototypes have, and not with linear pooling"
    if settings.mixture:
        kinds = [name in settings.binary for name in settings.mixture if name in settings.targets]
        if kinds != [False, False, False, True] or settings.pooling == "linear":
            return f"its card says a mixture of {', '.join(settings.mixture)}; it has three numbers and a yes or no"
    return ""


def wrong_with_member(member: Arrays, settings: Settings) -> str:
    """Say why these arrays are not those of a network; empty if they are."""
    features = member.get("element_features", np.empty(0))
    expected = shapes(settings, features.shape[1] if features.ndim == 2 else 0)
    lacking, foreign = [n for n in expected if n not in member], [n for n in member if n not in expected]
    if lacking or foreign:
        return f"no array {lacking[0]}" if lacking else f"a foreign array {foreign[0]}"
    for name, shape in expected.items():
        array = member[name]
        if array.shape != shape or array.dtype != np.float32:
            return f"{name} is {array.dtype} {array.shape}, not float32 {shape}"
        if name != "element_features" and not np.isfinite(array).all():  # features are NaN for elements that lack them
            return f"{name} has numbers that are not finite"
    if (member["target_std"] <= 0).any():  # type: ignore[operator]  # float32, as was seen
        return "a target's deviation is not above 0"
    if any((array < 0).any() for name, array in member.items() if name.endswith("variance")):  # type: ignore[operator]
        return "a variance is negative"
    return ""


def wrong_with_domain(domain: Arrays, prototypes: tuple[str, ...]) -> str:
    """Say why these arrays are not the domain of a model of prototypes; empty if they are."""
    roles = len(PROTOTYPES[prototypes[0]].role_names)
    table = (roles, MAX_Z + 1)
    for name, kind in _DOMAIN.items():
        if name not in domain:
            return f"no array domain.{name}"
        array = domain[name]
        shape = {"known": (array.size,), "lattice_range": (2,)}.get(name, table)
        if array.shape != shape or array.dtype != kind:
            return f"domain.{name} is {array.dtype} {array.shape}, not {kind} {shape}"
        if name in {"lattice", "lattice_range"} and not np.isfinite(array).all():
            return f"domain.{name} has numbers that are not finite"
    for name, kind in {"labels": "float32", "bounds": "bool"}.items():
        kept = domain.get(name)
        if kept is not None and (kept.dtype != kind or kept.shape != domain["known"].shape):
            return f"domain.{name} is {kept.dtype} {kept.shape}, not {kind} {domain['known'].shape}"
    ids = domain.get("ids")
    if ids is not None and (ids.dtype != "uint8" or ids.ndim != 2 or len(ids) != len(domain["known"])):
        return f"domain.ids is {ids.dtype} {ids.shape}, not uint8 of {len(domain['known'])} rows"
    return next((f"a foreign array domain.{name}" for name in domain if name not in {*_DOMAIN, *_OPTIONAL}), "")


def wrong_with_likeness(domain: Arrays, settings: Settings) -> str:
    """Say why these arrays are not the domain of a model of structures; empty if they are."""
    centres, axes = (domain[name].shape if name in domain else () for name in ("centres", "axes"))
    if len(centres) != 2 or len(axes) != 2:
        return "no arrays domain.centres and domain.axes of two dimensions"
    width = settings.width
    expected = {"centres": (centres[0], FINGERPRINT), "mean": (width,), "axes": (axes[0], width)}
    expected |= {"rest": (1,), "reach": (2,)}
    for name, shape in expected.items():
        array = domain.get(name, np.empty(0))
        if array.shape != shape or array.dtype != np.float32 or not np.isfinite(array).all():
            return f"domain.{name} is {array.dtype} {array.shape}, not finite numbers of float32 {shape}"
    if (domain["rest"] <= 0).any() or (domain["reach"] <= 0).any():  # type: ignore[operator]  # float32, as was seen
        return "domain.rest or domain.reach is not above 0"
    return next((f"a foreign array domain.{name}" for name in domain if name not in expected), "")


def shapes(settings: Settings, features: int) -> dict[str, Shape]:
    """Return the shape of every array of a network by its name in `cgcnn.network.reference.CGCNN`."""
    s, learns = settings, settings.convolution == "edges"
    width, edges, targets = s.width, s.width if learns else s.gaussians, len(s.targets)
    found: dict[str, Shape] = {
        "element_features": (MAX_Z + 1, features),
        "learned": (MAX_Z + 1, width),
        "centres": (s.gaussians,),
        "target_mean": (targets,),
        "target_std": (targets,),
        **_linear("embed", features, width),
        **(_linear("embed_edges.0", s.gaussians, width) if learns else {}),
    }
    for i in range(s.layers):
        found |= {f"convolutions.{i}.{name}": shape for name, shape in _convolution(s, width, edges).items()}
    if s.sites:
        found |= {f"sites.{name}": shape for name, shape in _linear("embed", features, ROLES * s.sites).items()}
        found["sites.learned"] = (ROLES, MAX_Z + 1, s.sites)
    sizes = [s.readout_width, *[s.hidden] * (0 if s.pooling == "linear" else s.hidden_layers)]
    for i, (a, b) in enumerate(pairwise(sizes)):
        found |= _linear(f"hidden.{i}", a, b)
    return found | _linear("output", sizes[-1], targets)


def _convolution(settings: Settings, width: int, edges: int) -> dict[str, Shape]:
    out = 2 * width if settings.convolution == "gated" else width
    found = _linear("receiver", width, out) | {"sender.weight": (out, width), "distance.weight": (out, edges)}
    if settings.convolution == "edges":
        collect = _linear("collect", 2 * width, width)
        return found | _linear("change", width, width) | collect | _linear("node_change", width, width)
    gate = _norm("edge_norm", out) if settings.convolution == "gated" else {}
    return found | gate | _norm("node_norm", width)


def _linear(name: str, inputs: int, outputs: int) -> dict[str, Shape]:
    return {f"{name}.weight": (outputs, inputs), f"{name}.bias": (outputs,)}


def _norm(name: str, channels: int) -> dict[str, Shape]:
    return {f"{name}.{part}": (channels,) for part in ("scale", "shift", "mean", "variance")}
