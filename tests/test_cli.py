"""The command line: what `draw` leaves behind, and how mistakes end."""

import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from astropy.table import Table
from btk.blend_batch import BlendBatch

from btk_generative import cli
from btk_generative.draw import GenerativeGenerator, SurveyBatches

ROOT = Path(__file__).resolve().parents[1]
QUICKSTART = ROOT / "configs" / "quickstart.yaml"
SMALL = ["batches=2", "batch_size=2", "catalog.mock=500", "use_bar=false"]


@pytest.fixture
def run(monkeypatch, capsys):
    """Returns a function that runs the command line and gives its exit code and stderr."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["btk-generative", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            cli.main()
        return end.value.code or 0, capsys.readouterr().err

    return run


def draw(output, *changes):
    return "draw", QUICKSTART, "--output", output, *[a for c in changes for a in ("--set", c)]


def one_line(error):
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert "Traceback" not in error


def test_draw_leaves_batches_truth_figure_and_summary(run, tmp_path):
    output = tmp_path / "new" / "out"
    assert run(*draw(output, *SMALL)) == (0, "")
    batches = [BlendBatch.load(str(output), k) for k in range(2)]
    truth = Table.read(output / "truth.parquet")
    summary = json.loads((output / "summary.json").read_text())
    galaxies = sum(len(table) for batch in batches for table in batch.catalog_list)
    assert len(truth) == summary["galaxies"] == galaxies
    assert summary["blends"] == 4
    assert summary["seed"] == 1
    assert summary["model"]["sha256"]
    assert summary["seconds"] > 0
    assert {"tensorflow", "numpy", "btk-generative"} <= set(summary["versions"])
    assert list(truth["blend_index"]) == sorted(truth["blend_index"])
    np.testing.assert_array_equal(
        truth["x_peak"], np.concatenate([t["x_peak"] for b in batches for t in b.catalog_list])
    )
    for ending in ("png", "pdf"):
        assert (output / f"blends.{ending}").stat().st_size > 5000
    assert [path.name for path in output.parent.iterdir()] == ["out"]


def test_draw_with_several_surveys(run, tmp_path):
    assert run(*draw(tmp_path / "out", *SMALL, "survey=[LSST, HSC]")) == (0, "")
    both = SurveyBatches.load(str(tmp_path / "out"), 1)
    assert both["LSST"].blend_images.shape[1] == 6
    assert both["HSC"].blend_images.shape[1] == 5
    truth = Table.read(tmp_path / "out" / "truth.parquet")
    assert set(truth["survey"]) == {"LSST", "HSC"}


def test_the_same_seed_draws_the_same_file(run, tmp_path):
    for name in ("one", "other"):
        run(*draw(tmp_path / name, *SMALL))
    one, other = (BlendBatch.load(str(tmp_path / name), 1) for name in ("one", "other"))
    assert np.array_equal(one.blend_images, other.blend_images)


def test_a_second_run_into_the_same_folder_is_refused(run, tmp_path):
    output = tmp_path / "out"
    output.mkdir()
    (output / "mine.txt").write_text("precious")
    code, error = run(*draw(output, *SMALL))
    assert code == 2
    one_line(error)
    assert str(output) in error
    assert [path.name for path in output.iterdir()] == ["mine.txt"]


def test_a_folder_that_cannot_be_made(run, tmp_path):
    (tmp_path / "file").write_text("")
    code, error = run(*draw(tmp_path / "file" / "out", *SMALL))
    assert code == 2
    one_line(error)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("sed=3", "did you mean 'seed'"),
        ("catalog.path=none.fits", "catalog"),
        ("model=none.tar.gz", "none.tar.gz"),
        ("survey=Euclid_VIS", "'IE_ab'"),
        ("sampling.mag_name=k_ab", "'k_ab'"),
    ],
)
def test_a_mistake_ends_in_one_line_and_code_2(change, says, run, tmp_path):
    code, error = run(*draw(tmp_path / "out", *SMALL, change))
    assert code == 2
    one_line(error)
    assert says in error
    assert not list(tmp_path.iterdir())


def test_a_damaged_model_file(run, tmp_path):
    whole = (ROOT / "btk_generative" / "models" / "default.tar.gz").read_bytes()
    (tmp_path / "half.tar.gz").write_bytes(whole[: len(whole) // 2])
    code, error = run(*draw(tmp_path / "out", *SMALL, f"model={tmp_path / 'half.tar.gz'}"))
    assert code == 2
    one_line(error)
    assert "half.tar.gz" in error


def test_an_interruption_leaves_nothing(run, tmp_path, monkeypatch):
    original, calls = GenerativeGenerator.__next__, []

    def interrupted(self):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return original(self)

    monkeypatch.setattr(GenerativeGenerator, "__next__", interrupted)
    code, _ = run(*draw(tmp_path / "out", *SMALL))
    assert code != 0
    assert len(calls) == 2
    assert not list(tmp_path.iterdir())


def test_processes_that_are_killed_clean_up(tmp_path):
    """Ctrl-C, a batch system's time limit, a terminal that is closed."""
    running = {}
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        arguments = draw(tmp_path / number.name / "out", *SMALL, "batches=100000")
        running[number] = subprocess.Popen(
            [sys.executable, "-m", "btk_generative", *map(str, arguments)],
            stderr=subprocess.PIPE,
            text=True,
        )
    for number, process in running.items():
        with process:
            folder, end = tmp_path / number.name, time.monotonic() + 200
            # one of them while it draws, the others while packages and model are loaded
            wanted = "*.partial/blend_0.hdf5" if number == signal.SIGTERM else ".*.partial"
            while not list(folder.glob(wanted)) and process.poll() is None:
                assert time.monotonic() < end, "nothing was drawn"
                time.sleep(0.01)
            process.send_signal(number)
            _, error = process.communicate(timeout=100)
        assert process.returncode == 128 + number
        assert error.splitlines()[-1] == f"stopped by {number.name}"
        assert "Traceback" not in error
        assert not list(folder.iterdir())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("command", ["draw", "generate"])
def test_a_signal_ends_in_one_line_and_its_code(run, tmp_path, monkeypatch, command, number):
    before = signal.getsignal(number)

    def interrupted(self):
        os.kill(os.getpid(), number)
        time.sleep(10)

    monkeypatch.setattr(GenerativeGenerator, "__next__", interrupted)
    arguments = draw(tmp_path / "out", *SMALL)
    if command == "generate":
        small = ("catalog.mock=500", "shards=2", "blends_per_shard=2")
        changes = [word for change in small for word in ("--set", change)]
        config = ROOT / "configs" / "generate_lsst.yaml"
        arguments = ("generate", config, "--output", tmp_path / "out", *changes)
    code, error = run(*arguments)
    assert code == 128 + number
    assert error.splitlines()[-1] == f"stopped by {number.name}"
    assert "Traceback" not in error
    assert not list(tmp_path.rglob("*.partial"))
    assert command == "generate" or not list(tmp_path.iterdir())
    assert signal.getsignal(number) == before


def test_a_signal_that_was_ignored_stays_so(run, tmp_path, monkeypatch):
    """As nohup wants it."""
    monkeypatch.setattr(cli, "app", lambda: os.kill(os.getpid(), signal.SIGHUP))
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        monkeypatch.setattr(sys, "argv", ["btk-generative"])
        cli.main()
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_stop_that_a_library_takes_for_an_error(run, monkeypatch):
    def app():
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(10)
        except SystemExit:
            raise OSError("callback failed") from None

    monkeypatch.setattr(cli, "app", app)
    assert run() == (143, "stopped by SIGTERM\n")


@pytest.mark.slow
def test_a_full_disk_ends_in_one_line_and_leaves_nothing(tmp_path):
    limit = 3_000_000  # bytes a file may have; a batch needs more
    process = subprocess.run(
        [sys.executable, "-m", "btk_generative", *map(str, draw(tmp_path / "out", *SMALL))],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
        capture_output=True,
        text=True,
    )
    assert process.returncode == 2
    assert process.stderr.splitlines()[-1].startswith("error: ")
    assert "Traceback" not in process.stderr
    assert not list(tmp_path.iterdir())


def test_the_command_line_starts_without_the_heavy_packages():
    code = (
        "import sys, btk_generative.cli\n"
        "print([m for m in ('tensorflow', 'jax', 'matplotlib', 'dask', 'galsim', 'btk')"
        " if m in sys.modules])"
    )
    fresh = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert fresh.stdout.strip() == "[]"
