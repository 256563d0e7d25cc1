"""cosmoDC2 and skyCatalogs files, read into the CatSim schema."""

import galsim
import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from astropy.table import Table
from btk.draw_blends import render_single_catsim_galaxy
from btk.survey import get_surveys

from btk_generative.catalogs import files, read_catalog
from btk_generative.catalogs.cosmodc2 import BANDS
from btk_generative.catalogs.skycatalogs import COSMOLOGY, EDGES, tophat_flux
from btk_generative.conditions import check_catsim
from btk_generative.errors import CatalogError


def cosmodc2_table(n=200, seed=0):
    """Galaxies with the names and conventions of cosmoDC2."""
    rng = np.random.default_rng(seed)
    angle = rng.uniform(-180, 0, n)
    table = {
        "galaxy_id": np.arange(n) + 7_937_501_428,
        "ra": rng.uniform(61.9, 62.1, n),
        "dec": rng.uniform(-37.1, -36.9, n),
        "redshift": rng.uniform(0.1, 3, n),
        "position_angle_true": angle.astype(np.float32),
        "shear_1": rng.normal(0, 0.05, n),
        "shear_2": rng.normal(0, 0.05, n),
        "convergence": rng.normal(0, 0.05, n),
    }
    for part, size in (("bulge", 0.2), ("disk", 0.4)):
        q = rng.uniform(0.3, 1, n)
        table[f"size_{part}_true"] = np.full(n, size)
        table[f"size_minor_{part}_true"] = (size * q).astype(np.float32)
        e = (1 - q) / (1 + q)
        table[f"ellipticity_1_{part}_true"] = e * np.cos(2 * np.deg2rad(angle))
        table[f"ellipticity_2_{part}_true"] = e * np.sin(2 * np.deg2rad(angle))
    share = np.clip(rng.uniform(-0.5, 1, n), 0, 1)
    for k, band in enumerate("ugrizY"):
        table[f"mag_true_{band}_lsst"] = (rng.uniform(22, 27, n) - 0.2 * k).astype(np.float32)
        share = share * 0.95
        table[f"bulge_to_total_ratio_{band}"] = share.astype(np.float32)
    return Table(table)


def write(table, path):
    if path.suffix == ".parquet":
        columns = {name: np.asarray(table[name]) for name in table.colnames}
        pyarrow.parquet.write_table(pyarrow.table(columns), path)
    else:
        table.write(path)
    return path


class TestCosmoDC2:
    def test_real_file_gives_a_valid_catalogue(self, data):
        path = data("catalogs/cosmodc2_1504.fits")
        raw, table = Table.read(path), read_catalog(path).table
        check_catsim(table, tuple("gri"))
        assert len(table) == len(raw) == 1504
        np.testing.assert_allclose(table["i_ab"], raw["mag_true_i_lsst"], rtol=1e-6)
        # bulge and disk together have the shape of the whole
        disk_only = np.asarray(raw["bulge_to_total_ratio_i"]) == 0
        np.testing.assert_allclose(table["a_d"][disk_only], raw["size_true"][disk_only])
        np.testing.assert_allclose(table["a_b"][disk_only], 0)
        # the ellipticities say the same angle as position_angle_true
        x2 = np.cos(2 * np.deg2rad(90 - np.asarray(table["pa_disk"])))
        np.testing.assert_allclose(
            x2[disk_only],
            (raw["ellipticity_1_disk_true"] / raw["ellipticity_disk_true"])[disk_only],
            atol=1e-4,
        )

    def test_galaxies_are_drawn_as_imsim_draws_them(self, tmp_path):
        """imSim's image, whose x axis points west, is the mirror image of BTK's."""
        raw = cosmodc2_table(6)
        path = write(raw, tmp_path / "a.fits")
        table = read_catalog(path).table
        table["ra"], table["dec"], table["btk_rotation"] = 0.7, -0.4, 0.0
        survey = get_surveys("LSST")
        filt, psf = survey.get_filter("i"), galsim.Moffat(2.5, fwhm=0.7)
        for row, entry in zip(raw, table, strict=True):
            ours = render_single_catsim_galaxy(entry, filt, survey, psf, 61, apply_shear=True)
            beta = (90 + row["position_angle_true"]) * galsim.degrees
            share, parts = row["bulge_to_total_ratio_i"], []
            for part, profile, weight in (
                ("bulge", galsim.DeVaucouleurs, share),
                ("disk", galsim.Exponential, 1 - share),
            ):
                a, b = row[f"size_{part}_true"], row[f"size_minor_{part}_true"]
                galaxy = profile(half_light_radius=np.sqrt(a * b), flux=weight * ours.array.sum())
                parts.append(galaxy.shear(q=b / a, beta=beta))
            kappa = row["convergence"]
            galaxy = galsim.Add(parts).shear(
                g1=row["shear_1"] / (1 - kappa), g2=row["shear_2"] / (1 - kappa)
            )
            theirs = galsim.Convolve(galaxy, psf).shift(-0.7, -0.4)
            theirs = theirs.drawImage(nx=61, ny=61, scale=0.2).array[:, ::-1]
            error = np.abs(ours.array - theirs).max() / theirs.max()
            assert error < 0.01
            mirrored = np.abs(ours.array - theirs[:, ::-1]).max() / theirs.max()
            assert mirrored > 10 * error

    @pytest.mark.parametrize("suffix", ["fits", "parquet"])
    def test_magnitudes_shares_and_lensing(self, tmp_path, suffix):
        raw = cosmodc2_table()
        table = read_catalog(write(raw, tmp_path / f"a.{suffix}")).table
        check_catsim(table, tuple(BANDS))
        np.testing.assert_allclose(table["y_ab"], raw["mag_true_Y_lsst"], rtol=1e-6)
        np.testing.assert_allclose(table["bulge_share_g"], raw["bulge_to_total_ratio_g"])
        share = table["fluxnorm_bulge"] / (table["fluxnorm_bulge"] + table["fluxnorm_disk"])
        np.testing.assert_allclose(share, raw["bulge_to_total_ratio_i"], rtol=1e-6)
        np.testing.assert_allclose(table["g1"] * (1 - table["convergence"]), raw["shear_1"])
        np.testing.assert_array_equal(table["galaxy_id"], raw["galaxy_id"])

    def test_ellipticities_stand_in_for_a_missing_position_angle(self, tmp_path):
        raw = cosmodc2_table()
        with_angle = read_catalog(write(raw, tmp_path / "a.fits")).table
        raw.remove_column("position_angle_true")
        without = read_catalog(write(raw, tmp_path / "b.fits")).table
        difference = np.asarray(with_angle["pa_disk"] - without["pa_disk"])
        np.testing.assert_allclose((difference + 90) % 180, 90, atol=1e-3)

    def test_lensed_magnitudes_stand_in_for_unlensed_ones(self, tmp_path):
        raw = cosmodc2_table()
        for band in "ugrizY":
            raw.rename_column(f"mag_true_{band}_lsst", f"mag_{band}_lsst")
        table = read_catalog(write(raw, tmp_path / "a.fits")).table
        np.testing.assert_allclose(table["r_ab"], raw["mag_r_lsst"], rtol=1e-6)

    @pytest.mark.parametrize("suffix", ["fits", "parquet"])
    def test_rows_are_left_out_while_reading(self, tmp_path, suffix, monkeypatch):
        monkeypatch.setattr(files, "_ROWS", 64)
        raw = cosmodc2_table(1000)
        path = write(raw, tmp_path / f"a.{suffix}")
        sizes = [len(part["ra"]) for part in files.open_source(path).batches(["ra"])]
        assert sum(sizes) == 1000
        assert max(sizes) <= 64
        table = read_catalog(path, max_mag=24.0, region=(61.95, 62.05, -37.0, -36.9)).table
        keep = (raw["mag_true_i_lsst"] <= 24) & (raw["dec"] >= -37.0)
        keep &= (raw["ra"] >= 61.95) & (raw["ra"] <= 62.05)
        np.testing.assert_array_equal(table["galaxy_id"], raw["galaxy_id"][keep])
        with pytest.raises(CatalogError, match=r"holds no galaxy .*max_mag=1"):
            read_catalog(path, max_mag=1.0)
        with pytest.raises(CatalogError, match="each min below its max, not"):
            read_catalog(path, region=(62, 61, -37, -36))

    def test_a_folder_of_parquet_files_is_one_catalogue(self, tmp_path):
        folder = tmp_path / "many"
        folder.mkdir()
        for k in range(3):
            write(cosmodc2_table(20, seed=k), folder / f"{k}.parquet")
        assert len(read_catalog(folder).table) == 60

    def test_a_catalogue_object_of_gcrcatalogs(self, tmp_path):
        GCR = pytest.importorskip("GCR", reason="the base of GCRCatalogs is not installed")
        raw = cosmodc2_table()

        class InMemory(GCR.BaseGenericCatalog):
            def _subclass_init(self, **kwargs):
                self._quantity_modifiers = {name: name for name in raw.colnames}

            def _generate_native_quantity_list(self):
                return raw.colnames

            def _iter_native_dataset(self, native_filters=None):
                for part in (raw[:120], raw[120:]):
                    yield lambda name, part=part: np.asarray(part[name])

        expected = read_catalog(write(raw, tmp_path / "a.fits"), max_mag=25.0).table
        table = read_catalog(InMemory(), max_mag=25.0).table
        assert len(table) == len(expected) < 200
        for name in expected.colnames:
            np.testing.assert_array_equal(table[name], expected[name])

    def test_names_of_gcrcatalogs_need_it(self):
        with pytest.raises(CatalogError, match=r"no such file.*install GCRCatalogs"):
            read_catalog("cosmoDC2_v1.1.4_image")

    def test_missing_columns_are_named(self, tmp_path):
        raw = cosmodc2_table(5)
        raw.remove_column("size_disk_true")
        with pytest.raises(CatalogError, match=r"a\.fits: column 'size_disk_true' is missing"):
            read_catalog(write(raw, tmp_path / "a.fits"))
        with pytest.raises(CatalogError, match="no known format; give one of catsim, cosmodc2"):
            read_catalog(write(Table({"x": [1.0]}), tmp_path / "b.fits"))


@pytest.fixture
def skycatalogs(data):
    return data("catalogs/skycatalogs_galaxy_9556.parquet")


class TestSkyCatalogs:
    def test_real_file_gives_a_valid_catalogue(self, skycatalogs):
        raw = pyarrow.parquet.read_table(skycatalogs).to_pandas()
        table = read_catalog(skycatalogs).table
        check_catsim(table, tuple(BANDS))
        np.testing.assert_array_equal(table["galaxy_id"], raw["galaxy_id"])
        has_bulge = np.isfinite(raw["bulge_magnorm"])
        assert np.array_equal(table["fluxnorm_bulge"] > 0, has_bulge)
        np.testing.assert_allclose(
            (90 - table["pa_disk"] - raw["position_angle_unlensed"] + 90) % 180, 90
        )

    def test_magnitudes_are_those_of_galsims_spectra(self):
        rng = np.random.default_rng(0)
        luminosity = rng.uniform(1, 5, (3, 30)).cumsum(axis=1) * 1e3
        redshift = np.array([0.1, 0.9, 2.5])
        got = 22.5 - 2.5 * np.log10(tophat_flux(luminosity, redshift, redshift) * 10**9)
        light = 2.99792458e18
        for row, z in enumerate(redshift):
            per_angstrom = luminosity[row] * light * np.diff(-1 / EDGES) / np.diff(EDGES)
            x = np.stack([EDGES[:-1], EDGES[1:] - 1e-3], axis=1).ravel()
            x, density = np.insert(x, 0, [10.0, 999.999]), np.repeat(per_angstrom, 2)
            density = np.insert(density, 0, [0.0, 0.0])
            spectrum = galsim.LookupTable(x, density, interpolant="linear")
            sed = galsim.SED(spectrum, "angstrom", "flambda").atRedshift(z)
            for k, band in enumerate(BANDS):
                curve = galsim.Bandpass(f"LSST_{band}.dat", "nm")
                red = min(curve.red_limit, (EDGES[-1] - 1) / 10 * (1 + z))
                zero = galsim.SED(lambda w: 3631e-23, "nm", "fnu").calculateFlux(curve)
                flux = sed.calculateFlux(curve.truncate(red_limit=red))
                # the spectrum is in units of an absolute magnitude of 0
                expected = -2.5 * np.log10(flux * 3631e-23 / zero) + COSMOLOGY.distmod(z).value
                assert got[row, k] == pytest.approx(expected, abs=0.003)

    def test_magnorm_of_the_file_follows_from_its_spectra(self, skycatalogs):
        """The catalogue's own magnitude at 5000 angstrom, rest frame, checks unit and distance."""
        raw = pyarrow.parquet.read_table(skycatalogs).to_pandas()
        bin_5000 = int(np.searchsorted(EDGES, 5000)) - 1
        luminosity = np.stack(raw["sed_val_disk"])[:, bin_5000]
        magnorm = -2.5 * np.log10(luminosity) + COSMOLOGY.distmod(raw["redshift_hubble"]).value
        np.testing.assert_allclose(magnorm, raw["disk_magnorm"], atol=1e-3)

    def test_spectra_from_the_sed_library(self, skycatalogs, tmp_path):
        raw = pyarrow.parquet.read_table(skycatalogs).slice(0, 40)
        names = [f"sed_val_{part}" for part in ("bulge", "disk", "knots")]
        without = tmp_path / "without.parquet"
        pyarrow.parquet.write_table(raw.drop_columns(names), without)
        with pytest.raises(CatalogError, match=r"without\.parquet: .*give the library's folder"):
            read_catalog(without)
        with pytest.raises(CatalogError, match=r"cannot read the spectrum .*/bulge_\d+\.txt"):
            read_catalog(without, sed_library=tmp_path)
        (tmp_path / "galaxyTopHatSED").mkdir()
        for row in raw.to_pylist():
            for part in ("bulge", "disk"):
                density = np.array(row[f"sed_val_{part}"]) * np.diff(-1 / EDGES) / np.diff(EDGES)
                x = np.stack([EDGES[:-1], EDGES[1:] - 0.01], axis=1).ravel() / 10
                spectrum = np.stack([x, np.repeat(density, 2)], axis=1)
                np.savetxt(tmp_path / row[f"{part}_sed_file_path"], spectrum)
        table = read_catalog(without, sed_library=tmp_path).table
        expected = read_catalog(skycatalogs).table[:40]
        for band in "grizy":
            np.testing.assert_allclose(table[f"{band}_ab"], expected[f"{band}_ab"], atol=0.01)

    def test_faint_galaxies_are_left_out(self, skycatalogs):
        every = read_catalog(skycatalogs).table
        bright = read_catalog(skycatalogs, max_mag=27.0).table
        assert 0 < len(bright) == np.count_nonzero(every["i_ab"] <= 27.0) < 500
