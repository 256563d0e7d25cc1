"""Batch systems and Dask clusters. A stand-in for sbatch runs the job script on this machine."""

import os

import pytest
from test_generate import small, toy  # noqa: F401 - a fixture

from btk_generative.datasets import generate, schedulers
from btk_generative.datasets.schedulers import run_tasks
from btk_generative.errors import ConfigError

distributed = pytest.importorskip("distributed", reason="pip install 'btk-generative[cluster]'")

SBATCH = """#!/bin/sh
echo "$@" > {folder}/arguments
cp "$1" {folder}/script  # as sbatch does: the file is removed once it has been submitted
sh {folder}/script > {folder}/output 2>&1 &
echo $! > {folder}/pid
echo Submitted batch job $!
"""


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    pytest.importorskip("dask_jobqueue", reason="pip install dask-jobqueue")
    for name, script in (
        ("sbatch", SBATCH.format(folder=tmp_path)),
        ("scancel", '#!/bin/sh\nkill "$1"\n'),
    ):
        (tmp_path / name).write_text(script)
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    import dask

    settings = {"jobqueue.slurm.cores": 1, "jobqueue.slurm.memory": "1GB"}
    with dask.config.set(settings):
        yield tmp_path


def test_tasks_run_in_slurm_jobs(slurm):
    tasks = ((k, (k, 10)) for k in range(20))
    results = dict(run_tasks("slurm", 1, pow, tasks, log=lambda line: None))
    assert results == {k: k**10 for k in range(20)}
    assert (slurm / "pid").exists()


def test_slurm_without_settings(slurm):
    import dask

    says = r"'slurm': .*memory.*; set it under jobqueue\.slurm"
    with (
        dask.config.set({"jobqueue.slurm.memory": None}),
        pytest.raises(ConfigError, match=says),
    ):
        list(run_tasks("slurm", 1, pow, [(0, (1, 1))]))


def test_a_running_cluster_and_errors():
    with distributed.LocalCluster(n_workers=1, processes=False, dashboard_address=":0") as cluster:
        tasks = [(0, (1, 0)), (1, (6, 3))]
        results = dict(run_tasks(cluster.scheduler_address, 1, divmod, tasks, lambda line: None))
    assert results[1] == (2, 0)
    assert isinstance(results[0], ZeroDivisionError)


def test_no_cluster_there(monkeypatch):
    monkeypatch.setattr(schedulers, "_PATIENCE", "0.2s")
    with pytest.raises(ConfigError, match="no Dask scheduler answers at tcp://localhost:1"):
        list(run_tasks("tcp://localhost:1", 1, pow, []))


def test_a_users_mistake_in_a_worker_ends_the_run(toy, tmp_path):  # noqa: F811
    config = small(toy, scheduler="threads", workers=2)
    config.sampling.max_mag = 0.0  # no such galaxy
    with pytest.raises(ConfigError, match="cannot make a blend of this catalogue"):
        generate(config, tmp_path, progress=False)
