"""Runs that are killed, and workers that die."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from test_generate import contents, small, toy  # noqa: F401 - a fixture

from btk_generative.datasets import generate, verify

HERE = Path(__file__).parent


@pytest.mark.slow
def test_killed_ten_times_at_random(toy, tmp_path):  # noqa: F811
    """What is left after every kill is good, and the end is the same as without."""
    folder, undisturbed = tmp_path / "killed", tmp_path / "whole"
    command = [sys.executable, str(HERE / "crash_worker.py"), toy, str(folder)]
    environment = os.environ | {"PYTHONPATH": str(HERE), "TF_CPP_MIN_LOG_LEVEL": "2"}
    runner = subprocess.Popen(
        command,
        env=environment,
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    generate(small(toy, shards=40), undisturbed, progress=False)
    every = contents(undisturbed)
    kills, rng = 0, random.Random(1)
    with runner:
        while True:
            before = len(list(folder.glob("shards/*.json")))
            print("go", file=runner.stdin, flush=True)
            child = int(runner.stdout.readline())
            if kills < 10:
                # wait until it draws, then strike anywhere within the next shards
                wait_for(lambda: len(list(folder.glob("shards/*.json"))) > before)  # noqa: B023
                time.sleep(rng.uniform(0, 0.15))
                os.kill(child, signal.SIGKILL)
                kills += 1
            status = int(runner.stdout.readline())
            bad = verify(folder, progress=False)
            assert set(bad.values()) <= {"not drawn yet"}
            if status == 0:
                break
            assert status == -signal.SIGKILL
        runner.stdin.close()
    assert kills == 10 or not bad
    assert not bad
    assert contents(folder) == every
    assert not list(folder.rglob("*.partial"))


@pytest.mark.slow
def test_a_dask_worker_killed_in_a_shard(toy, tmp_path, monkeypatch):  # noqa: F811
    """Its shard is given to another worker; the data are those of a run in one process."""
    pytest.importorskip("distributed", reason="needs Dask: pip install 'btk-generative[datasets]'")
    from btk_generative.datasets import job, schedulers

    killed = []
    real = schedulers.run_tasks

    def run_and_kill(*arguments):
        for number, result in real(*arguments):
            if not killed:
                killed.append(kill_a_worker())
            yield number, result

    monkeypatch.setattr(job, "run_tasks", run_and_kill)
    config = small(toy, shards=16, workers=2)
    assert generate(config, tmp_path / "dask", progress=False)["complete"] == 16
    assert killed
    assert verify(tmp_path / "dask", progress=False) == {}
    generate(config.model_copy(update={"workers": 1}), tmp_path / "alone", progress=False)
    assert contents(tmp_path / "dask") == contents(tmp_path / "alone")


def kill_a_worker():
    """Kills a worker process of the Dask client that is in use, while it draws."""
    from distributed import default_client

    pids = default_client().run(os.getpid)
    busy = default_client().processing()
    address = next(name for name, tasks in busy.items() if tasks)
    os.kill(pids[address], signal.SIGKILL)
    return pids[address]


def wait_for(condition, seconds=120):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "nothing was drawn"
        time.sleep(0.01)
