"""Data sets in shards: scaling, overhead, memory, bytes, and the scheduler.

Usage: python benchmarks/bench_generate.py [scaling memory bytes scheduler]

Prints ratios that were measured in one run, and the machine's load, which they depend on.
"""

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SHARDS, BLENDS = 12, 40


def configuration(**changes):
    from btk_generative.datasets import GenerateConfig

    values = {
        "catalog": {"mock": 20_000},
        "sampling": {"stamp_size": 24.0, "max_number": 5, "max_mag": 25.3},
        "isolated": True,
    }
    return GenerateConfig(**(values | changes))


def rows(folder):
    return [json.loads(path.read_text()) for path in Path(folder).glob("shards/*.json")]


def scaling(scratch):
    """Two worker processes against one, both on Dask, after they have loaded the model."""
    from distributed import Client, LocalCluster

    from btk_generative.datasets import generate
    from btk_generative.datasets.schedulers import ONE_THREAD

    rate, cost = {}, {}
    for workers in (1, 2):
        options = {"n_workers": workers, "threads_per_worker": 1, "env": ONE_THREAD}
        with LocalCluster(**options, silence_logs=50) as cluster, Client(cluster) as client:
            config = configuration(
                shards=SHARDS, blends_per_shard=BLENDS, scheduler=cluster.scheduler_address
            )
            folder = f"{scratch}/scaling-{workers}"
            generate(config.model_copy(update={"seed": 1}), f"{folder}-warm", progress=False)
            before = sum(client.run(time.process_time).values())
            generate(config, folder, progress=False)
            cost[workers] = sum(client.run(time.process_time).values()) - before
            done = rows(folder)
            # each worker's first shard reads the catalogue
            steady = sorted(done, key=lambda row: row["finished"])[workers:]
            start = min(row["finished"] - row["seconds"]["total"] for row in steady)
            seconds = max(row["finished"] for row in steady) - start
            rate[workers] = len(steady) * BLENDS / seconds
            inside = sum(r["seconds"]["drawing"] + r["seconds"]["writing"] for r in steady)
            drawing = sum(r["seconds"]["drawing"] for r in steady)
            print(
                f"{workers} workers: {rate[workers]:.1f} blends/s;"
                f" drawing {drawing / seconds / workers:.1%},"
                f" outside drawing and writing {1 - inside / seconds / workers:.1%};"
                f" {cost[workers] / SHARDS / BLENDS * 1e3:.1f} ms of CPU time a blend"
            )
    print(
        f"2 workers / 1 worker: {rate[2] / rate[1]:.2f} (wanted: at least 1.8),"
        f" {2 * cost[1] / cost[2]:.2f} by CPU time, were the cores free"
    )


def memory(scratch):
    """Peak memory of a process that draws a shard of 10 blends, and one of 1,000."""
    peaks = []
    for blends in (10, 1000):
        code = (
            "import sys; sys.path.insert(0, 'benchmarks'); import bench_generate as b;"
            f"b.one_shard('{scratch}/memory-{blends}', {blends})"
        )
        output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        peaks.append(float(output.stdout.split()[-1]))
        print(f"{blends} blends a shard: peak {peaks[-1]:.0f} MB")
    print(f"ratio {peaks[1] / peaks[0]:.2f} (wanted: at most 1.2)")


def one_shard(folder, blends):
    from btk_generative.datasets import generate

    generate(configuration(blends_per_shard=blends, batch_size=10), folder, progress=False)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def bytes_per_blend(scratch):
    """Size of a shard against BTK's own file of the same batch."""
    from btk.blend_batch import BlendBatch

    from btk_generative.datasets import generate
    from btk_generative.draw import SurveyBatch

    blends, sizes = 40, {}
    for isolated in (True, False):
        folder = f"{scratch}/bytes-{isolated}"
        generate(configuration(blends_per_shard=blends, isolated=isolated), folder, progress=False)
        sizes[isolated] = os.path.getsize(f"{folder}/LSST/blend_0.hdf5")
    batch = BlendBatch.load(f"{scratch}/bytes-True/LSST", 0)
    batch.blend_images = batch.blend_images.astype(float)
    batch.isolated_images = batch.isolated_images.astype(float)
    batch.__class__ = SurveyBatch  # BTK cannot save what it has loaded
    batch.save(scratch, 0)
    btks = os.path.getsize(f"{scratch}/blend_0.hdf5")
    for isolated, size in sizes.items():
        print(
            f"isolated images {isolated!s:5}: {size / blends / 1e3:.0f} kB a blend, "
            f"{size / btks:.3f} of BTK's {btks / blends / 1e3:.0f} kB (wanted: at most 0.25)"
        )


def nap(shard):
    time.sleep(0.001)
    files = {"LSST/blend_0.hdf5": {"bytes": 1, "sha256": "0" * 64}}
    return {"shard": shard, "blends": 100, "galaxies": 300, "files": files}


def scheduler(scratch):
    """10,000 shards that only sleep for a millisecond, on a local Dask cluster of two threads."""
    from btk_generative.datasets.schedulers import run_tasks

    # workers in threads, so that this function is importable there; the messages are the same
    start, count, first = time.monotonic(), 10_000, None
    for _, row in run_tasks("threads", 2, nap, ((k, (k,)) for k in range(count)), log=len):
        first = first or time.monotonic()
        assert row["blends"] == 100
    seconds = time.monotonic() - first
    overhead = seconds / count - 0.001 / 2
    print(
        f"{count} shards in {time.monotonic() - start:.1f} s: {overhead * 1e3:.2f} ms of scheduling"
        f" a shard, {1 / overhead:.0f} shards/s at most"
    )
    for blends in (100, 1000):
        shards = 1e8 / blends
        print(
            f"1e8 blends in shards of {blends}: {overhead * shards / 60:.0f} minutes of scheduling"
            f" in all; 1,000 workers at 25 blends/s each need {1e8 / 1000 / 25 / 60:.0f} minutes"
        )


PARTS = {
    "scaling": scaling,
    "memory": memory,
    "bytes": bytes_per_blend,
    "scheduler": scheduler,
}

if __name__ == "__main__":
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    for part in sys.argv[1:] or PARTS:
        print(f"-- {part}: {PARTS[part].__doc__}")
        with tempfile.TemporaryDirectory() as scratch:
            PARTS[part](scratch)
    print(f"load at the end {os.getloadavg()[0]:.1f}")
