"""The files that a candidate, a crystal and a training pass through, as found by running them.

    python docs/walks.py        prints the lists of `docs/architecture.md`

Each is run twice, and the files are those in which code runs the second time: what is loaded and worked out once, such
as a model or tables of radii, is not on anybody's way.
"""

import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import FrameType

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))
PEROVSKITE = """data_SrTiO3
_cell_length_a 3.905
_cell_length_b 3.905
_cell_length_c 3.905
_cell_angle_alpha 90
_cell_angle_beta 90
_cell_angle_gamma 90
loop_
_space_group_symop_operation_xyz
'x,y,z'
loop_
_atom_site_label
_atom_site_type_symbol
_atom_site_fract_x
_atom_site_fract_y
_atom_site_fract_z
_atom_site_occupancy
Sr1 Sr 0 0 0 1
Ti1 Ti 0.5 0.5 0.5 1
O1 O 0.5 0.5 0 1
O2 O 0.5 0 0.5 1
O3 O 0 0.5 0.5 1
"""


def files_run(work: Callable[[], object]) -> list[str]:
    """The project's files in which code runs, in the order of their first call, leaves and surfaces left out."""
    seen: dict[str, None] = {}

    def note(frame: FrameType, event: str, _: object) -> None:
        path = Path(frame.f_code.co_filename)
        if event == "call" and path.is_relative_to(ROOT) and frame.f_code.co_name != "<module>":
            name = path.relative_to(ROOT).as_posix()
            if name.startswith(("cgcnn/", "screening/")):
                seen.setdefault(name)

    sys.setprofile(note)
    try:
        work()
    finally:
        sys.setprofile(None)
    return list(seen)


def candidate() -> Callable[[], object]:
    """From a block of a plan to a row of the ranked CSV."""
    from screening.candidates.kind import read_columns  # noqa: PLC0415
    from screening.engine.block import Block  # noqa: PLC0415
    from screening.engine.score import load_model, score_block  # noqa: PLC0415
    from screening.plan import make_plan  # noqa: PLC0415
    from screening.recipe import make_recipe  # noqa: PLC0415
    from screening.results.ranking import rank  # noqa: PLC0415
    from screening.results.tables import write_ranking  # noqa: PLC0415
    from screening.store import Run, write_block  # noqa: PLC0415

    sites = {"a": ("Sr", "Ba"), "b": ("Ti", "Zr"), "x": ("O",)}
    plan = make_plan(make_recipe(kind="perovskites", filters=("charge",), model="castelli", **sites))
    model, run = load_model(plan), Run.create("walk.zarr", plan.header(2))

    def way() -> None:
        for number in (0, 1):
            block = Block(number, 2 * number, 2 * number + 2)
            result = score_block(plan, model, block)
            run.commit(write_block(run.target, block.start, result.columns, failures=result.failures))
        ranking = rank((rows.start, dict(rows.columns)) for rows in run.blocks(read_columns(plan.candidates)))
        write_ranking(ranking, plan.candidates, Path("walk.csv"))

    return way


def crystal() -> Callable[[], object]:
    """From a CIF file to its row of predictions."""
    from cgcnn.data.build import Builder, Rule  # noqa: PLC0415
    from cgcnn.data.read import read  # noqa: PLC0415
    from cgcnn.inference.predict import predict_samples, write_predictions  # noqa: PLC0415
    from cgcnn.models.files import load  # noqa: PLC0415

    Path("one.cif").write_text(PEROVSKITE, encoding="utf-8")
    model = load("formation-energy")

    def way() -> None:
        samples = read(Path("one.cif"))
        found = predict_samples(model, samples, Builder(Rule.of(model.settings)))
        names = [sample.id for sample in samples]
        write_predictions(Path("one.csv"), names, found.estimates["formation_energy"], spread=True)

    return way


def main() -> None:
    """Print the files of each way, in the order in which they are met."""
    os.chdir(tempfile.mkdtemp())
    for prepare in (candidate, crystal):
        way = prepare()
        way()
        files = files_run(way)
        print(f"{prepare.__doc__} {len(files)} files: " + ", ".join(f"`{name}`" for name in files) + ".\n")


if __name__ == "__main__":
    main()
