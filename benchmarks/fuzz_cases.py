"""Broken, odd and hostile inputs, made from a seed: what the campaign of `fuzz.py` feeds to the two commands.

A case is a command line with the files and variables that it needs, and what must come of it: a refusal or failed rows,
or a reading that is known. Of other inputs only the manners are judged.
"""

import gzip
import io
import json
import random
import string
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

Rng = random.Random
Texts = list[str]

CUBIC = """data_SrTiO3
_cell_length_a 3.905
_cell_length_b 3.905
_cell_length_c 3.905
_cell_angle_alpha 90
_cell_angle_beta 90
_cell_angle_gamma 90
_symmetry_space_group_name_H-M 'P 1'
loop_
_symmetry_equiv_pos_as_xyz
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
SYMMETRIC = CUBIC.replace("'P 1'", "'P m -3 m'").replace("'x,y,z'\n", "'x,y,z'\n'y,z,x'\n'z,x,y'\n")
SYMMETRIC = SYMMETRIC.replace("O2 O 0.5 0 0.5 1\nO3 O 0 0.5 0.5 1\n", "")
POSCAR = (
    "SrTiO3\n1.0\n3.905 0 0\n0 3.905 0\n0 0 3.905\nSr Ti O\n1 1 3\ndirect\n0 0 0\n.5 .5 .5\n.5 .5 0\n.5 0 .5\n0 .5 .5\n"
)
XYZ = """5
Lattice="3.905 0 0 0 3.905 0 0 0 3.905" Properties=species:S:1:pos:R:3 pbc="T T T"
Sr 0 0 0
Ti 1.9525 1.9525 1.9525
O 1.9525 1.9525 0
O 1.9525 0 1.9525
O 0 1.9525 1.9525
"""
RECORD = {
    "id": "one",
    "cell": [3.905, 3.905, 3.905, 90, 90, 90],
    "species": ["Sr", "Ti", "O", "O", "O"],
    "frac": [[0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]],
}
ODD = [
    "",
    " ",
    "0",
    "-1",
    "nan",
    "inf",
    "-inf",
    "1e308",
    "1e-308",
    "9" * 400,
    "?",
    ".",
    "é",
    "\u202e",
    "\x1b[31m",
    "[red]",
]
ODD += [
    "[/2]",
    "=cmd|' /C calc'!A0",
    "$(touch pwned)",
    "`id`",
    "../../x",
    "%s%n",
    "\x00",
    "🜨",
    "'",
    '"',
    "None",
    "true",
    "{}",
]


@dataclass(frozen=True)
class Case:
    """One input.

    Attributes:
        kind: Of input.
        what: In words, for the report.
        program: The command, `screen` or `cgcnn`.
        arguments: Its command line; files are named relative to the case's directory.
        files: Name -> content; a text instead says what it is: ``fifo``, ``dir``, ``gone``, ``-> TARGET`` for a link.
        environment: Variables that are set.
        refused: Whether it is wrong for sure: then exit code 0 without a failed row is a silent acceptance.
        alone: Whether it needs a process of its own.
        base: Whose files there are beside it, before its own: "run" or "hull", see `fuzz.py`.
        reads: What of a success is looked at, see `fuzz.reading`; empty if nothing is.
        reading: What that must be.
        like: Another case whose reading it must be instead.
        needed: Whether it must be read: a refusal, or a failed row more than `reading` has, is wrong too.
        warned: Whether a warning is as good as a refusal.
    """

    kind: str
    what: str
    program: str
    arguments: tuple[str, ...]
    files: dict[str, bytes | str] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)
    refused: bool = False
    alone: bool = False
    base: str = ""
    reads: str = ""
    reading: tuple[str, ...] | None = None
    like: "Case | None" = None
    needed: bool = False
    warned: bool = False

    @property
    def key(self) -> str:
        """What tells it from another case."""
        return repr((self.program, self.arguments, sorted(self.files.items()), self.environment, self.base))


def mutated(rng: Rng, text: str, times: int = 1) -> str:
    """A text with tokens exchanged, left out, doubled or made odd, or cut short."""
    for _ in range(times):
        tokens = text.split(" ")
        at = rng.randrange(len(tokens))
        how = rng.randrange(7)
        if how == 0:
            tokens[at] = rng.choice(ODD)
        elif how == 1:
            del tokens[at]
        elif how == 2:
            tokens.insert(at, tokens[rng.randrange(len(tokens))])
        elif how == 3:
            tokens = tokens[: max(1, at)]
        elif how == 4:
            other = rng.randrange(len(tokens))
            tokens[at], tokens[other] = tokens[other], tokens[at]
        elif how == 5:
            tokens[at] = tokens[at][::-1]
        else:
            tokens[at] += rng.choice(string.printable)
        text = " ".join(tokens)
    return text


def mutated_bytes(rng: Rng, content: bytes) -> bytes:
    """Bytes with some changed, cut out or put in."""
    data = bytearray(content)
    for _ in range(rng.randrange(1, 8)):
        at = rng.randrange(len(data) or 1)
        how = rng.randrange(3)
        if how == 0 and data:
            data[at] = rng.randrange(256)
        elif how == 1:
            del data[at : at + rng.randrange(1, 40)]
        else:
            data[at:at] = rng.randbytes(rng.randrange(1, 20))
    return bytes(data)


WRONG_CIFS: dict[str, Callable[[str], str]] = {
    "occupancy 0": lambda t: t.replace("O3 O 0 0.5 0.5 1", "O3 O 0 0.5 0.5 0"),
    "occupancy -1": lambda t: t.replace("Sr1 Sr 0 0 0 1", "Sr1 Sr 0 0 0 -1"),
    "occupancy nan": lambda t: t.replace("Sr1 Sr 0 0 0 1", "Sr1 Sr 0 0 0 nan"),
    "occupancy 0.5": lambda t: t.replace("Sr1 Sr 0 0 0 1", "Sr1 Sr 0 0 0 0.5"),
    "element 0": lambda t: t.replace("Sr1 Sr", "01 0"),
    "element -Sr": lambda t: t.replace("Sr1 Sr", "-Sr1 -Sr"),
    "element Vac": lambda t: t.replace("Sr1 Sr", "Vac1 Vac"),
    "element Uuo": lambda t: t.replace("Sr1 Sr", "Uuo1 Uuo"),
    "element X": lambda t: t.replace("Sr1 Sr", "X1 X"),
    "coordinate ?": lambda t: t.replace("0.5 0.5 0.5 1", "0.5 ? 0.5 1"),
    "coordinate nan": lambda t: t.replace("0.5 0.5 0.5 1", "nan 0.5 0.5 1"),
    "coordinate word": lambda t: t.replace("0.5 0.5 0.5 1", "half 0.5 0.5 1"),
    "negative length": lambda t: t.replace("_cell_length_b 3.905", "_cell_length_b -3.905"),
    "negative angle": lambda t: t.replace("_cell_angle_beta 90", "_cell_angle_beta -90"),
    "angle 0": lambda t: t.replace("_cell_angle_beta 90", "_cell_angle_beta 0"),
    "angle 180": lambda t: t.replace("_cell_angle_beta 90", "_cell_angle_beta 180"),
    "length 0": lambda t: t.replace("_cell_length_b 3.905", "_cell_length_b 0"),
    "length 1e9": lambda t: t.replace("_cell_length_b 3.905", "_cell_length_b 1e9"),
    "length 1e30": lambda t: t.replace("_cell_length_a 3.905", "_cell_length_a 1e30"),
    "length nan": lambda t: t.replace("_cell_length_b 3.905", "_cell_length_b nan"),
    "no cell": lambda t: t.replace("_cell_length_a 3.905\n", ""),
    "no atoms": lambda t: t[: t.index("Sr1 Sr")],
    "no coordinates": lambda t: t.replace("_atom_site_fract_x\n", ""),
    "atoms on one spot": lambda t: t.replace("O2 O 0.5 0 0.5 1", "Ti2 Ti 0.5 0.5 0 1"),
    "row too short": lambda t: t.replace("O3 O 0 0.5 0.5 1", "O3 O 0 0.5"),
    "empty": lambda _: "",
    "zeros": lambda _: "\x00" * 1000,
    "a CIF of 5e6 cells": lambda t: t.replace("3.905", "1e-9"),
}


def structures(rng: Rng) -> Iterator[Case]:
    """Files of crystals, to `cgcnn predict` and `screen structures`."""
    predict = ("--model", "formation-energy", "--csv", "out.csv", "--workers", "1", "--no-cache")
    screen = ("--model", "castelli-relaxed", "--dry-run")
    for what, change in WRONG_CIFS.items():
        for base, name in ((CUBIC, "P 1"), (SYMMETRIC, "symmetric")):
            if change(base) == base:
                continue
            file = {"one.cif": change(base).encode()}
            yield Case("CIF, wrong", f"{what} ({name})", "cgcnn", ("predict", "one.cif", *predict), file, refused=True)
    files = _files_of_crystals(rng)
    while True:
        name, content = next(files)
        if rng.random() < 0.5:
            yield Case("structures", name, "cgcnn", ("predict", name, *predict), {name: content})
        else:
            yield Case("structures", name, "screen", ("structures", name, *screen), {name: content})


def _files_of_crystals(rng: Rng) -> Iterator[tuple[str, bytes]]:
    """A file in each of the formats in turn, mutated."""
    wrong_json, packed = json_records(rng), gzip.compress(CUBIC.encode())
    while True:
        texts = {
            "one.cif": mutated(rng, rng.choice([CUBIC, SYMMETRIC, CUBIC + CUBIC.replace("data_SrTiO3", "data_b")]), 3),
            "two.cif": mutated(rng, CUBIC),
            "POSCAR": mutated(rng, POSCAR, rng.randrange(1, 5)),
            "one.xyz": mutated(rng, XYZ, rng.randrange(1, 4)),
            "one.json": next(wrong_json),
            "one.jsonl": json.dumps(RECORD) + "\n" + next(wrong_json),
            "one.csv": "id,cif\n1," + json.dumps(mutated(rng, CUBIC)) + "\n" + rng.choice(ODD) + ",\n",
        }
        yield from ((name, text.encode(errors="surrogatepass")) for name, text in texts.items())
        name = rng.choice(["one.cif", "one.cif.gz", "one.jsonl", "one.xyz", "one.db", "one.csv", "one.json.xz"])
        yield name, mutated_bytes(rng, rng.choice([CUBIC.encode(), packed, json.dumps(RECORD).encode(), XYZ.encode()]))


def json_records(rng: Rng) -> Iterator[str]:
    """Records and structures with values of the wrong type, too deep, too long or missing."""
    odd: list[object] = [None, True, -1, 1e300, "x", [], {}, [[]], {"a": {}}, [None] * 3, "Sr", [1, 2, 3], float("nan")]
    while True:
        record: dict[str, object] = json.loads(json.dumps(RECORD))
        for key in rng.sample(sorted(record), rng.randrange(1, 4)):
            how = rng.randrange(3)
            if how == 0:
                del record[key]
            elif how == 1:
                record[key] = rng.choice(odd)
            elif isinstance(record[key], list):
                row = list(record[key])  # type: ignore[call-overload]
                row[rng.randrange(len(row))] = rng.choice(odd)
                record[key] = row
        how = rng.randrange(6)
        if how == 0:
            yield "[" * 3000 + "]" * 3000
        elif how == 1:
            yield json.dumps({"structure": record})
        elif how == 2:
            yield json.dumps({"lattice": {"matrix": rng.choice(odd)}, "sites": rng.choice([[record], {}, None, [1]])})
        elif how == 3:
            yield json.dumps({"columns": ["structure"], "data": rng.choice(odd), "index": [0]})
        else:
            yield json.dumps(record)


WRONG_LISTS = {
    "A,A,B,X": "A,A,B,X\nCs,Cs,Ag,Br\n",
    "A,B,B1,X": "A,B,B1,X\nCs,Ag,Bi,Br\n",
    "A,B": "A,B\nCs,Ag\n",
    "no rows": "A,B,X\n",
    "empty": "",
    "B = B'": "A,B,B',X\nCs,Ag,Ag,Br\n",
    "unknown symbol": "A,B,X\nCs,Xx,Br\n",
    "an empty cell": "A,B,X\nCs,,Br\n",
    "A,X1,X2,X3": "A,X1,X2,X3\nCs,Br,Br,Br\n",
}


def lists(rng: Rng) -> Iterator[Case]:
    """CSV files of candidates, to `screen list`."""
    for what, text in WRONG_LISTS.items():
        yield Case(
            "list, wrong", what, "screen", ("list", "l.csv", "--dry-run"), {"l.csv": text.encode()}, refused=True
        )
    bases = ["A,B,X\nSr,Ti,O\nBa,Zr,O\n", "A,B,X1,X2,X3\nSr,Ti,O,O,N\n", "id,A,B,B',X\nx,Cs,Ag,Bi,Br\n"]
    while True:
        text = mutated(rng, rng.choice(bases).replace(",", " , "), rng.randrange(1, 4)).replace(" , ", ",")
        content = text.encode(errors="surrogatepass")
        if rng.random() < 0.3:
            content = mutated_bytes(rng, content)
        yield Case("list", repr(text[:40]), "screen", ("list", "l.csv", "--dry-run"), {"l.csv": content})


def recipes(rng: Rng, shipped: Path) -> Iterator[Case]:
    """TOML files, to `screen run` and `cgcnn train`."""
    texts = [path.read_text(encoding="utf-8") for path in sorted(shipped.glob("*.toml"))]
    trained = {"data.jsonl": (json.dumps({**RECORD, "e": 1}) + "\n").encode()}
    while True:
        text = rng.choice(texts)
        lines = text.splitlines()
        for _ in range(rng.randrange(1, 4)):
            at = rng.randrange(len(lines))
            key, _, value = lines[at].partition("=")
            odd = rng.choice(
                ['"x"', "-1", "[]", "{}", "nan", "1e99", "true", '["Xx"]', "9" * 30, "", '"../x"', "[[1]]"]
            )
            lines[at] = rng.choice([f"{key}= {odd}", value, lines[at] + "\n" + lines[at], "", mutated(rng, lines[at])])
        text = "\n".join(lines)
        file = {"r.toml": text.encode(errors="surrogatepass")}
        if "kind" in text and "[network]" not in text:
            yield Case("recipe", "of a screen", "screen", ("run", "r.toml", "--dry-run", "--top", "3"), file)
        else:
            arguments = ("train", "data.jsonl", "--recipe", "r.toml", "-o", "m", "--epochs", "1", "--members", "1")
            yield Case("recipe", "of a training", "cgcnn", arguments, file | trained)


def profiles(rng: Rng, shipped: Path) -> Iterator[Case]:
    """Profiles of clusters. What is sound would start jobs, so there is no `sbatch` on the path."""
    texts = [path.read_text(encoding="utf-8") for path in sorted(shipped.glob("*.toml"))]
    screen = ("perovskites", "--a", "Sr", "--b", "Ti", "--x", "O", "--out", "R.zarr", "--cluster", "p.toml")
    wrong = ['memory = "abc"', "count = -1", 'walltime = "soon"', "cpus = 0", 'kind = "pbs"', "count = 1e9", "gres = 3"]
    while True:
        lines = rng.choice(texts).splitlines()
        at = rng.randrange(len(lines))
        lines[at] = rng.choice([*wrong, mutated(rng, lines[at]), "", lines[at] * 2])
        if 'kind = "local"' in "\n".join(lines):  # it would start workers, which takes seconds
            continue
        file = {"p.toml": "\n".join(lines).encode(errors="surrogatepass")}
        yield Case("profile", lines[at][:40], "screen", screen, file, {"PATH": "/nonexistent"})


def models(rng: Rng, shipped: Path) -> Iterator[Case]:
    """Models whose card or weights are not as they were, to `cgcnn card`, `cgcnn predict` and `screen`."""
    weights, card = (shipped / f"poisson-ratio.{end}" for end in ("safetensors", "json"))
    binary, text = weights.read_bytes(), card.read_text(encoding="utf-8")
    size = int.from_bytes(binary[:8], "little")
    header: dict[str, dict[str, object]] = json.loads(binary[8 : 8 + size])
    crystal = {"one.cif": CUBIC.encode()}
    while True:
        content: dict[str, object] = json.loads(text)
        settings = content["settings"]
        names = json.loads(json.dumps(header))
        data, how = binary[8 + size :], rng.randrange(6)
        if how == 0:
            settings[rng.choice(sorted(settings))] = rng.choice([-1, 0, 10**9, "x", None, [], 1.5])  # type: ignore[index,call-overload]
        elif how == 1:
            content[rng.choice(sorted(content))] = rng.choice([-1, None, "x", [], {}, 10**9])
        elif how == 2:
            del names[rng.choice(sorted(set(names) - {"__metadata__"}))]
        elif how == 3:
            name = rng.choice(sorted(set(names) - {"__metadata__"}))
            names[name]["shape"] = rng.choice([[], [1], [10**9], [0, 0]])
        elif how == 4:
            while data == binary[8 + size :]:
                data = mutated_bytes(rng, data)
        else:
            text_of_card = mutated(rng, text)
            yield Case("model", "card as text", "cgcnn", ("card", "m.json"), {
                "m.json": text_of_card.encode(errors="surrogatepass"), "m.safetensors": binary,
            })  # fmt: skip
            continue
        packed = json.dumps(names).encode()
        files = {
            "m.json": json.dumps(content).encode(),
            "m.safetensors": len(packed).to_bytes(8, "little") + packed + data,
        }
        arguments = ("predict", "one.cif", "--model", "m", "--csv", "out.csv", "--workers", "1", "--no-cache")
        yield Case("model", f"kind {how}", "cgcnn", arguments, files | crystal, refused=how in {2, 4})


def checkpoints(rng: Rng) -> Iterator[Case]:
    """Checkpoints of the published code, to `cgcnn import`."""
    import torch  # slow, and only these need it

    vectors = {"atom_init.json": json.dumps({str(z): [float(z), 1.0, 0.5] for z in range(1, 101)}).encode()}
    arguments = ("import", "c.pth.tar", "--atom-init", "atom_init.json", "-o", "m")
    for what, mean, std in (
        ("nan deviation", 0.0, float("nan")),
        ("deviation 0", 0.0, 0.0),
        ("mean inf", float("inf"), 1.0),
    ):
        yield Case("checkpoint, wrong", what, "cgcnn", arguments, vectors | _checkpoint(mean, std), refused=True)
    poisoned = _checkpoint(0.0, 1.0, poison=True)
    yield Case("checkpoint, wrong", "nan weights", "cgcnn", arguments, vectors | poisoned, refused=True)
    sound = _checkpoint(0.0, 1.0)["c.pth.tar"]
    while True:
        how = rng.randrange(4)
        if how == 0:
            yield Case("checkpoint", "bytes", "cgcnn", arguments, vectors | {"c.pth.tar": mutated_bytes(rng, sound)})
        elif how == 1:
            odd = json.dumps(rng.choice([[], {}, {"1": []}, {"x": [1]}, {"1": ["a"]}, {"1": [1, 2]}, None, 3]))
            yield Case(
                "checkpoint", "vectors", "cgcnn", arguments, {"c.pth.tar": sound, "atom_init.json": odd.encode()}
            )
        elif how == 2:
            buffer = io.BytesIO()
            torch.save(rng.choice([{}, [], {"state_dict": {}}, {"state_dict": 1, "args": {}}, None]), buffer)
            yield Case("checkpoint", "content", "cgcnn", arguments, vectors | {"c.pth.tar": buffer.getvalue()})
        else:
            buffer = io.BytesIO()
            with zipfile.ZipFile(buffer, "w") as archive:
                archive.writestr(rng.choice(["archive/data.pkl", "x"]), rng.randbytes(50))
            yield Case("checkpoint", "a zip file", "cgcnn", arguments, vectors | {"c.pth.tar": buffer.getvalue()})


def _checkpoint(mean: float, std: float, *, poison: bool = False) -> dict[str, bytes]:
    import torch

    width, hidden, gaussians = 4, 6, 41
    shapes = {"embedding.weight": (width, 3), "embedding.bias": (width,), "conv_to_fc.weight": (hidden, width)}
    shapes |= {"conv_to_fc.bias": (hidden,), "fc_out.weight": (1, hidden), "fc_out.bias": (1,)}
    shapes |= {"convs.0.fc_full.weight": (2 * width, 2 * width + gaussians), "convs.0.fc_full.bias": (2 * width,)}
    for name, n in (("bn1", 2 * width), ("bn2", width)):
        shapes |= {f"convs.0.{name}.{part}": (n,) for part in ("weight", "bias", "running_mean", "running_var")}
    state = {name: torch.ones(shape) for name, shape in shapes.items()}
    if poison:
        state["conv_to_fc.bias"][0] = float("nan")
    arguments = {"task": "regression", "radius": 8, "max_num_nbr": 12, "data_options": ["data"]}
    normalizer = {"mean": torch.tensor(mean), "std": torch.tensor(std)}
    buffer = io.BytesIO()
    torch.save({"state_dict": state, "normalizer": normalizer, "args": arguments, "best_mae_error": 0.1}, buffer)
    return {"c.pth.tar": buffer.getvalue()}


def command_lines(rng: Rng) -> Iterator[Case]:
    """Options with odd values, in odd company."""
    sites = ["--a", "Sr,Ba", "--b", "Ti", "--x", "O"]
    wrong = [
        ["--model", ""],
        ["--share", "0/1"],
        ["--share", "9" * 5000 + "/2"],
        ["--stable-at", "nan"],
        ["--sort", ""],
    ]
    wrong += [
        ["--filter", "tau=nan"],
        ["--filter", "x"],
        ["--csv", "no/such/r.csv"],
        ["--cif", "r.toml/x"],
        ["--top", "0"],
    ]
    for extra in wrong:
        line = ("perovskites", *sites, *extra, "--dry-run")
        yield Case("command, wrong", " ".join(extra)[:40], "screen", line, {"r.toml": b""}, refused=True)
    commands = ["perovskites", "double-perovskites", "list", "structures", "run", "rank", "report", "verify", "status"]
    options = ["--a", "--b", "--x", "--elements", "--anions", "--model", "--filter", "--sort", "--top", "--stable-at"]
    options += ["--share", "--workers", "--cluster", "--block-size", "--out", "--csv", "--cif"]
    values = [*ODD, "Ca,Sr", "Sr,,Ti", "0/0", "3/2", "e_above_hull", "tau=1:", "charge=3", "999999999999", "x" * 5000]
    while True:
        line = [rng.choice(commands)]
        for option in rng.sample(options, rng.randrange(0, 5)):
            line += [option, rng.choice(values)]
        if line[0] in {"perovskites", "double-perovskites"} and rng.random() < 0.6:
            line += ["--a", "Sr,Ba", "--b", "Ti,Zr", "--x", "O"]
        if line[0] in {"list", "structures", "run", "rank", "report", "verify", "status"}:
            line.insert(1, rng.choice(["nothing", "r.toml", ".", "", "\x1b[31m", "x" * 300]))
        if line[0] in {"perovskites", "double-perovskites", "list", "structures", "run"}:
            line.append("--dry-run")
        line = [part.replace("\x00", "") for part in line]
        yield Case("command line", " ".join(line)[:40], "screen", tuple(line), {"r.toml": b"kind = 'x'"})


def environments(rng: Rng) -> Iterator[Case]:
    """Surroundings: variables of SLURM and of the system that make no sense."""
    line = ("perovskites", "--a", "Sr,Ba", "--b", "Ti", "--x", "O", "--dry-run")
    names = [
        "SLURM_CPUS_PER_TASK",
        "SLURM_NTASKS",
        "SLURM_JOB_ID",
        "COLUMNS",
        "LANG",
        "LC_ALL",
        "TERM",
        "HOME",
        "TMPDIR",
    ]
    names += ["XDG_CACHE_HOME", "CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS", "NO_COLOR", "PYTHONIOENCODING", "TZ"]
    while True:
        chosen = {name: rng.choice(ODD).replace("\x00", "") for name in rng.sample(names, rng.randrange(1, 4))}
        if "PYTHONIOENCODING" in chosen:
            chosen["PYTHONIOENCODING"] = rng.choice(["ascii", "latin-1", "utf-16"])
        yield Case("environment", ", ".join(chosen), "screen", line, environment=chosen, alone=True)
