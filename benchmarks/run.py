"""Measures the renderer and the generator against GalSim and BTK, and prints ratios.

    python benchmarks/run.py

Both sides of a ratio run in turns in one process, on one thread, and each number is the least of
several runs in processor time (wall time for two jobs), so that a busy machine does little harm.
"""

import os
import sys

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import argparse
import functools
import re
import subprocess
import time
from pathlib import Path

import btk
import galsim
import numpy as np

from btk_generative.models import LightProfiles
from btk_generative.render import SurveyRenderer

STAMP = 24.0  # arcsec
SEED = 5


def profiles(n, size=64, scale=0.03):
    rng = np.random.default_rng(SEED)
    images = []
    for _ in range(n):
        disk = galsim.Exponential(half_light_radius=rng.uniform(0.15, 0.4) * scale / 0.03)
        disk = galsim.Convolve(
            disk.shear(q=rng.uniform(0.3, 1), beta=0 * galsim.degrees), galsim.Gaussian(sigma=scale)
        )
        images.append(np.maximum(disk.drawImage(nx=size, ny=size, scale=scale).array, 0))
    images = np.array(images)
    return LightProfiles(images / images.sum((1, 2), keepdims=True), np.full(n, scale))


def poses(n):
    rng = np.random.default_rng(SEED)
    x, y = rng.uniform(-STAMP / 10, STAMP / 10, (2, n))
    return x, y, rng.uniform(0, 2 * np.pi, n), *rng.uniform(-0.3, 0.3, (2, n))


def survey_psfs(name):
    survey = btk.survey.get_surveys(name)
    psfs = [survey.get_filter(band).psf for band in survey.available_filters]
    return psfs, survey.pixel_scale.to_value("arcsec")


def with_galsim(galaxies, pose, psfs, pixel, stamp, reuse):
    for i in range(len(galaxies)):
        drawn = None
        for psf in psfs:
            if drawn is None or not reuse:
                drawn = galaxies[i : i + 1].to_galsim()[0]
                drawn = drawn.rotate(pose[2][i] * galsim.radians)
                drawn = drawn.shear(g1=pose[3][i], g2=pose[4][i])
            image = galsim.Convolve(drawn, psf).shift(pose[0][i], pose[1][i])
            image.drawImage(nx=stamp, ny=stamp, scale=pixel)


def fastest(functions, repeats, clock=time.thread_time):
    """Returns the least time of each function, s, calling them in turns."""
    best = [np.inf] * len(functions)
    for _ in range(repeats):
        for i, function in enumerate(functions):
            start = clock()
            function()
            best[i] = min(best[i], clock() - start)
    return best


def row(what, against, ratio, target):
    print(f"| {what} | {against} | {ratio:.1f} | {target} |", flush=True)


def bench_render():
    psfs, pixel = survey_psfs("LSST")
    n, few, stamp = 48, 4, int(STAMP / pixel)
    galaxies, pose = profiles(n), poses(n)
    renderer, flux = SurveyRenderer(psfs, pixel, stamp), np.ones((n, len(psfs)))
    renderer.draw(galaxies, flux, *pose)
    ours, fresh, reused = fastest(
        [
            lambda: renderer.draw(galaxies, flux, *pose),
            lambda: with_galsim(galaxies[:few], pose, psfs, pixel, stamp, reuse=False),
            lambda: with_galsim(galaxies[:few], pose, psfs, pixel, stamp, reuse=True),
        ],
        repeats=6,
    )
    rate = len(psfs) / (ours / n)
    what = f"render, LSST, 64 px profiles ({rate:.0f} galaxy-bands/s)"
    row(what, "InterpolatedImage per galaxy and band", fresh / few / (ours / n), "≥ 20")
    row("same", "InterpolatedImage reused across bands", reused / few / (ours / n), "≥ 12")


def generator(kind, batch_size, max_number=4, survey="LSST", njobs=1):
    """Returns a generator of blends, on the same rows for either kind."""
    from btk_generative import GenerativeGenerator, catalogs

    catalog = catalogs.mock_catsim(2000, seed=SEED)
    sampling = btk.sampling_functions.DefaultSampling(
        max_number=max_number, min_number=max_number, stamp_size=STAMP, seed=SEED
    )
    make = btk.draw_blends.CatsimGenerator if kind == "btk" else GenerativeGenerator
    surveys = btk.survey.get_surveys(survey)
    return make(catalog, sampling, surveys, batch_size=batch_size, njobs=njobs, add_noise="all")


def bench_generator():
    for batch_size in (20, 100):
        ours, btks = generator("ours", batch_size), generator("btk", batch_size)
        next(ours)
        elapsed = fastest([ours.__next__, btks.__next__], repeats=3, clock=time.process_time)
        what = f"generator, batch {batch_size} ({batch_size / elapsed[0]:.0f} blends/s)"
        against = f"CatsimGenerator ({batch_size / elapsed[1]:.0f} blends/s)"
        row(what, against, elapsed[1] / elapsed[0], "≥ 8")
    made = [generator("ours", 100, njobs=number) for number in (1, 2)]
    for one in made:
        next(one)
    alone, together = fastest([one.__next__ for one in made], 6, time.perf_counter)
    row("generator, 2 jobs on two cores, wall time", "1 job", alone / together, "≥ 1.6")
    peaks = [in_new_process("--peak", kind) for kind in ("ours", "btk")]
    what = f"generator, memory of a batch of 100 ({peaks[0]:.0f} MB)"
    row(what, f"CatsimGenerator ({peaks[1]:.0f} MB)", peaks[0] / peaks[1], "≤ 1")


def in_new_process(*arguments):
    """Returns the number that this program prints last."""
    command = [sys.executable, __file__, *arguments]
    answer = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(answer.stdout.splitlines()[-1])


def print_peak(kind):
    """Prints by how many MB the peak of the resident memory grows over a batch of 100."""
    next(generator(kind, 1))
    made = generator(kind, 100)
    before = peak_memory()
    next(made)
    print(peak_memory() - before)


def peak_memory():
    """Returns the peak of the resident memory, MB; that of `resource` would be the parent's too."""
    status = Path("/proc/self/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) / 1024


def bench_scaling():
    print("\n| renderer | ms a galaxy |\n|---|---|")
    for name in ("LSST", "HSC", "Euclid_VIS", "Roman_WFI"):
        psfs, pixel = survey_psfs(name)
        cases = [(STAMP, len(psfs))]
        if name == "LSST":
            cases = [(6.0, 6), (12.0, 6), (24.0, 1), (24.0, 3), (24.0, 6), (48.0, 6)]
        for arcsec, bands in cases:
            stamp, n = int(arcsec / pixel), 16
            renderer, flux = SurveyRenderer(psfs[:bands], pixel, stamp), np.ones((n, bands))
            galaxies, pose = profiles(n), poses(n)
            renderer.draw(galaxies, flux, *pose)
            draw = functools.partial(renderer.draw, galaxies, flux, *pose)
            (spent,) = fastest([draw], repeats=4)
            print(f"| {name}, {stamp} pixels, {bands} bands | {1e3 * spent / n:.2f} |", flush=True)
    print("\n| generator, LSST, 24 arcsec | ms a blend |\n|---|---|")
    for batch_size, sources in ((1, 4), (10, 4), (40, 1), (40, 4), (40, 8)):
        made = generator("ours", batch_size, sources)
        next(made)
        (spent,) = fastest([made.__next__], repeats=2, clock=time.process_time)
        print(
            f"| batch of {batch_size}, {sources} sources | {1e3 * spent / batch_size:.1f} |",
            flush=True,
        )


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--peak", choices=("ours", "btk"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.peak:
        print_peak(arguments.peak)
        return
    print(f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores\n")
    print("| what | against | ratio | target |\n|---|---|---|---|")
    bench_render()
    bench_generator()
    bench_scaling()


if __name__ == "__main__":
    main()
