"""Galaxies per second of GalSim's driver: drawn in blocks, and one network call per galaxy.

    python benchmarks/bench_galsim_config.py [MODEL]

The image is that of configs/galsim_demo.yaml without noise, 10 by 10 tiles. 'one by one' is how
galsim_hub does it: a call of the network, with a batch of one, whenever GalSim asks for a galaxy.
Both are timed in turns in one process, after a first image of each; the ratios are of medians.
"""

import statistics
import sys
import time
from pathlib import Path

import galsim
import galsim.config
import numpy as np
from tqdm import tqdm

import btk_generative  # noqa: F401  registers the types
from btk_generative.models import load_model
from btk_generative.models import model as sampling
from btk_generative.simulators.galsim import config as blocks

CONFIG = Path(__file__).parents[1] / "configs" / "galsim_demo.yaml"
REPEATS = 5


def image(model):
    (config,) = galsim.config.ReadConfig(str(CONFIG))
    del config["image"]["noise"]
    config["input"]["generative_model"]["file_name"] = model
    return config


def seconds(config, one_by_one):
    """Returns the time of an image and of the network's part in it."""
    spent = [0.0]
    prefetch, chunk = blocks.prefetch, sampling.CHUNK
    draw = blocks.GenerativeGalaxyModel.draw

    def timed(*args):
        start = time.perf_counter()
        drawn = draw(*args)
        spent[0] += time.perf_counter() - start
        return drawn

    blocks.GenerativeGalaxyModel.draw = timed
    if one_by_one:
        blocks.prefetch, sampling.CHUNK = (lambda *_: {}), 1
    try:
        copy = galsim.config.CopyConfig(config)
        start = time.perf_counter()
        array = galsim.config.BuildImage(copy).array
        return time.perf_counter() - start, spent[0], array
    finally:
        blocks.prefetch, sampling.CHUNK = prefetch, chunk
        blocks.GenerativeGalaxyModel.draw = draw


def main():
    name = sys.argv[1] if len(sys.argv) > 1 else "default"
    config, kept = image(name), load_model(name)  # loaded and compiled once
    images = {way: seconds(config, way)[2] for way in (False, True)}
    difference = np.abs(images[True] - images[False]).max() / images[False].max()
    times = {False: [], True: []}
    for _ in tqdm(range(REPEATS)):
        for way in times:
            times[way].append(seconds(config, way)[:2])
    whole, network = (
        {way: statistics.median(t[part] for t in times[way]) for way in times} for part in (0, 1)
    )
    for way, name in ((False, "in blocks"), (True, "one by one")):
        print(f"{name:10}  {100 / whole[way]:7.0f} galaxies/s  network {network[way]:.3f} s")
    print(f"model {kept.name}, {kept.stamp_size} pixels")
    print(f"ratio of galaxies/s {whole[True] / whole[False]:.2f}")
    print(f"ratio of the network's part {network[True] / network[False]:.2f}")
    print(f"largest difference of the images {difference:.1e} of the brightest pixel")


if __name__ == "__main__":
    main()
