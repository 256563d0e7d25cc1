"""Data sets of blends: what a shard depends on, what is on disk, and how it is read."""

import pickle
import resource
import shutil
from pathlib import Path

import btk
import numpy as np
import pytest
from btk.blend_batch import BlendBatch
from toy_model import write_toy
from typer.testing import CliRunner

import btk_generative as bg
from btk_generative.catalogs import mock_catsim
from btk_generative.cli import app
from btk_generative.datasets import GenerateConfig, generate, open_dataset, verify
from btk_generative.datasets.store import Store
from btk_generative.draw import GenerativeGenerator
from btk_generative.draw.sampling import IndexedSampling
from btk_generative.draw.sampling_config import SamplingConfig
from btk_generative.errors import ConfigError, OutputError
from btk_generative.runs.config import load_config

LSST_YAML = Path(__file__).resolve().parents[1] / "configs" / "generate_lsst.yaml"


@pytest.fixture(scope="session")
def toy(tmp_path_factory):
    path = tmp_path_factory.mktemp("toy") / "toy.tar.gz"
    write_toy(path)
    return str(path)


@pytest.fixture
def config(toy):
    return lambda **changes: small(toy, **changes)


def small(toy, **changes):
    values = {
        "catalog": {"mock": 500},
        "sampling": {"stamp_size": 6.0, "max_number": 3, "max_mag": 25.3},
        "model": toy,
        "seed": 3,
        "shards": 3,
        "blends_per_shard": 5,
        "isolated": True,
    }
    return GenerateConfig(**(values | changes))


@pytest.fixture(scope="module")
def finished(toy, tmp_path_factory):
    """A finished data set. Tests that change something copy it."""
    folder = tmp_path_factory.mktemp("data") / "set"
    assert generate(small(toy), folder, progress=False)["complete"] == 3
    return folder


def contents(folder):
    """Every file of the data: not the rows of the manifest, which hold seconds."""
    files = sorted(p for p in Path(folder).rglob("*") if p.suffix in (".hdf5", ".parquet"))
    return {str(p.relative_to(folder)): p.read_bytes() for p in files}


class TestShards:
    def test_a_shard_is_the_same_alone(self, finished, config, tmp_path):
        result = generate(config(), tmp_path, shard=2, progress=False)
        assert result == {"drawn": 1, "complete": 1, "shards": 3}
        alone, every = contents(tmp_path), contents(finished)
        assert list(alone) == ["LSST/blend_2.hdf5", "truth/2.parquet"]
        assert all(every[name] == content for name, content in alone.items())

    def test_batches_and_threads_do_not_matter(self, finished, config, tmp_path):
        generate(config(batch_size=2), tmp_path / "batches", progress=False)
        assert contents(tmp_path / "batches") == contents(finished)
        options = {"scheduler": "threads", "workers": 2}
        generate(config(**options), tmp_path / "threads", progress=False)
        assert contents(tmp_path / "threads") == contents(finished)

    def test_blends_do_not_depend_on_the_division_into_shards(self, finished, config, tmp_path):
        generate(config(shards=1, blends_per_shard=15), tmp_path, progress=False)
        one, three = open_dataset(tmp_path), open_dataset(finished)
        for ours, theirs in zip(one, three, strict=True):
            np.testing.assert_array_equal(ours.image, theirs.image)
            np.testing.assert_array_equal(ours.isolated, theirs.isolated)
            np.testing.assert_array_equal(ours.catalog["i_ab"], theirs.catalog["i_ab"])

    def test_different_blends_and_seeds_differ(self, finished, config, tmp_path):
        generate(config(seed=4), tmp_path, shard=0, progress=False)
        ours = BlendBatch.load(str(tmp_path / "LSST"), 0).blend_images
        theirs = [BlendBatch.load(str(finished / "LSST"), k).blend_images for k in range(3)]
        stack = np.concatenate([ours, *theirs])
        assert len(np.unique(stack, axis=0)) == 20

    def test_a_finished_run_has_nothing_to_do(self, finished, config):
        before = contents(finished)
        result = generate(config(workers=4), finished, progress=False)
        assert result == {"drawn": 0, "complete": 3, "shards": 3}
        assert contents(finished) == before


class TestFiles:
    @pytest.fixture(scope="class")
    def drawn(self, toy):
        """What the generator gives for shard 1."""
        configuration = small(toy)
        generator = GenerativeGenerator(
            configuration.catalog.read(),
            configuration.sampling.build(configuration.seed),
            configuration.surveys(),
            **configuration.generator_options(),
        )
        generator.seek(5, 5)
        return next(generator)

    def test_btk_loads_what_was_drawn(self, finished, drawn):
        loaded = BlendBatch.load(str(finished / "LSST"), 1)
        assert loaded.survey.name == "LSST"
        assert loaded.stamp_size == 6.0
        assert loaded.blend_images.dtype == loaded.isolated_images.dtype == np.float32
        np.testing.assert_array_equal(loaded.blend_images, drawn.blend_images.astype(np.float32))
        peak = drawn.isolated_images.max(axis=(-2, -1), keepdims=True)
        error = np.abs(loaded.isolated_images - drawn.isolated_images)
        assert np.all(error <= 2.0**-23 * peak)
        for ours, theirs in zip(loaded.catalog_list, drawn.catalog_list, strict=True):
            assert ours.colnames == theirs.colnames
            for name in theirs.colnames:
                np.testing.assert_array_equal(ours[name], theirs[name])
        np.testing.assert_allclose(
            [psf.array for psf in loaded.psf], drawn.get_numpy_psf(), rtol=1e-6
        )

    def test_takes_a_quarter_of_the_space_of_btks_own_file(self, config, tmp_path):
        sampling = {"stamp_size": 24.0, "max_number": 5}
        generate(config(sampling=sampling, shards=1), tmp_path, progress=False)
        # whatever the images show, BTK's float64 arrays take the same space
        images = tmp_path / "LSST" / "blend_0.hdf5"
        btks = 8 * BlendBatch.load(str(tmp_path / "LSST"), 0).isolated_images.size
        assert images.stat().st_size < btks / 4

    def test_isolated_images_are_optional(self, finished, config, tmp_path):
        generate(config(isolated=False), tmp_path, progress=False)
        loaded = BlendBatch.load(str(tmp_path / "LSST"), 1)
        whole = BlendBatch.load(str(finished / "LSST"), 1)
        np.testing.assert_array_equal(loaded.blend_images, whole.blend_images)
        assert loaded.isolated_images.shape == whole.isolated_images.shape
        assert not loaded.isolated_images.any()
        assert open_dataset(tmp_path)[0].isolated is None
        assert "isolated" not in next(open_dataset(tmp_path).batches(2))

    def test_truth_is_one_table_that_others_can_query(self, finished):
        dataset = open_dataset(finished)
        truth = dataset.truth.to_table(columns=["blend_index", "i_ab", "shard", "survey"])
        bright = sum(np.count_nonzero(blend.catalog["i_ab"] < 24) for blend in dataset)
        assert np.count_nonzero(truth["i_ab"].to_numpy() < 24) == bright
        np.testing.assert_array_equal(
            truth["shard"].to_numpy(), truth["blend_index"].to_numpy() // 5
        )
        assert set(truth["survey"].to_pylist()) == {"LSST"}
        duckdb = pytest.importorskip("duckdb")
        query = f"select count(*) from '{finished}/truth/*.parquet' where i_ab < 24"
        assert duckdb.connect().execute(query).fetchone() == (bright,)

    def test_several_surveys_see_the_same_blends(self, config, tmp_path):
        generate(config(survey=["LSST", "HSC"], shards=1), tmp_path, progress=False)
        with pytest.raises(OutputError, match="surveys LSST, HSC; give one of them"):
            open_dataset(tmp_path)
        lsst, hsc = (open_dataset(tmp_path, survey) for survey in ("LSST", "HSC"))
        assert lsst[3].image.shape[0] == 6
        assert hsc[3].image.shape[0] == 5
        np.testing.assert_array_equal(lsst[3].catalog["ra"], hsc[3].catalog["ra"])
        assert BlendBatch.load(str(tmp_path / "HSC"), 0).survey.name == "HSC"


class TestReader:
    def test_is_a_sequence(self, finished):
        dataset = bg.open_dataset(finished)
        assert len(dataset) == 15
        np.testing.assert_array_equal(dataset[-1].image, dataset[14].image)
        blend = dataset[7]
        assert blend.catalog["blend_index"][0] == 7
        assert blend.isolated.shape == (len(blend.catalog), 6, 30, 30)
        with pytest.raises(IndexError, match="blend 15 of a data set of 15"):
            dataset[15]
        np.testing.assert_array_equal(pickle.loads(pickle.dumps(dataset))[7].image, blend.image)

    def test_batches_in_order(self, finished):
        dataset = open_dataset(finished)
        batches = list(dataset.batches(4))
        assert [len(batch["index"]) for batch in batches] == [4, 4, 4, 3]
        assert np.array_equal(np.concatenate([b["index"] for b in batches]), np.arange(15))
        assert batches[0]["isolated"].shape == (4, 3, 6, 30, 30)
        np.testing.assert_array_equal(batches[1]["image"][2], dataset[6].image)
        galaxies = len(dataset[6].catalog)
        np.testing.assert_array_equal(batches[1]["isolated"][2, :galaxies], dataset[6].isolated)
        assert not batches[1]["isolated"][2, galaxies:].any()

    def test_shuffled_parts(self, finished):
        dataset = open_dataset(finished)

        def order(seed, part=0, parts=1):
            batches = dataset.batches(4, seed, part, parts)
            return np.concatenate([batch["index"] for batch in batches])

        assert np.array_equal(np.sort(order(1)), np.arange(15))
        assert np.array_equal(order(1), order(1))
        assert not np.array_equal(order(1), order(2))
        halves = [order(1, part, 2) for part in range(2)]
        assert np.array_equal(np.sort(np.concatenate(halves)), np.arange(15))

    def test_tensorflow(self, finished):
        dataset = open_dataset(finished)
        batches = list(dataset.to_tensorflow(4, shuffle_seed=1))
        for ours, theirs in zip(batches, dataset.batches(4, 1), strict=True):
            np.testing.assert_array_equal(ours["image"], theirs["image"])
            np.testing.assert_array_equal(ours["isolated"], theirs["isolated"])

    def test_torch(self, finished):
        torch = pytest.importorskip("torch")
        dataset = open_dataset(finished)
        loader = torch.utils.data.DataLoader(
            dataset.to_torch(2, shuffle_seed=1), batch_size=None, num_workers=2
        )
        indices = np.concatenate([batch["index"].numpy() for batch in loader])
        assert np.array_equal(np.sort(indices), np.arange(15))

    def test_an_object_store(self, finished, config):
        """The fsspec file system in memory stands for an object store: it has no local paths."""
        url = "memory://bucket/set"
        generate(config(), url, progress=False)
        dataset, local = open_dataset(url), open_dataset(finished)
        np.testing.assert_array_equal(dataset[11].image, local[11].image)
        assert dataset.truth.count_rows() == local.truth.count_rows()
        assert verify(url, progress=False) == {}
        Store(url).remove("truth/1.parquet")
        assert verify(url, progress=False) == {1: "truth/1.parquet is missing"}
        assert verify(url, repair=True, progress=False).keys() == {1}
        assert verify(url, progress=False) == {}


class TestSafety:
    @pytest.fixture
    def copy(self, finished, tmp_path):
        return Path(shutil.copytree(finished, tmp_path / "copy"))

    def test_damage_is_found_and_repaired(self, finished, copy):
        assert verify(copy, progress=False) == {}
        images = copy / "LSST/blend_0.hdf5"
        images.write_bytes(images.read_bytes()[:-100])
        truth = copy / "truth/1.parquet"
        content = bytearray(truth.read_bytes())
        content[len(content) // 2] ^= 1
        truth.write_bytes(content)
        (copy / "shards/2.json").write_text("{")
        problems = verify(copy, progress=False)
        size = images.stat().st_size
        assert problems == {
            0: f"LSST/blend_0.hdf5 is {size} bytes long instead of {size + 100}",
            1: "truth/1.parquet is altered",
            2: "shards/2.json cannot be read",
        }
        assert verify(copy, repair=True, progress=False) == problems
        assert verify(copy, progress=False) == {}
        assert contents(copy) == contents(finished)

    def test_missing_shards_are_drawn_and_nothing_else(self, finished, copy, config):
        (copy / "shards/1.json").unlink()
        untouched = copy / "LSST/blend_0.hdf5"
        before = untouched.stat().st_mtime_ns
        (copy / "LSST/.blend_1.hdf5.0123.partial").write_text("half")
        with pytest.raises(OutputError, match="lacks 1 of its 3 shards"):
            open_dataset(copy)
        assert verify(copy, progress=False) == {1: "not drawn yet"}
        assert generate(config(), copy, progress=False)["drawn"] == 1
        assert contents(copy) == contents(finished)
        assert untouched.stat().st_mtime_ns == before
        assert not list(copy.rglob("*.partial"))

    @pytest.mark.parametrize(
        ("change", "says"),
        [
            ({"seed": 5}, "configuration.seed was 3 and is now 5"),
            ({"shards": 4}, "configuration.shards was 3 and is now 4"),
            ({"catalog": {"mock": 501}}, "configuration.catalog.mock was 500 and is now 501"),
        ],
    )
    def test_another_configuration_is_refused(self, copy, config, change, says):
        before = contents(copy)
        with pytest.raises(OutputError, match=f"made otherwise: {says}"):
            generate(config(**change), copy, progress=False)
        assert contents(copy) == before

    def test_another_catalogue_under_the_same_name_is_refused(self, config, tmp_path):
        path = tmp_path / "galaxies.fits"
        mock_catsim(200, seed=0).table.write(path)
        options = {"catalog": str(path), "shards": 2}
        folder = tmp_path / "set"
        generate(config(**options), folder, shard=0, progress=False)
        moved = path.rename(tmp_path / "moved.fits")
        generate(config(**options | {"catalog": str(moved)}), folder, shard=1, progress=False)
        (folder / "shards/1.json").unlink()
        mock_catsim(200, seed=1).table.write(path)
        with pytest.raises(OutputError, match=r"made otherwise: catalog\.sha256 was"):
            generate(config(**options), folder, shard=1, progress=False)

    def test_two_runs_in_one_folder(self, copy, config):
        (copy / "shards/1.json").unlink()
        with Store(copy).lock(), pytest.raises(OutputError, match="another run is writing to"):
            generate(config(), copy, progress=False)
        with Store(copy).lock(shared=True):  # a task of a job array
            with pytest.raises(OutputError, match="another run is writing to"):
                generate(config(), copy, progress=False)
            generate(config(), copy, shard=1, progress=False)
        assert verify(copy, progress=False) == {}

    def test_a_full_disk(self, finished, copy, config):
        (copy / "shards/1.json").unlink()
        (copy / "LSST/blend_1.hdf5").unlink()
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))
        try:
            with pytest.raises(OutputError, match="2 of 3 shards are complete and safe"):
                generate(config(), copy, progress=False)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert not (copy / "LSST/blend_1.hdf5").exists()
        assert not list(copy.rglob("*.partial"))
        generate(config(), copy, progress=False)
        assert contents(copy) == contents(finished)

    def test_folders_that_hold_something_else(self, config, tmp_path):
        (tmp_path / "thesis.tex").write_text("")
        with pytest.raises(OutputError, match=r"already holds thesis\.tex and is no data set"):
            generate(config(), tmp_path, progress=False)
        for use in (open_dataset, verify):
            with pytest.raises(OutputError, match=r"is no data set: it has no manifest\.json"):
                use(tmp_path)
        with pytest.raises(OutputError, match="nosuch"):
            generate(config(), "nosuch://bucket/name", progress=False)


class TestSampling:
    @pytest.mark.parametrize(
        "options",
        [
            {"function": "DefaultSampling"},
            {"function": "PairSampling"},
            {"function": "RandomSquareSampling", "max_number": 20},
            {"function": "FriendsOfFriendsSampling"},
        ],
    )
    def test_a_blend_depends_on_its_index_only(self, options):
        table = mock_catsim(2000).table
        build = SamplingConfig(**options).build
        first = IndexedSampling(build(5))
        np.random.seed(0)  # noqa: NPY002 - BTK draws from the global generator
        state = np.random.get_state()[1]  # noqa: NPY002
        in_order = [first(table) for _ in range(6)]
        assert np.array_equal(state, np.random.get_state()[1])  # noqa: NPY002
        again = IndexedSampling(build(5))
        for blend in (4, 1, 5):
            again.blend = blend
            np.testing.assert_array_equal(again(table)["i_ab"], in_order[blend]["i_ab"])
        assert len({tuple(blend["i_ab"]) for blend in in_order}) > 3

    def test_what_cannot_be_sampled(self):
        table = mock_catsim(2000).table
        crowded = btk.sampling_functions.RandomSquareSampling(stamp_size=60.0, max_number=2)
        with pytest.raises(ConfigError, match=r"blend 0 has \d+ galaxies, more than max_number=2"):
            IndexedSampling(crowded)(table)
        lonely = btk.sampling_functions.FriendsOfFriendsSampling(link_distance=0.001)
        with pytest.raises(
            ConfigError,
            match=r"FriendsOfFriends.* 100 attempts\): No groups",
        ):
            IndexedSampling(lonely)(table)


class TestCommandLine:
    def test_the_example_configuration(self, toy, tmp_path):
        assert load_config(LSST_YAML, GenerateConfig).model_fields_set == set(
            GenerateConfig.model_fields
        )
        changes = ["shards=2", "blends_per_shard=2", "catalog.mock=300", f"model={toy}"]
        arguments = [argument for change in changes for argument in ("--set", change)]
        command = ["generate", str(LSST_YAML), "--output", str(tmp_path / "set"), *arguments]
        result = CliRunner().invoke(app, command, catch_exceptions=False)
        assert "2 of 2 shards are complete" in result.output
        assert len(open_dataset(tmp_path / "set")) == 4
        result = CliRunner().invoke(app, ["dataset", "verify", str(tmp_path / "set")])
        assert result.exit_code == 0
        assert "complete and unaltered" in result.output

    def test_a_task_of_a_job_array(self, finished, toy, tmp_path):
        path = tmp_path / "c.yaml"
        path.write_text(
            f"catalog: {{mock: 500}}\nmodel: {toy}\nseed: 3\nblends_per_shard: 5\nisolated: true\n"
            "sampling: {stamp_size: 6.0, max_number: 3, max_mag: 25.3}\n"
        )
        command = ["generate", str(path), "--output", str(tmp_path / "set"), "--shard", "2/3"]
        result = CliRunner().invoke(app, command, catch_exceptions=False)
        assert "1 of 3 shards are complete" in result.output
        name = "LSST/blend_2.hdf5"
        assert (tmp_path / "set" / name).read_bytes() == (finished / name).read_bytes()
        for wrong, says in (("3/3", "must be from 0 to 2, not 3"), ("2", "write it as K/N")):
            with pytest.raises(ConfigError, match=says):
                CliRunner().invoke(app, [*command[:-1], wrong], catch_exceptions=False)

    def test_damage_is_an_error(self, finished, tmp_path):
        copy = shutil.copytree(finished, tmp_path / "copy")
        (copy / "truth/1.parquet").unlink()
        with pytest.raises(OutputError, match="1 shards are bad; --repair"):
            CliRunner().invoke(app, ["dataset", "verify", str(copy)], catch_exceptions=False)
        result = CliRunner().invoke(app, ["dataset", "verify", str(copy), "--repair"])
        assert result.exit_code == 0
        assert "shard 1: truth/1.parquet is missing" in result.output
        assert "1 shards were drawn again" in result.output

    def test_an_unknown_scheduler(self, config, tmp_path):
        with pytest.raises(ConfigError, match=r"local, threads, slurm.*, not 'cron'"):
            generate(config(scheduler="cron"), tmp_path, progress=False)
