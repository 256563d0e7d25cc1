import json
import os
import signal
import subprocess
import sys
import time

import keras
import numpy as np
import pytest
import yaml
from astropy.table import Table

from btk_generative.errors import CatalogError, ConfigError, ModelError, OutputError
from btk_generative.models import load_model
from btk_generative.training.dataset import make_dataset
from btk_generative.training.export import export
from btk_generative.training.job import train
from btk_generative.training.settings import DataSettings, FitSettings
from btk_generative.training.trainable import Trainable
from btk_generative.training.trainer import fit

DATA = {"rows": 64, "stamp_size": 32, "pixel_scale": 0.06}
SEVEN = ["zphot", "bulge_hlr", "bulge_q", "bulge_flux", "disk_hlr", "disk_q", "disk_flux"]


@pytest.fixture(scope="module")
def dataset_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dataset")
    make_dataset(DataSettings(**DATA), folder)
    return folder


@pytest.fixture(scope="module")
def configure(tmp_path_factory, dataset_folder):
    """Returns a function that writes a configuration of a tiny training, and its path."""

    def write(kind="vae", **changes):
        fits = {"epochs": 3, "batch_size": 16}
        settings = {
            "kind": kind,
            "name": "tiny",
            "description": "A tiny model",
            "licence": "MIT",
            "conditions": ["mag_auto", "flux_radius"],
            "data": {**DATA, "folder": str(dataset_folder)},
            kind: {"latent": 4, "width": 8},
        }
        if kind == "vae":
            flow = {"kind": "coupling", "layers": 2, "width": 16}
            settings |= {"flow": flow, "fit_vae": fits, "fit_flow": fits}
        else:
            settings["fit_gan"] = {**fits, "patience": None}
        path = tmp_path_factory.mktemp("config") / "config.yaml"
        path.write_text(yaml.safe_dump(settings | changes))
        return path

    return write


@pytest.fixture(scope="module")
def trained(configure, tmp_path_factory):
    """Returns the configuration and the folder of an autoencoder."""
    config = configure(
        conditions=SEVEN,
        vae={"latent": 4, "width": 8, "posterior": "autoregressive", "warmup": 5},
        flow={"kind": "maf", "layers": 2, "width": 16},
    )
    folder = tmp_path_factory.mktemp("trained")
    train(config, folder)
    return config, folder


def start(config, output, *options, **environment):
    code = "from btk_generative.cli import main; main()"
    command = [sys.executable, "-c", code, "train", str(config), "--output", str(output), *options]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, env=os.environ | environment, **pipes)


def history(folder):
    return json.loads((folder / "history.json").read_text())


def check_model(folder, conditions):
    model = load_model(folder / "model.tar.gz")
    profiles = model.sample(conditions, 0)
    assert profiles.images.shape == (len(conditions), 32, 32)
    np.testing.assert_allclose(profiles.images.sum((1, 2)), 1, rtol=1e-4)
    page = (folder / "report.html").read_text()
    assert "http" not in page.replace("https://", "")
    assert "data:image/png;base64," in page
    return model, page


def test_vae_from_configuration_to_model_and_report(trained, configure):
    config, output = trained
    rows = Table(
        {
            "zphot": [0.5, 1.0],
            "bulge_hlr": np.ma.array([0.2, 1.0], mask=[False, True]),
            "bulge_q": np.ma.array([0.7, 1.0], mask=[False, True]),
            "bulge_flux": np.ma.array([5.0, 1.0], mask=[False, True]),
            "disk_hlr": [0.3, 0.4],
            "disk_q": [0.5, 0.6],
            "disk_flux": [8.0, 9.0],
            "bulge_present": [True, False],
            "disk_present": [True, True],
        }
    )
    model, page = check_model(output, rows)
    assert [given.name for given in model.inputs] == [*SEVEN, "bulge_present", "disk_present"]
    assert not model.oriented
    assert model.card["pixel_scale"] == 0.06
    source = "mock catalogue of btk_generative, 64 rows from 0"
    assert model.card["provenance"]["data"] == source
    for title in ("Curves", "Reconstructions", "Drawn galaxies", "Latent space"):
        assert f"<h2>{title}</h2>" in page
    assert any((output / "vae" / "logs").iterdir())
    assert any((output / "flow" / "logs").iterdir())
    np.testing.assert_array_equal(  # the same seed, the same galaxy
        model.sample(rows, 3).images, model.sample(rows, 3).images
    )
    with pytest.raises(OutputError, match="--resume"):
        train(config, output)
    with pytest.raises(OutputError, match="another conditions, flow, vae"):
        train(configure(vae={"latent": 5, "width": 8}), output, resume=True)


def test_gan_in_the_galaxys_own_frame(configure, tmp_path):
    output = tmp_path / "out"
    train(configure("gan", data={"rows": 48, "stamp_size": 32, "frame": "galaxy"}), output)
    model, _ = check_model(output, Table({"mag_auto": [22.0, 24.0], "flux_radius": [20.0, 8.0]}))
    assert model.oriented
    scales = model.sample(Table({"mag_auto": [22.0], "flux_radius": [20.0]}), 0).pixel_scale
    assert scales == pytest.approx(12 * 20 * 0.03 / 32)


def test_killed_training_goes_on_with_the_same_curve(trained, tmp_path):
    config, whole_folder = trained
    process = start(config, tmp_path / "killed")
    checkpoint = tmp_path / "killed" / "vae" / "checkpoint.npz"
    deadline = time.monotonic() + 120
    while not checkpoint.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert checkpoint.exists()
    assert not (tmp_path / "killed" / "model.tar.gz").exists()
    train(config, tmp_path / "killed", resume=True)
    for part in ("vae", "flow"):
        whole, killed = (history(folder / part) for folder in (whole_folder, tmp_path / "killed"))
        assert len(whole["loss"]) == 3
        for name in whole:
            np.testing.assert_allclose(killed[name], whole[name], rtol=1e-5, err_msg=name)


class Number(Trainable):
    """A number that follows its data, and is judged by other ones."""

    def __init__(self):
        super().__init__("loss")
        self._value = self.add_weight(shape=(), initializer="zeros", name="value")

    def call(self, inputs, training=False):
        return {"loss": (self._value - inputs["aim"]) ** 2}


class Aims:
    """Draws the number to 1 in training, while validation wants 0.5."""

    steps = 20

    def train(self, epoch):
        while True:
            yield ({"aim": np.ones(4, np.float32)},)

    def validation(self):
        return _Half()


class _Half(keras.utils.PyDataset):
    def __init__(self):
        super().__init__()

    def __len__(self):
        return 1

    def __getitem__(self, number):
        return ({"aim": np.full(4, 0.5, np.float32)},)


def test_fit_stops_early_and_ends_with_its_best_averaged_weights(tmp_path):
    model = Number()
    model({"aim": np.zeros(4, np.float32)})
    settings = FitSettings(epochs=50, learning_rate=0.02, patience=3, ema=0.5)
    found = fit(model, Aims(), settings, tmp_path)
    best = int(np.argmin(found["val_loss"]))
    assert best + 1 + 3 == len(found["loss"]) < 50
    value = float(keras.ops.convert_to_numpy(model.trainable_variables[0]))
    assert (value - 0.5) ** 2 == pytest.approx(found["val_loss"][best], rel=1e-4)
    again = Number()
    again({"aim": np.zeros(4, np.float32)})
    assert fit(again, Aims(), settings, tmp_path) == found  # nothing is left to do


def test_loss_that_is_not_a_number_stops_and_keeps_the_last_good_state(tmp_path):
    model = Number()
    model({"aim": np.zeros(4, np.float32)})
    settings = FitSettings(epochs=1, patience=None)
    fit(model, Aims(), settings, tmp_path)
    before = (tmp_path / "checkpoint.npz").read_bytes()
    worse = settings.model_copy(update={"epochs": 3, "learning_rate": 1e39})
    with pytest.raises(ModelError, match=r"not a number.*epoch 1 is kept.*lower the learning_rate"):
        fit(model, Aims(), worse, tmp_path)
    assert (tmp_path / "checkpoint.npz").read_bytes() == before


@pytest.mark.slow
def test_training_on_jax_exports_to_tensorflow(configure, tmp_path):
    fits = {"epochs": 2, "batch_size": 32}
    config = configure(flow={"kind": "maf", "layers": 2, "width": 16}, fit_vae=fits, fit_flow=fits)
    quick_compilation = "--xla_backend_optimization_level=0"
    process = start(
        config,
        tmp_path / "out",
        KERAS_BACKEND="jax",
        JAX_PLATFORMS="cpu",
        XLA_FLAGS=quick_compilation,
    )
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors[-2000:]
    check_model(tmp_path / "out", Table({"mag_auto": [22.0, 24.0], "flux_radius": [20.0, 8.0]}))


def test_mistakes_are_named(configure, tmp_path):
    with pytest.raises(ModelError, match="holds no training"):
        export(tmp_path, tmp_path / "model.tar.gz")
    with pytest.raises(ConfigError, match="no condition 'mag'"):
        train(configure(conditions=["mag"]), tmp_path / "out")
    with pytest.raises(ConfigError, match="kind' must be one of vae, gan, default"):
        train(configure(kind="flow"), tmp_path / "out")
    with pytest.raises(CatalogError, match="no such catalogue"):
        train(configure(data={"catalog": str(tmp_path / "none.fits")}), tmp_path / "out")
    assert not (tmp_path / "out").exists()
