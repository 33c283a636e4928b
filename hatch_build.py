"""Build hook: compiles the template kernel, `cgcnn/network/template_kernel.cpp`, into the wheel.

An editable install has it beside its source, and so does `python hatch_build.py`. Where nothing compiles the wheel is a
pure one, whose predictions of prototypes are slower.

CXX names the compiler; CXXFLAGS are added to its options, and the kernel's own come after them.
"""

from __future__ import annotations

import ctypes
import os
import platform
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface
from packaging.tags import sys_tags

SOURCE = Path("cgcnn/network/template_kernel.cpp")
LIBRARY = SOURCE.with_name("_template_kernel.so")
# No product and sum are fused but where the source says so: bits must not depend on the compiler or the machine.
OPTIONS = ("-O3", "-std=c++17", "-fPIC", "-ffp-contract=off", "-fno-fast-math", "-fno-exceptions", "-fno-rtti")
X86 = {"avx512": (16, "-mavx512f", "-mfma", "-mprefer-vector-width=512"), "avx2": (8, "-mavx2", "-mfma")}
ARM = {"neon": (4,)}
SETS = {"x86_64": X86, "AMD64": X86, "aarch64": ARM, "arm64": ARM}  # instruction sets: lanes and options
COMPILERS = ("c++", "g++", "clang++")


class KernelHook(BuildHookInterface[Any]):
    """What hatchling calls before it packs a wheel."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile; ``version`` is "editable" or "standard"."""
        root = Path(self.root)
        self.folder = Path(tempfile.mkdtemp())  # also for an editable install, which must not hold half a library
        library = compile_kernel(root / SOURCE, self.folder)
        if library is None:
            return
        if version == "editable":
            _install(library, root / LIBRARY)
        else:
            build_data["force_include"][str(library)] = str(LIBRARY)
        build_data["pure_python"] = False
        tag = next(tag for tag in sys_tags() if "manylinux" not in tag.platform and "musllinux" not in tag.platform)
        build_data["tag"] = f"py3-none-{tag.platform}"

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:  # noqa: ARG002  # hatchling's
        """Remove what was compiled."""
        shutil.rmtree(self.folder, ignore_errors=True)


def compile_kernel(source: Path, folder: Path) -> Path | None:
    """The library, made in a folder; None, and a line on stderr, where that does not work."""
    library = folder / LIBRARY.name
    try:
        _compile(source, folder, library)
        ctypes.CDLL(str(library))
    except (OSError, subprocess.SubprocessError) as error:
        output = getattr(error, "stderr", None) or str(error)
        print(f"the template kernel was not compiled, predictions will be slower: {output.strip()}", file=sys.stderr)
        return None
    return library


def _compile(source: Path, folder: Path, library: Path) -> None:
    compiler = shlex.split(os.environ.get("CXX", "")) or [next(filter(shutil.which, COMPILERS), COMPILERS[0])]
    options = [*shlex.split(os.environ.get("CXXFLAGS", "")), *OPTIONS]
    sets = SETS.get(platform.machine())
    if sets is None:
        raise OSError(f"no instructions known for {platform.machine()}")
    units = {name: [*more, f"-DINSTRUCTIONS={name}", f"-DLANES={lanes}"] for name, (lanes, *more) in sets.items()}
    objects = []
    for name, own in {**units, "choice": []}.items():
        objects.append(str(folder / f"{name}.o"))
        command = [*compiler, *options, *own, "-c", str(source), "-o", objects[-1]]
        subprocess.run(command, check=True, capture_output=True, text=True)
    command = [*compiler, "-shared", *objects, "-o", str(library)]
    subprocess.run(command, check=True, capture_output=True, text=True)


def _install(library: Path, place: Path) -> None:
    """Put the library where running processes may have an older one open."""
    partial = place.with_suffix(".partial")
    shutil.copyfile(library, partial)
    partial.replace(place)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as made_in:
        here = Path(__file__).parent
        made = compile_kernel(here / SOURCE, Path(made_in))
        if made is None:
            sys.exit(1)
        _install(made, here / LIBRARY)
