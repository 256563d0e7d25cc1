"""Colour gradients from the catalogue's bulges and disks."""

import galsim
import numpy as np
import pytest
from btk.catalog import CatsimCatalog
from btk.survey import get_surveys
from surveycodex.utilities import mag2counts
from test_generate import toy  # noqa: F401 - a fixture

from btk_generative import GenerativeGenerator, LightProfiles
from btk_generative.catalogs import mock_catsim
from btk_generative.draw.color import bulge_shares, split
from btk_generative.draw.sampling_config import SamplingConfig
from btk_generative.errors import CatalogError, ConfigError
from btk_generative.inputs import COMPONENTS


def mixed(n=6):
    """Galaxies with a bulge and a bluer disk, at i < 24."""
    table = mock_catsim(8000, seed=2).table
    share = table["bulge_share_i"]
    redder = share - table["bulge_share_g"] > 0.05
    return table[(share > 0.2) & (share < 0.8) & (table["i_ab"] < 24) & redder][:n]


def first_batch(table, model, **options):
    sampling = SamplingConfig(stamp_size=24.0, max_number=1, max_shift=0.0).build(1)
    return next(
        GenerativeGenerator(
            CatsimCatalog(table),
            sampling,
            get_surveys("LSST"),
            batch_size=4,
            add_noise="none",
            model=model,
            **options,
        )
    )


def size(image):
    return galsim.hsm.FindAdaptiveMom(galsim.Image(image)).moments_sigma


def test_the_profiles_of_bulge_and_disk_are_galsims():
    table = mixed(1)
    n, scale = 600, float(table["a_d"][0]) / 60
    share = np.array([0.4])
    flat = LightProfiles(np.full((1, n, n), 1 / n**2, np.float32), [scale])
    bulge, disk, *sums = split(flat, table, share, dict.fromkeys(COMPONENTS, np.array([0.3])))
    ours = (bulge.images[0] * sums[0][0]) / (disk.images[0] * sums[1][0])  # B over D

    def draw(profile, letter):
        a, b = table[f"a_{letter}"][0], table[f"b_{letter}"][0]
        shape = profile(half_light_radius=np.sqrt(a * b)).shear(q=b / a, beta=0.3 * galsim.radians)
        return shape.drawImage(nx=n, ny=n, scale=scale, method="sb").array

    theirs = draw(galsim.DeVaucouleurs, "b") / draw(galsim.Exponential, "d")
    ring = np.hypot(*np.meshgrid(*2 * [np.arange(n) - (n - 1) / 2]))
    there = (ring > 30) & (ring < 200)  # GalSim softens the centre and cuts the wings
    np.testing.assert_allclose(ours[there], theirs[there], rtol=0.02)


def test_the_parts_add_up_to_the_formula():
    table = mixed()
    share, of_band = bulge_shares(table, "ugrizy")
    images = np.random.default_rng(0).uniform(size=(len(table), 33, 33)).astype(np.float32)
    images /= images.sum(axis=(1, 2), keepdims=True)
    profiles = LightProfiles(images, np.full(len(table), 0.1))
    bulge, disk, p, q = split(
        profiles, table, share, dict.fromkeys(COMPONENTS, np.zeros(len(table)))
    )
    part = [i.images * s[:, None, None] for i, s in ((bulge, p), (disk, q))]
    np.testing.assert_allclose(
        share[:, None, None] * part[0] + (1 - share[:, None, None]) * part[1],
        profiles.images,
        rtol=1e-4,
        atol=1e-9,
    )
    np.testing.assert_allclose(of_band[:, 3], share, rtol=1e-12)


def test_fluxes_stay_and_colours_turn(toy):  # noqa: F811
    table = mixed()
    flat, graded = (first_batch(table, toy, color=c) for c in ("flat", "components"))
    survey = get_surveys("LSST")
    bluer_is_larger = []
    for index, catalog in enumerate(graded.catalog_list):
        ours, theirs = graded.isolated_images[index, 0], flat.isolated_images[index, 0]
        for k, band in enumerate(survey.available_filters):
            counts = mag2counts(catalog[f"{band}_ab"][0], survey, survey.get_filter(band))
            assert ours[k].sum() == pytest.approx(counts.to_value("electron"), rel=0.01)
            assert ours[k].sum() == pytest.approx(theirs[k].sum(), rel=0.002)
        i = survey.available_filters.index("i")
        np.testing.assert_allclose(ours[i], theirs[i], atol=2e-4 * theirs[i].max())
        g = survey.available_filters.index("g")
        # the bulge is the redder and the smaller one
        bluer_is_larger.append(size(ours[g]) > size(theirs[g]))
        assert np.abs(ours[g] - theirs[g]).max() > 0.005 * theirs[g].max()
    assert all(bluer_is_larger)


def test_a_catalogue_without_shares(toy):  # noqa: F811
    table = mixed()
    table.remove_column("bulge_share_g")
    with pytest.raises(CatalogError, match=r"share of the g band, column 'bulge_share_g'"):
        first_batch(table, toy, color="components")
    first_batch(table, toy, color="flat")
    table["bulge_share_g"] = np.linspace(0, 1.2, len(table))
    with pytest.raises(CatalogError, match=r"row 5: value 1\.2 is not a share"):
        bulge_shares(table, "g")
    with pytest.raises(ConfigError, match="color must be one of"):
        first_batch(table, toy, color="rainbow")
