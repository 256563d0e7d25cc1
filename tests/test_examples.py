"""The examples run as they stand."""

import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"


@pytest.mark.slow
@pytest.mark.parametrize("name", ["quickstart.py"])
def test_a_script_runs(name, tmp_path):
    process = subprocess.run(
        [sys.executable, EXAMPLES / name], cwd=tmp_path, capture_output=True, text=True
    )
    assert process.returncode == 0, process.stderr
    assert list(tmp_path.glob("*.png"))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["quickstart.ipynb"])
def test_a_notebook_runs(name, tmp_path):
    notebook = nbformat.read(EXAMPLES / name, as_version=4)
    NotebookClient(
        notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": tmp_path}}
    ).execute()
    assert any("image/png" in str(cell.get("outputs")) for cell in notebook.cells)


@pytest.mark.slow
def test_the_comparison_runs(tmp_path):
    """As it stands but for the number of blends."""
    code = (EXAMPLES / "compare_scarlet.py").read_text()
    for usual, quick in (("blends=20", "blends=2"), ("batch_size=12", "batch_size=2")):
        assert usual in code
        code = code.replace(usual, quick)
    (tmp_path / "compare_scarlet.py").write_text(code)
    process = subprocess.run(
        [sys.executable, "compare_scarlet.py"], cwd=tmp_path, capture_output=True, text=True
    )
    assert process.returncode == 0, process.stderr
    assert "relative error of the i-band flux" in process.stdout
    assert "recall: generative − fitted = " in process.stdout
    assert "Difference(" in process.stdout
    assert "Generative against parametric" in (tmp_path / "report" / "report.html").read_text()


def test_the_comparisons_notebook_is_its_script():
    """So that what runs as a script runs as a notebook too."""
    script = (EXAMPLES / "compare_scarlet.py").read_text()
    script = "\n".join(re.split(r"def \w+\(\):\n    \"\"\".*\"\"\"\n", script))
    lines = [line.strip() for line in script.splitlines()]
    notebook = nbformat.read(EXAMPLES / "compare_scarlet.ipynb", as_version=4)
    nbformat.validate(notebook)
    code = [line for c in notebook.cells if c.cell_type == "code" for line in c.source.splitlines()]
    assert len(code) > 40
    assert "\n".join(filter(None, map(str.strip, code))) in "\n".join(filter(None, lines))
