import errno

import galsim
import numpy as np
import pytest
import tiny_catalog
from astropy.io import fits
from astropy.table import Table

from btk_generative.conditions import from_cosmos
from btk_generative.errors import CatalogError, ConfigError, OutputError
from btk_generative.training import dataset as module
from btk_generative.training.dataset import make_dataset, open_dataset, split_of
from btk_generative.training.inputs import Inputs
from btk_generative.training.settings import DataSettings
from btk_generative.training.sources import Galaxies, View


@pytest.fixture(scope="module")
def catalog(tmp_path_factory):
    return tiny_catalog.write(tmp_path_factory.mktemp("tiny"))


def records_of(data):
    return np.concatenate(data.shards)


def test_stamps_at_the_catalogues_scale_are_its_pixels(catalog, tmp_path):
    records = records_of(make_dataset(DataSettings(catalog=catalog, stamp_size=64), tmp_path))
    assert len(records) == 6
    for row, record in enumerate(records):
        np.testing.assert_allclose(
            record["image"], tiny_catalog.pixels(catalog, row), atol=1e-5 * record["image"].max()
        )


def test_a_stamp_wider_than_the_image_is_filled_with_its_noise(catalog, tmp_path):
    records = records_of(make_dataset(DataSettings(catalog=catalog, stamp_size=112), tmp_path))
    border = records["image"][:, :20]
    assert border.std() == pytest.approx(galsim.getCOSMOSNoise().getVariance() ** 0.5, rel=0.05)


def test_conditions_are_those_of_the_catalogue(catalog, tmp_path):
    data = make_dataset(DataSettings(catalog=catalog), tmp_path)
    table = data.table_of(records_of(data)["conditions"])
    rows = np.arange(6)
    np.testing.assert_allclose(table["disk_flux"], 20.0 + rows, rtol=1e-6)
    np.testing.assert_allclose(table["disk_hlr"], 0.2 + 0.02 * rows, rtol=1e-6)
    np.testing.assert_allclose(table["zphot"], 0.5 + 0.1 * rows, rtol=1e-6)
    assert np.isnan(table["bulge_flux"]).all()
    assert not table["bulge_present"].any()
    assert table["disk_present"].all()


def noiseless(row, seed, width):
    image = galsim.Convolve(tiny_catalog.galaxy(row), tiny_catalog.psf(row))
    return View(image, tiny_catalog.psf(row), galsim.getCOSMOSNoise(), 0.03, True)


def observe(settings, copy=0):
    """Returns the record of a noiseless galaxy with PSF, both known."""
    conditions = Table({"flux_radius": [0.0, 0.0, 20.0]})
    galaxies = Galaxies(np.arange(3), conditions, 0.3 * np.arange(3), noiseless)
    half = (settings.stamp_size, settings.stamp_size // 2 + 1)
    record = np.zeros(
        (),
        [
            ("identity", "i8"),
            ("pixel_scale", "f4"),
            ("image", "f4", (half[0],) * 2),
            ("transfer", "c8", half),
            ("power", "f4", half),
        ],
    )
    module._observe(galaxies, 2, copy, settings, 0, record)
    return record


def angle_of(image):
    """Returns the angle of the major axis from +x, in radians."""
    shape = galsim.Image(np.asarray(image, dtype=float)).FindAdaptiveMom().observed_shape
    return shape.beta.rad


def test_copies_are_rotated_with_their_psf_and_noise():
    settings = DataSettings(stamp_size=64, copies=2)
    turned = observe(settings, copy=1)
    turn = angle_of(turned["image"]) - angle_of(observe(settings)["image"])
    psf = tiny_catalog.psf(2).rotate(turn * galsim.radians)
    profile = tiny_catalog.galaxy(2).rotate(turn * galsim.radians)
    expected = galsim.Image(64, 64, scale=0.03, dtype=float)
    galsim.Convolve(profile, psf).drawImage(expected, method="no_pixel")
    assert np.abs(turned["image"] - expected.array).max() < 2e-3 * expected.array.max()
    from btk_generative.training.observation import psf_transfer

    np.testing.assert_allclose(turned["transfer"], psf_transfer(psf, 64, 0.03), atol=2e-3)
    straight = observe(settings)["power"]
    assert np.abs(turned["power"] / straight - 1).max() > 0.05


def test_own_frame_has_the_major_axis_along_x_and_a_width_in_radii():
    record = observe(DataSettings(stamp_size=64, frame="galaxy", width=8))
    assert record["pixel_scale"] == pytest.approx(8 * 20 * 0.03 / 64)
    assert angle_of(record["image"]) == pytest.approx(0, abs=0.05)  # the PSF's ellipse is its own
    assert record["image"].sum() == pytest.approx(22.0, rel=0.03)


def test_split_belongs_to_the_galaxy_for_ever():
    identity = np.arange(10000)
    split = split_of(identity)
    shares = np.bincount(split) / len(split)
    np.testing.assert_allclose(shares, [0.8, 0.1, 0.1], atol=0.01)
    np.testing.assert_array_equal(split_of(identity[::-1]), split[::-1])
    assert list(split_of(np.array([1, 7, 11, 1286742]))) == [2, 0, 0, 0]


def test_copies_of_a_galaxy_are_in_one_split(tmp_path, catalog):
    records = records_of(make_dataset(DataSettings(catalog=catalog, copies=3), tmp_path))
    assert len(records) == 18
    for identity in np.unique(records["identity"]):
        assert len(np.unique(records["split"][records["identity"] == identity])) == 1


@pytest.fixture
def small_shards(monkeypatch):
    monkeypatch.setattr(module, "SHARD_SIZE", 2)


def test_a_stopped_run_goes_on_and_gives_the_same(tmp_path, catalog, small_shards, monkeypatch):
    settings = DataSettings(catalog=catalog, stamp_size=32)
    make_dataset(settings, tmp_path / "whole")
    made = []
    original = module._make_shard

    def stop_after_two(*arguments):
        if len(made) == 2:
            raise KeyboardInterrupt
        made.append(arguments)
        original(*arguments)

    monkeypatch.setattr(module, "_make_shard", stop_after_two)
    with pytest.raises(KeyboardInterrupt):
        make_dataset(settings, tmp_path / "stopped")
    with pytest.raises(CatalogError, match="no finished data set"):
        open_dataset(tmp_path / "stopped")
    made.clear()
    make_dataset(settings, tmp_path / "stopped")
    assert len(made) == 1
    for path in (tmp_path / "whole").iterdir():
        assert (tmp_path / "stopped" / path.name).read_bytes() == path.read_bytes()


@pytest.mark.slow
def test_number_of_processes_does_not_matter(tmp_path, catalog):
    for jobs in (1, 2):
        make_dataset(DataSettings(catalog=catalog, jobs=jobs), tmp_path / str(jobs))
    shard = "shard_00000.npy"
    assert (tmp_path / "1" / shard).read_bytes() == (tmp_path / "2" / shard).read_bytes()


def test_damage_is_noticed(tmp_path, catalog):
    make_dataset(DataSettings(catalog=catalog), tmp_path)
    path = tmp_path / "shard_00000.npy"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(CatalogError, match=r"shard_00000\.npy: is missing or damaged"):
        open_dataset(tmp_path)


def test_a_full_disk_leaves_nothing_half_written(tmp_path, catalog, small_shards, monkeypatch):
    saved = []
    original = np.save

    def save(file, array):
        if saved:
            file.write(b"half of it")
            raise OSError(errno.ENOSPC, "No space left on device")
        saved.append(array)
        original(file, array)

    monkeypatch.setattr(np, "save", save)
    with pytest.raises(OutputError, match=r"No space left on device; free some space and run"):
        make_dataset(DataSettings(catalog=catalog), tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["settings.json", "shard_00000.npy"]


def test_a_folder_holds_one_data_set(tmp_path, catalog):
    make_dataset(DataSettings(catalog=catalog), tmp_path)
    with pytest.raises(OutputError, match="data set of other settings"):
        make_dataset(DataSettings(catalog=catalog, stamp_size=32), tmp_path)


def test_missing_selection_file_is_named(tmp_path, catalog):
    folder = tmp_path / "catalog"
    folder.mkdir()
    path = tiny_catalog.write(folder, count=2)
    (folder / "tiny_selection.fits").unlink()
    with pytest.raises(CatalogError, match=r"selection.*data\.exclusion_level to none"):
        make_dataset(DataSettings(catalog=path), tmp_path / "data")
    assert not (tmp_path / "data").exists()
    data = make_dataset(DataSettings(catalog=path, exclusion_level="none"), tmp_path / "other")
    assert len(records_of(data)) == 2


def test_catalogue_without_fits(tmp_path):
    path = tiny_catalog.write(tmp_path, count=2)
    (tmp_path / "tiny_fits.fits").unlink()
    bare = {"catalog": path, "exclusion_level": "none"}
    data = make_dataset(DataSettings(**bare), tmp_path / "data")
    assert data.conditions == ("mag_auto",)
    with pytest.raises(ConfigError, match=r"no 'disk_flux'.*has mag_auto"):
        Inputs.measure(["mag_auto", "disk_flux"], data.table_of(records_of(data)["conditions"]))
    with pytest.raises(CatalogError, match="needs the parametric fits"):
        make_dataset(DataSettings(catalog=path), tmp_path / "marginal")
    with pytest.raises(ConfigError, match=r"data\.frame.*no parametric fits"):
        make_dataset(DataSettings(**bare, frame="galaxy"), tmp_path / "own")
    with pytest.raises(ConfigError, match="has no 'bulge_flux'"):
        make_dataset(DataSettings(**bare), tmp_path / "own", conditions=["bulge_flux"])
    assert not (tmp_path / "own").exists()


def test_a_stamp_with_nan_names_the_galaxy(tmp_path):
    path = tiny_catalog.write(tmp_path, count=3, nan_row=1)
    with pytest.raises(CatalogError, match=r"galaxy 1007 \(row 1\).*NaN"):
        make_dataset(DataSettings(catalog=path, exclusion_level="none"), tmp_path / "data")
    assert not (tmp_path / "data" / "dataset.json").exists()


def test_no_catalogue_says_how_to_get_one(tmp_path):
    with pytest.raises(CatalogError, match="galsim_download_cosmos"):
        make_dataset(DataSettings(catalog=tmp_path / "none.fits"), tmp_path / "data")


def test_real_hst_galaxies(data, tmp_path):
    path = data("cosmos_hst/real_galaxy_catalog.fits")
    settings = DataSettings(catalog=path, exclusion_level="none", stamp_size=64, copies=2)
    made = make_dataset(settings, tmp_path)
    records = records_of(made)
    assert len(records) == 120
    assert set(made.conditions) == {"mag_auto", "flux_radius", "zphot"}
    # At frequencies to which the optics let little through, whitened images are noise alone.
    dark = np.abs(records["transfer"]) < 0.02
    faint = made.table_of(records["conditions"])["mag_auto"] > 23
    white = np.abs(np.fft.rfft2(records["image"])) ** 2 / 64**2 / records["power"]
    median = [np.median(w[d]) for w, d in zip(white[faint], dark[faint], strict=True)]
    assert np.median(median) == pytest.approx(np.log(2), rel=0.15)


def test_fits_of_cosmos_become_conditions(data):
    records = fits.getdata(data("cosmos_catalog/cosmos_25.2_parametric.fits"))[:2000]
    conditions = from_cosmos(records)
    single = records["use_bulgefit"] == 0
    disk, bulge = (np.asarray(conditions[f"{part}_present"]) for part in ("disk", "bulge"))
    np.testing.assert_array_equal(disk[single], records["sersicfit"][single, 2] < 2.5)
    np.testing.assert_array_equal(bulge[single], ~disk[single])
    assert disk[~single].all()
    assert bulge[~single].all()
    for part in ("bulge", "disk"):
        there = conditions[f"{part}_present"]
        np.testing.assert_array_equal(conditions[f"{part}_flux"].mask, ~there)
        assert (conditions[f"{part}_flux"][there] > 0).all()
    galsims = galsim.COSMOSCatalog(
        "cosmos_25.2_parametric.fits",
        dir=str(data("cosmos_catalog")),
        use_real=False,
        exclusion_level="none",
    )
    for row in (*np.flatnonzero(single)[:5], *np.flatnonzero(~single)[:5]):
        galaxy = galsims.makeGalaxy(int(row), gal_type="parametric")
        flux = sum(
            conditions[f"{part}_flux"][row]
            for part in ("bulge", "disk")
            if conditions[f"{part}_present"][row]
        )
        assert flux == pytest.approx(galaxy.flux, rel=1e-6)


def test_inputs_standardise_and_hide_what_is_not_there():
    conditions = Table(
        {
            "mag_auto": [20.0, 22.0, 24.0, 26.0],
            "bulge_flux": [1.0, 10.0, np.nan, 100.0],
            "bulge_present": [True, True, False, True],
        }
    )
    inputs = Inputs.measure(["mag_auto", "bulge_flux"], conditions)
    assert inputs.all_names == ["mag_auto", "bulge_flux", "bulge_present"]
    values = inputs.values(conditions)
    encoded = np.asarray(inputs.encode(values))
    np.testing.assert_allclose(encoded[:, 0].mean(), 0, atol=1e-6)
    np.testing.assert_allclose(encoded[:, 0].std(), 1, rtol=1e-6)
    scale = np.std([0, 1, 2])
    np.testing.assert_allclose(encoded[:, 1], [-1 / scale, 0, 0, 1 / scale], atol=1e-5)
    np.testing.assert_array_equal(encoded[:, 2], [1, 1, 0, 1])
    for anything in (0.0, 5.0, 1e9):  # not there, whatever its value
        values["bulge_flux"][2] = anything
        np.testing.assert_array_equal(np.asarray(inputs.encode(values))[2], encoded[2])
    assert [given["missing"] for given in inputs.card()] == pytest.approx([23.0, 10.0, 0.0])
