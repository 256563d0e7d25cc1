"""Public objects in other processes: pickled, forked, and where nothing can be written."""

import os
import pickle
import shutil
import signal
import subprocess
import sys
import traceback
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import btk
import descwl_stand_in
import galsim
import numpy as np
import pytest
import state_worker
from toy_model import write_toy

import btk_generative as bg
from btk_generative import compare, datasets
from btk_generative.compare import Scarlet2Deblender
from btk_generative.datasets import GenerateConfig, reader
from btk_generative.errors import GenerativeError
from btk_generative.render import SurveyRenderer
from btk_generative.runs.processes import Lock
from btk_generative.simulators.descwl import GenerativeGalaxyBuilder

HERE = Path(__file__).parent
NAMES = [
    "BlendDataset",
    "GenerativeGalaxy",
    "GenerativeGalaxyBuilder",
    "GenerativeGalaxyModel",
    "GenerativeGenerator",
    "GenerativeModel",
    "LightProfiles",
    "ParametricGenerator",
    pytest.param(
        "Scarlet2Deblender",
        marks=pytest.mark.skipif(find_spec("scarlet2") is None, reason="scarlet2 is missing"),
    ),
    "SurveyBatch",
    "SurveyBatches",
    "SurveyRenderer",
]
RUNS_A_NETWORK = {
    "GenerativeGalaxy",
    "GenerativeGalaxyBuilder",
    "GenerativeGalaxyModel",
    "GenerativeGenerator",
    "GenerativeModel",
    "Scarlet2Deblender",
}
"""What says in a forked process that it cannot run there."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("state")


@pytest.fixture(scope="module")
def dataset(folder):
    write_toy(folder / "toy.tar.gz")
    config = GenerateConfig(
        catalog={"mock": 300},
        sampling={"stamp_size": 6.0, "max_number": 3, "max_mag": 25.3},
        model=str(folder / "toy.tar.gz"),
        shards=4,
        blends_per_shard=5,
    )
    bg.datasets.generate(config, folder / "set", progress=False)
    return bg.open_dataset(folder / "set")


@pytest.fixture(scope="module")
def objects(folder, dataset):
    """Each public object, used already, pickled."""
    with pytest.MonkeyPatch.context() as patch:
        _, survey = descwl_stand_in.install(patch)
        made = make(folder, dataset, survey)
    return {name: pickle.dumps(each) for name, each in made.items()}


def make(folder, dataset, descwl_survey):
    toy, catalog = str(folder / "toy.tar.gz"), bg.catalogs.mock_catsim(300, seed=0)

    def generator(kind, surveys="LSST", **options):
        sampling = btk.sampling_functions.DefaultSampling(
            stamp_size=6.0, max_number=2, min_number=2, max_mag=25.3, seed=3
        )
        return kind(catalog, sampling, btk.survey.get_surveys(surveys), 2, seed=3, **options)

    made = {
        "BlendDataset": dataset,
        "GenerativeGalaxyModel": bg.GenerativeGalaxyModel(toy),
        "GenerativeGenerator": generator(bg.GenerativeGenerator, model=toy),
        "GenerativeModel": bg.load_model(toy),
        "ParametricGenerator": generator(bg.ParametricGenerator),
        "SurveyRenderer": SurveyRenderer([galsim.Kolmogorov(fwhm=0.7)], 0.2, 40),
        "GenerativeGalaxyBuilder": GenerativeGalaxyBuilder(
            descwl_survey, False, False, False, False, model=toy
        ),
    }
    conditions = {"zphot": 0.5, "disk_hlr": 0.4, "disk_q": 0.5, "disk_flux": 60.0}
    conditions |= {"bulge_hlr": None, "bulge_q": None, "bulge_flux": None}
    made["GenerativeGalaxy"] = bg.GenerativeGalaxy(conditions, toy, rng=1)
    for name, each in made.items():
        state_worker.use(name, each)
    made["LightProfiles"] = bg.load_model(toy).sample(
        bg.conditions.from_catsim(catalog.table[:3]), rng=2
    )
    made["SurveyBatch"] = next(made["ParametricGenerator"])
    both = generator(bg.ParametricGenerator, ["LSST", "HSC"])
    made["SurveyBatches"] = next(both)
    if find_spec("scarlet2") is not None:
        made["Scarlet2Deblender"] = Scarlet2Deblender(2, box=11, max_iter=2), made["SurveyBatch"]
        state_worker.use("Scarlet2Deblender", made["Scarlet2Deblender"])
    return made


@pytest.fixture(scope="module")
def here(objects):
    """What the objects give in this process."""
    return {name: state_worker.use(name, pickle.loads(each)) for name, each in objects.items()}


@pytest.fixture(scope="module")
def elsewhere(objects, folder):
    """What they give in a process of its own, where neither package nor home can be written."""
    site = folder / "site" / "btk_generative"
    shutil.copytree(Path(bg.__file__).parent, site, ignore=shutil.ignore_patterns("__pycache__"))
    for parent in [site, *(path for path in site.rglob("*") if path.is_dir())]:
        (parent / "__pycache__").touch()  # a file, so that no folder of the name can be made
    (folder / "objects").write_bytes(pickle.dumps(objects))
    environment = {k: v for k, v in os.environ.items() if k not in ("NUMBA_CACHE_DIR",)}
    environment |= {"PYTHONPATH": str(site.parent), "HOME": "/dev/null/home"}
    environment |= {"XDG_CACHE_HOME": "/dev/null/cache", "MPLCONFIGDIR": str(folder / "mpl")}
    done = subprocess.run(
        [sys.executable, HERE / "state_worker.py", folder / "objects", folder / "results"],
        env=environment,
        capture_output=True,
        text=True,
        cwd=folder,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("compiled loops cannot be kept") == 1
    return pickle.loads((folder / "results").read_bytes())


@pytest.mark.parametrize("name", NAMES)
def test_pickled_it_gives_the_same_where_nothing_can_be_written(name, here, elsewhere):
    if isinstance(elsewhere[name], Exception):
        raise elsewhere[name]
    np.testing.assert_array_equal(elsewhere[name], here[name])


@pytest.mark.parametrize("name", NAMES)
def test_in_a_forked_process_it_gives_the_same_or_says_that_it_cannot(name, objects, here):
    made = pickle.loads(objects[name])
    given = forked(lambda: state_worker.use(name, made))
    if name in RUNS_A_NETWORK:
        assert isinstance(given, GenerativeError)
        assert "'spawn'" in str(given)
    else:
        np.testing.assert_array_equal(given, here[name])


def forked(function, seconds=60):
    """Returns what a function returns or raises in a forked process."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:  # pragma: no cover
        try:
            signal.alarm(seconds)  # ends it even where a library holds the interpreter
            try:
                result = function()
            except Exception as error:
                traceback.print_exc()
                result = error
            with os.fdopen(writing, "wb") as pipe:
                pickle.dump(result, pipe)
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        content = pipe.read()
    os.waitpid(child, 0)
    assert content, "the forked process hung or died"
    return pickle.loads(content)


def test_a_lock_is_free_in_a_forked_process_and_in_a_copy():
    lock = Lock()
    with lock:
        with pickle.loads(pickle.dumps(lock)):
            pass

        def enter():
            with lock:
                return 1

        assert forked(enter, seconds=5) == 1


def test_forked_workers_read_their_own_blends(dataset):
    expected = [dataset[k].image for k in range(len(dataset))]

    def read(seed):
        for k in np.random.default_rng(seed).integers(0, len(dataset), 300):
            assert np.array_equal(dataset[k].image, expected[k])
        return seed

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda seed: forked(lambda: read(seed)), range(4))) == [0, 1, 2, 3]


def test_threads_read_their_own_blends(dataset, monkeypatch):
    monkeypatch.setattr(reader, "_OPEN_FILES", 1)  # so that files are closed all the time
    expected = [dataset[k].image for k in range(len(dataset))]
    order = np.random.default_rng(0).integers(0, len(dataset), 400)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda k: dataset[k].image, order))
    assert all(np.array_equal(image, expected[k]) for image, k in zip(found, order, strict=True))


def test_pytorchs_workers_read_their_own_blends(dataset):
    data = pytest.importorskip("torch.utils.data")
    expected = [dataset[k].image for k in range(len(dataset))]
    loader = data.DataLoader(
        dataset, batch_size=None, num_workers=2, collate_fn=lambda blend: blend.image
    )
    for _ in range(3):
        read = [np.asarray(image) for image in loader]
        assert len(read) == len(expected)
        assert all(np.array_equal(a, b) for a, b in zip(read, expected, strict=True))


@pytest.mark.parametrize("package", [bg, compare, datasets])
def test_a_name_means_the_same_whatever_was_imported_before(package):
    script = "import sys, {0}\nfor name in {0}.__all__:\n first = getattr({0}, name)\n"
    script += " assert getattr({0}, name) is first, name\n assert sys.argv[1] not in repr(first)\n"
    script += "from {0}.{1} import *\nfor name in {0}.__all__: getattr({0}, name)\n"
    module = SimpleNamespace(**{bg.__name__: "draw"}, compare="job", datasets="job")
    before = getattr(module, package.__name__.split(".")[-1])
    script += f"assert callable({package.__name__}.run)\n" if package is compare else ""
    done = subprocess.run(
        [sys.executable, "-c", script.format(package.__name__, before), "nothing"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
