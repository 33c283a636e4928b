"""Runs, models and checkpoints that somebody else made, and not to help: links, pipes, forged lines, hostile names.

A ranking of a changed run is that of the run as it was, or it is refused; nothing hangs, fills the memory or writes to
the terminal what rewrites it.
"""

import hashlib
import io
import json
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

from fuzz_cases import CUBIC, Case, mutated, mutated_bytes

RANK = ("rank", "R.zarr", "--format", "csv", "-v")
MANIFEST = "status/manifest/part-0000.jsonl"
ESCAPES = (
    "\x1b[2J\x1b[31mred", "\x1b]0;title\x07", "[red]x[/red]", "[/2]", "\u202egnirts", "a\rb", "a\x08\x08b", "x" * 3000,
    "\x9b31m", "[link=http://x]y[/link]", "\n\n\nscreen: all is well", "\x7f", "\ud800", "%s%n", "{0}", "$(touch x)",
)  # fmt: skip
ODD: tuple[Any, ...] = (
    None, True, -1, 0, 10**9, 10**18, 10**30, 1e300, "", "x", "../../x", "/dev/zero", [], {}, [[]], {"a": {}}, [None],
    *ESCAPES,
)  # fmt: skip


def canonical(value: object) -> bytes:
    """JSON as runs have it."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return text.encode("utf-8", errors="surrogatepass")


def runs(rng: Random, run: Path) -> Iterator[Case]:
    """A small run, as others may have left or changed it.

    Args:
        rng: Of the draw.
        run: The run as it was.
    """
    names = sorted(str(path.relative_to(run)) for path in run.rglob("*") if path.is_file())
    plain = Case("run", "as it was", "screen", RANK, base="run", reads="stdout", needed=True)
    yield plain
    special = (
        "fifo",
        "dir",
        "gone",
        "-> /dev/zero",
        "-> /dev/full",
        "-> /proc/self/mem",
        "-> .",
        "-> nowhere",
        "-> /etc/passwd",
    )
    places = [
        "zarr.json",
        "status/zarr.json",
        MANIFEST,
        "status/c.0",
        "e_above_hull/c.0",
        "species/c.0.0",
        "e_above_hull/zarr.json",
    ]
    locks = ["status/manifest/lock-0000.00ff.json", "status/manifest/beat-0000.00ff", "status/manifest/part-0001.jsonl"]
    for place in [*places, *locks]:
        for what in special:
            line = rng.choice([("status", "R.zarr"), ("verify", "R.zarr"), ("report", "R.zarr", "-o", "r.html")])
            changed = replace(plain, what=f"{place} {what}", files={f"R.zarr/{place}": what}, needed=False)
            yield replace(changed, like=plain)
            yield replace(changed, arguments=line, reads="")
    while True:
        place = rng.choice([*places, rng.choice(names)])
        content = (run / place).read_bytes()
        what, data = _changed(rng, place, content)
        if data == content:
            continue
        case = replace(plain, what=f"{place}: {what}", files={f"R.zarr/{place}": data}, needed=False)
        shard = Path(place).name.startswith("c.")
        line = rng.choice(
            [("status", "R.zarr"), ("verify", "R.zarr"), ("report", "R.zarr", "-o", "r.html"), RANK, RANK]
        )
        if line == RANK:
            yield replace(case, like=plain)
        else:  # whatever was forged, a damaged shard is found
            yield replace(case, arguments=line, reads="", refused=line[0] == "verify" and shard)
        yield _held(rng, plain)


def _changed(rng: Random, place: str, content: bytes) -> tuple[str, bytes]:
    """Other content for a file of a run, with the checksums that a forger would make right."""
    if place == MANIFEST:
        return _line(rng, content)
    if place.endswith("json") and rng.random() < 0.8:
        return _document(rng, content)
    how = rng.randrange(4)
    if how == 0:
        return "flipped", mutated_bytes(rng, content)
    if how == 1:
        return "cut", content[: rng.randrange(len(content))]
    if how == 2:
        return "longer", content + rng.randbytes(rng.randrange(1, 200))
    return "zeros", bytes(len(content))


def _line(rng: Random, content: bytes) -> tuple[str, bytes]:
    line: dict[str, Any] = json.loads(content.splitlines()[0])
    name = rng.choice(sorted(line))
    rows = line["rows"]
    choices: dict[str, tuple[Any, ...]] = {
        "failures": (
            {"x": [[0, 10**18]]}, {"x": [[-5, 2]]}, {"x": [[rows, rows + 1]]}, {"x": [[0, rows], [0, rows]]},
            {rng.choice(ESCAPES): [[0, 1]]}, {"x": [[2, 1]]}, {"x": "y"}, {"x": [[0.5, 1]]}, {"x": [[0, 1, 2]]},
        ),
        "counts": ({"1": 10**18}, {"1": -1, "3": rows + 1}, {"999": rows}, {"x": rows}, {}, {"3": rows}),
        "block": (1, -1, 10**18, "0", 0.0),
        "start": (1, -1, 10**18, 0.0),
        "stop": (0, rows + 1, 10**18, -1),
        "rows": (0, rows + 1, 10**18, -1),
        "seconds": (float("inf"), -1, 1e300, "x"),
    }  # fmt: skip
    value = rng.choice((*choices.get(name, ()), rng.choice(ODD)))
    forged = {key: item for key, item in line.items() if key != "crc"} | {name: value}
    if name != "crc":
        forged["crc"] = f"{zlib.crc32(canonical({k: v for k, v in forged.items() if k != 'crc'})):08x}"
    data = canonical(forged) + b"\n"
    return f"{name} {str(value)[:30]!r}", rng.choice([data, data, data + content, content + data, data * 1000])


def _document(rng: Random, content: bytes) -> tuple[str, bytes]:
    document: dict[str, Any] = json.loads(content)
    path, here = [], document
    while True:
        key: Any = rng.choice(sorted(here)) if isinstance(here, dict) else rng.randrange(len(here))
        path.append(str(key))
        if isinstance(here[key], (dict, list)) and here[key] and rng.random() < 0.8:
            here = here[key]
            continue
        break
    if rng.random() < 0.2:
        del here[key]
        what = "without"
    else:
        here[key] = rng.choice(ODD)
        what = str(here[key])[:20]
    attributes = document.get("attributes")
    if isinstance(attributes, dict) and "digest" in attributes and path[-1] != "digest":
        attributes.pop("digest")
        attributes["digest"] = hashlib.blake2b(canonical(document), digest_size=16).hexdigest()
    return f"{'.'.join(path)} {what!r}", canonical(document)


def _held(rng: Random, plain: Case) -> Case:
    """A run with a lock of somebody's."""
    claim = {"token": "x", "host": "h", "pid": 1, "start": 1, "boot": "", "user": "u", "since": "now"}
    claim[rng.choice(sorted(claim))] = rng.choice(ODD)
    beat = rng.choice([b"1 5.0", b"", b"nan inf", b"1 " + b"9" * 400, b"\x1b[31m", bytes(100)])
    lock = rng.choice([json.dumps(claim).encode(errors="surrogatepass"), b"{}", b"[" * 9000, b"\xff"])
    files: dict[str, bytes | str] = {
        "R.zarr/status/manifest/lock-0000.00ff.json": lock, "R.zarr/status/manifest/beat-0000.00ff": beat
    }  # fmt: skip
    line = rng.choice([("status", "R.zarr"), RANK])
    return replace(plain, what=f"a lock {str(lock)[:40]}", files=files, arguments=line, reads="", needed=False)


def cards(rng: Random, shipped: Path) -> Iterator[Case]:
    """Model cards with texts that are not to be believed."""
    text, weights = (
        (shipped / "poisson-ratio.json").read_text(encoding="utf-8"),
        (shipped / "poisson-ratio.safetensors").read_bytes(),
    )
    crystal = {"one.cif": CUBIC.encode()}
    predict = ("predict", "one.cif", "--model", "m", "--csv", "out.csv", "--workers", "1", "--no-cache")
    while True:
        card: dict[str, Any] = json.loads(text)
        texts = [(card, key) for key, value in card.items() if isinstance(value, str)]
        texts += [
            (part, key)
            for name in ("targets", "metrics")
            for part in card[name]
            for key, value in part.items()
            if isinstance(value, str)
        ]
        chosen = rng.sample(texts, rng.randrange(1, 4))
        for here, key in chosen:
            here[key] = rng.choice(ESCAPES)
        if rng.random() < 0.3:
            card["weaknesses"] = [rng.choice(ESCAPES) for _ in range(rng.randrange(1, 4))]
        files = {"m.json": json.dumps(card).encode(), "m.safetensors": weights, **crystal}
        line = rng.choice(
            [("card", "m"), ("card", "m"), predict, ("evaluate", "one.cif", "--model", "m", "--workers", "1")]
        )
        yield Case("card", ", ".join(key for _, key in chosen), "cgcnn", line, files)
        name = rng.choice(ESCAPES).replace("/", "").replace("\n", " ")[:40].encode(errors="replace").decode()
        broken = mutated(rng, CUBIC, 9).replace("_cell_length_a", "_x").encode(errors="surrogatepass")
        files = {f"{name}{rng.randrange(99)}.cif": broken, "good.cif": CUBIC.encode()}
        yield Case(
            "card",
            f"a file {name!r}",
            "cgcnn",
            ("predict", ".", *predict[2:3], "formation-energy", *predict[4:]),
            files,
        )


def bombs(rng: Random) -> Iterator[Case]:
    """Checkpoints that are small, and want to be large."""
    import torch  # slow, and only these need it

    vectors = {"atom_init.json": json.dumps({str(z): [float(z), 1.0, 0.5] for z in range(1, 101)}).encode()}
    arguments = ("import", "c.pth.tar", "--atom-init", "atom_init.json", "-o", "m")
    names = ["embedding.weight", "embedding.bias", "fc_out.weight", "convs.0.fc_full.weight", "x"]
    while True:
        buffer = io.BytesIO()
        how = rng.randrange(3)
        if how < 2:
            shape = rng.choice([(10**9,), (10**5, 10**5), (1, 10**10), (2**31,)])
            state = {rng.choice(names): torch.zeros(1).expand(shape), "x": torch.zeros(rng.randrange(1, 99))}
            torch.save(
                {"state_dict": state, "normalizer": {"mean": torch.zeros(1), "std": torch.ones(1)}, "args": {}}, buffer
            )
        else:
            with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
                archive.writestr("archive/data.pkl", bytes(rng.randrange(10**8, 2 * 10**8)))
        yield Case("bomb", f"{how}", "cgcnn", arguments, vectors | {"c.pth.tar": buffer.getvalue()}, refused=True)
