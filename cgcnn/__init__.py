"""Crystal graph convolutional neural networks for screening: graphs, models, training, shipped weights.

    import cgcnn

    model = cgcnn.load("castelli-relaxed")
    table = cgcnn.predict(["a.cif", structure], model)     # of pandas; its units are in table.attrs["units"]
    best = cgcnn.train("data.json", target="gap")
    best.save("gap")
    cgcnn.load("mp").on("double-perovskite").predict(A=["Cs"], B=["Ag", "Bi"], X=["Cl"])

Errors raise `cgcnn.UserError` with a one-line message. Importing this package imports nothing heavy.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from cgcnn.errors import UserError

if TYPE_CHECKING:
    from cgcnn.inference.predict import predict
    from cgcnn.models.files import load
    from cgcnn.models.model import Model
    from cgcnn.training.data import Division
    from cgcnn.training.train import Trained, train

__version__ = "0.1.0"
__all__ = ["Division", "Model", "Trained", "UserError", "load", "predict", "train"]
_PLACES = {
    "Division": "training.data",
    "Model": "models.model",
    "Trained": "training.train",
    "load": "models.files",
    "predict": "inference.predict",
    "train": "training.train",
}


def __getattr__(name: str) -> Any:
    if name in _PLACES:
        return getattr(import_module(f"cgcnn.{_PLACES[name]}"), name)
    raise AttributeError(f"module 'cgcnn' has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*globals(), *_PLACES]
