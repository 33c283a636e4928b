"""What the README shows must run."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.mark.slow
def test_the_python_examples_run():
    examples = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    for code, expected in zip(examples, ("BaZrO3", "3 nodes, 6 edges"), strict=True):
        done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
        assert expected in done.stdout


@pytest.mark.slow
def test_every_option_shown_exists():
    shell = "\n".join(re.findall(r"```sh\n(.*?)```", README, re.DOTALL))
    shown = re.findall(r"^(screen|cgcnn) ([\w-]+)(.*?)(?:\s+#.*)?$", shell, re.MULTILINE)
    assert len(shown) > 5
    for program, command, rest in shown:
        module = {"screen": "screening", "cgcnn": "cgcnn"}[program]
        asked = [sys.executable, "-m", module, command, "--help"]
        usage = subprocess.run(asked, cwd=ROOT, capture_output=True, text=True, check=True).stdout
        for option in re.findall(r"--[\w-]+", rest):
            assert option in usage, f"{program} {command} {option}"


def test_files_that_it_links_to_exist():
    for target in re.findall(r"\]\(([^)#]+?)\)", README):
        assert (ROOT / target).exists(), target
