"""Measures how fast stamps are made, read and trained on.

    python benchmarks/bench_training.py

Processor time on one thread, the least of several runs; with a GPU, wall time of training.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")
os.environ.setdefault("TF_NUM_INTEROP_THREADS", "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import tempfile
import time
from pathlib import Path

import keras
import numpy as np

from btk_generative.training.batches import network_inputs
from btk_generative.training.build import build_vae
from btk_generative.training.dataset import make_dataset
from btk_generative.training.inputs import Inputs
from btk_generative.training.run import Scales
from btk_generative.training.settings import VaeTraining

BATCH, REPEATS = 64, 5
SETTINGS = VaeTraining(
    kind="vae",
    name="benchmark",
    description="benchmark",
    licence="MIT",
    conditions=["mag_auto", "flux_radius"],
    data={"rows": 128},
)


def rate(work, stamps, clock=time.process_time):
    """Returns stamps per second, the best of several runs."""
    work()
    seconds = []
    for _ in range(REPEATS):
        start = clock()
        work()
        seconds.append(clock() - start)
    return stamps / min(seconds)


def main():
    with tempfile.TemporaryDirectory() as folder:
        start = time.process_time()
        data = make_dataset(SETTINGS.data, Path(folder))
        print(f"make parametric stamps   {128 / (time.process_time() - start):8.0f} stamps/s")
        inputs = Inputs.measure(SETTINGS.conditions, data.table("train"))
        rows = data.rows("train")[:BATCH]
        flips = np.zeros((len(rows), 2), bool)

        def read():
            return network_inputs(data, data.read(rows), inputs, flips)

        print(f"read and mirror          {rate(read, len(rows)):8.0f} stamps/s")
        vae = build_vae(SETTINGS, Scales(inputs, (1.0, 1.0), ""))
        vae.compile(optimizer="adam", jit_compile=keras.backend.backend() == "jax")
        batch = read()
        gpu = any("gpu" in name.lower() for name in keras.distribution.list_devices())
        clock = time.perf_counter if gpu else time.process_time
        speed = rate(lambda: vae.train_on_batch(batch), len(rows), clock)
        where = "GPU" if gpu else "one thread"
        print(f"train the VAE ({where})  {speed:8.0f} stamps/s  ({keras.backend.backend()})")


if __name__ == "__main__":
    main()
