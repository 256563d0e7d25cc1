"""Mock catalogues and catalogue files."""

import numpy as np
import pytest
from astropy.table import Table
from btk.catalog import CatsimCatalog
from btk.sampling_functions import FriendsOfFriendsSampling, RandomSquareSampling

from btk_generative.catalogs import mock_catsim, read_catalog
from btk_generative.catalogs.mock import number_density
from btk_generative.conditions import check_catsim
from btk_generative.errors import CatalogError


@pytest.fixture(scope="module")
def mock():
    return mock_catsim(10_000, seed=0).table


@pytest.fixture(scope="module")
def catsim(data):
    return read_catalog(data("catalogs/catsim_10k.fits")).table


def hlr(table, part):
    has = np.asarray(table[f"fluxnorm_{part}"]) > 0
    a, b = np.asarray(table[f"a_{part[0]}"]), np.asarray(table[f"b_{part[0]}"])
    return np.sqrt(a * b)[has]


def between(table, low, high):
    return table[(table["i_ab"] > low) & (table["i_ab"] <= high)]


class TestMock:
    def test_is_a_valid_catalogue_in_the_schema_of_catsim(self, mock, catsim):
        check_catsim(mock, tuple("ugrizy"))
        assert set(catsim.colnames) <= set(mock.colnames)
        assert len(mock) == 10_000
        both = (mock["fluxnorm_bulge"] > 0) & (mock["fluxnorm_disk"] > 0)
        assert np.all(mock["pa_bulge"][both] == mock["pa_disk"][both])

    def test_a_seed_gives_the_same_galaxies(self):
        first, again, other = (mock_catsim(50, seed=seed).table for seed in (3, 3, 4))
        assert all(np.array_equal(first[name], again[name]) for name in first.colnames)
        assert not np.any(first["i_ab"] == other["i_ab"])

    def test_one_galaxy_and_none(self):
        check_catsim(mock_catsim(1).table)
        with pytest.raises(ValueError, match="must be positive, not 0"):
            mock_catsim(0)

    def test_counts_are_those_of_the_lsst_science_book(self, mock):
        assert number_density(25.0) == pytest.approx(46.0)
        slope = np.log10(number_density(26.5) / number_density(24.5)) / 2
        assert slope == pytest.approx(0.31, abs=0.02)
        brighter = np.mean(mock["i_ab"] < 25.0)
        assert brighter == pytest.approx(46 / number_density(27), abs=3 * 0.0042)

    def test_lies_on_the_sky_at_that_density(self, mock):
        side = (mock["dec"].max() - mock["dec"].min()) * 60
        assert len(mock) / side**2 == pytest.approx(number_density(27.0), rel=0.01)
        for sampling in (
            RandomSquareSampling(stamp_size=24.0, max_number=30),
            FriendsOfFriendsSampling(stamp_size=24.0, link_distance=2.5),
        ):
            np.random.seed(0)  # noqa: NPY002 - the generator that BTK draws from
            blend = sampling(mock.copy())
            assert np.all(np.hypot(blend["ra"], blend["dec"]) < 24.0)

    def test_bulge_shares_of_the_bands_agree_with_the_fluxes(self, mock):
        expected = mock["fluxnorm_bulge"] / (mock["fluxnorm_bulge"] + mock["fluxnorm_disk"])
        np.testing.assert_allclose(mock["bulge_share_i"], expected, rtol=1e-12)
        mixed = (expected > 0) & (expected < 1) & (mock["redshift"] < 1)
        # bulges are redder than disks
        assert np.mean(mock["bulge_share_g"][mixed] < mock["bulge_share_i"][mixed]) > 0.95

    def test_masses_of_the_templates_follow_galsims_own_integration(self):
        """Colours against galsim.SED at redshifts where hydrogen does not absorb."""
        import galsim

        from btk_generative.catalogs.mock import BANDS, _Colours

        colours = _Colours.load()
        for template, name in enumerate(("E", "Sbc", "Scd", "Im")):
            sed = galsim.SED(f"CWW_{name}_ext.sed", "angstrom", "flambda")
            for redshift in (0.2, 1.0):
                fluxes = []
                for band in BANDS:
                    bandpass = galsim.Bandpass(f"LSST_{band}.dat", "nm").withZeropoint("AB")
                    fluxes.append(sed.atRedshift(redshift).calculateMagnitude(bandpass))
                expected = np.array(fluxes) - fluxes[BANDS.index("i")]
                got = colours.relative_flux(np.array([float(template)]), np.array([redshift]))
                np.testing.assert_allclose(-2.5 * np.log10(got[0]), expected, atol=0.02)


class TestMockAgainstCatsim:
    """The two come from different relations: the bounds say how far apart they are."""

    @pytest.mark.parametrize(
        ("low", "high"), [(22.0, 24.0), (24.0, 25.0), (25.0, 26.0), (26.0, 27.0)]
    )
    def test_distributions(self, mock, catsim, low, high):
        ours, theirs = between(mock, low, high), between(catsim, low, high)

        def ratio(statistic):
            return statistic(ours) / statistic(theirs)

        assert 0.8 < ratio(len) < 1.2
        assert 0.8 < ratio(lambda t: np.median(t["redshift"])) < 1.2
        assert 0.75 < ratio(lambda t: np.median(hlr(t, "disk"))) < 1.1
        assert 0.3 < ratio(lambda t: np.median(hlr(t, "bulge"))) < 0.8
        # CatSim's galaxies have dust, which widens u - g most
        widths = {"ug": 0.7, "gr": 0.4, "ri": 0.2, "iz": 0.15, "zy": 0.15}
        for (blue, red), width in widths.items():
            a, b = (np.asarray(t[f"{blue}_ab"] - t[f"{red}_ab"]) for t in (ours, theirs))
            assert abs(np.median(a) - np.median(b)) < 0.2
            spread = [np.subtract(*np.percentile(colour, [84, 16])) for colour in (a, b)]
            assert abs(spread[0] - spread[1]) < width

    def test_axis_ratios_and_shares(self, mock, catsim):
        for table, disk, bulge in ((mock, 0.53, 0.76), (catsim, 0.60, 0.92)):
            for part, median in (("disk", disk), ("bulge", bulge)):
                has = np.asarray(table[f"fluxnorm_{part}"]) > 0
                q = np.asarray(table[f"b_{part[0]}"])[has] / np.asarray(table[f"a_{part[0]}"])[has]
                assert np.median(q) == pytest.approx(median, abs=0.02)
        assert np.mean(mock["fluxnorm_bulge"] > 0) == pytest.approx(0.25, abs=0.02)
        assert np.mean(catsim["fluxnorm_bulge"] > 0) == pytest.approx(0.39, abs=0.02)


class TestReadCatsim:
    def test_reads_what_btk_reads(self, data):
        path = data("catalogs/catsim_100.fits")
        ours, theirs = read_catalog(path), CatsimCatalog.from_file(str(path))
        assert isinstance(ours, CatsimCatalog)
        assert ours.table.colnames == theirs.table.colnames
        for name in theirs.table.colnames:
            np.testing.assert_array_equal(ours.table[name], theirs.table[name])
        assert ours.table.meta["path"] == str(path)

    @pytest.mark.parametrize("suffix", ["fits", "parquet"])
    def test_reads_what_was_written(self, tmp_path, suffix):
        table = mock_catsim(300, seed=1).table
        path = write(table, tmp_path / f"mock.{suffix}")
        again = read_catalog(path).table
        for name in table.colnames:
            np.testing.assert_array_equal(again[name], table[name])
            assert again[name].dtype.isnative
        bright = read_catalog(path, max_mag=25.0).table
        assert 0 < len(bright) == np.count_nonzero(table["i_ab"] <= 25.0)

    @pytest.mark.parametrize("suffix", ["fits", "parquet"])
    def test_damage_is_a_clear_error(self, tmp_path, suffix):
        path = write(mock_catsim(3000, seed=1).table, tmp_path / f"mock.{suffix}")
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        with pytest.raises(CatalogError, match=rf"mock\.{suffix}: cannot be read"):
            read_catalog(path)

    def test_missing_file_column_and_format(self, tmp_path):
        with pytest.raises(CatalogError, match=r"absent\.fits: no such file"):
            read_catalog(tmp_path / "absent.fits")
        table = mock_catsim(5).table
        table.remove_column("dec")
        path = write(table, tmp_path / "a.fits")
        with pytest.raises(CatalogError, match=r"a\.fits: column 'dec' is missing; it holds"):
            read_catalog(path)
        with pytest.raises(CatalogError, match="unknown format 'sdss'; it may be catsim"):
            read_catalog(path, format="sdss")
        (tmp_path / "a.txt").write_text("ra dec\n")
        with pytest.raises(CatalogError, match=r"neither FITS .* nor Parquet"):
            read_catalog(tmp_path / "a.txt")


def write(table: Table, path):
    if path.suffix == ".parquet":
        import pyarrow
        import pyarrow.parquet

        columns = {name: np.asarray(table[name]) for name in table.colnames}
        pyarrow.parquet.write_table(pyarrow.table(columns), path)
    else:
        Table(table, meta={}).write(path)
    return path
