"""The published curves and distances to them."""

import shutil

import numpy as np
import pytest
from astropy.table import Table

from btk_generative.errors import CatalogError
from btk_generative.validation.distances import STATISTICS, distance_table, sanity, select
from btk_generative.validation.published import Distribution, read_published


@pytest.fixture(scope="module")
def published(data):
    return {d.name: d for d in read_published(data("lanusse2021"))}


@pytest.mark.parametrize(
    ("name", "flow_vae", "parametric"),
    [
        ("log10_M", 0.101, 0.222),
        ("log10_I", 0.051, 0.166),
        ("D", 0.091, 0.352),
        ("g", 0.085, 0.031),
        ("size", 0.060, 0.027),
        ("rho4", 0.114, 0.080),
    ],
)
def test_distances_between_published_curves_are_as_tabulated(published, name, flow_vae, parametric):
    curve = published[name]
    for sample, expected in (("generative", flow_vae), ("parametric", parametric)):
        found = curve.distances(curve.published[sample], curve.published["cosmos"])
        assert found[f"w1_{name}"] == pytest.approx(expected, abs=0.001)


def test_published_histograms_have_the_tabulated_total_variation(published):
    histogram = published["m20–gini"]
    real = histogram.published["cosmos"]
    for sample, expected in (("generative", 0.142), ("parametric", 0.225)):
        found = histogram.distances(histogram.published[sample], real)
        assert found["tv"] == pytest.approx(expected, abs=0.001)


def test_total_variation_in_coarse_cells(published):
    histogram = published["m20–gini"]
    real = histogram.published["cosmos"]
    moved = np.zeros_like(real)
    moved[4, 4], moved[7, 7], moved[8, 7] = 0.1, -0.06, -0.04  # the last is in the next cell
    found = histogram.distances(np.stack([real, real + moved]), real)
    np.testing.assert_allclose(found["tv"], [0, 0.1], atol=1e-12)
    np.testing.assert_allclose(found["tv_8x8"], [0, 0.04], atol=1e-12)


def test_every_published_distribution_sums_to_one(published):
    assert len(published) == 10
    for distribution in published.values():
        for probabilities in distribution.published.values():
            assert probabilities.sum() == pytest.approx(1)
            assert probabilities.min() >= 0


def gaussian_curve(shift=0.0):
    """Returns standard normal curves, the 'generative' one shifted."""
    edges = np.linspace(-8, 8, 1025)
    x = 0.5 * (edges[1:] + edges[:-1])

    def density(mean):
        values = np.exp(-0.5 * (x - mean) ** 2)
        return values / values.sum()

    samples = {"cosmos": density(0), "generative": density(shift), "parametric": density(0)}
    return Distribution(("g",), (edges,), samples)


def test_w1_of_a_shift_is_the_shift_in_standard_deviations():
    curve = gaussian_curve(0.3)
    found = curve.distances(curve.published["generative"], curve.published["cosmos"])
    assert found["w1_g"] == pytest.approx(0.3, rel=1e-3)
    assert found["ks"] == pytest.approx(0.1192, abs=1e-3)  # 2 Phi(0.15) - 1
    assert found["tv"] == pytest.approx(0.1192, abs=1e-3)


@pytest.mark.parametrize("finite", [1.0, 0.5])
def test_a_sample_is_smoothed_with_the_kernel_of_the_published_estimates(finite):
    curve = gaussian_curve()
    values = np.random.default_rng(0).standard_normal(200_000)
    table = Table({"g": np.append(values, np.full(round(200_000 / finite) - 200_000, np.nan))})
    shown = curve.probabilities(curve.counts(table), len(table))
    x = curve.centres
    # the width of the kernel, 1.059 sd N^-0.2 with N = 10,000 or the finite half of them,
    # adds in quadrature
    width = 1.059 * (10_000 * finite) ** -0.2
    assert np.sqrt(shown @ x**2 - (shown @ x) ** 2) == pytest.approx(np.hypot(1, width), rel=0.002)


def test_values_that_are_not_finite_or_beyond_the_cut_do_not_count():
    edges = np.linspace(0, 2, 201)
    flat = {name: np.full(200, 1 / 200) for name in ("cosmos", "generative", "parametric")}
    curve = Distribution(("D",), (edges,), flat, cut=1.0)
    table = Table({"D": [0.2, 0.4, np.nan, 1.9, 7.0]})
    counts = curve.counts(table)
    assert counts.sum() == 4
    assert curve.probabilities(counts, 5)[curve.centres > 1.0].sum() == 0


def test_counts_saturate_as_in_the_figures():
    edges = np.linspace(0, 1, 3), np.linspace(0, 1, 3)
    cells = {name: np.full((2, 2), 0.25) for name in ("cosmos", "generative", "parametric")}
    histogram = Distribution(("m20", "gini"), edges, cells, saturation=100)
    counts = np.array([[50.0, 10.0], [0.0, 0.0]])
    # of 60 galaxies, scaled to 10,000: 8333 and 1667, both shown as 100
    assert histogram.probabilities(counts, 60) == pytest.approx(np.array([[0.5, 0.5], [0, 0]]))


def test_a_sample_of_the_published_real_curve_lies_at_the_floor(published):
    curve = published["g"]
    rng = np.random.default_rng(2)
    drawn = rng.choice(curve.centres, 5000, p=curve.published["cosmos"])
    values = {name: np.zeros(5000) for name in STATISTICS} | {"g": drawn}
    table = Table(values)
    for name in ("size", "rho4", "log10_M", "log10_I", "D"):
        other = published[name]
        table[name] = rng.choice(other.centres, 5000, p=other.published["cosmos"])
    table["gini"], table["m20"] = 0.3, -1.4
    result = distance_table(list(published.values()), {"parametric": table})
    found = select(result, "parametric", "cosmos")["g"]
    floor = select(result, "parametric", "cosmos", "floor")["g"]
    error = select(result, "parametric", "cosmos", "error")["g"]
    assert found < floor + 3 * error + 0.02  # 0.02: the sample is smoothed twice
    check = sanity(result)  # Gini and M20 are all alike here
    assert not check.passed
    assert check.statistic in ("gini", "m20")


def test_missing_curves_say_where_to_get_them(tmp_path):
    with pytest.raises(CatalogError, match=r"not part of the package.*--data.*BTK_GENERATIVE_DATA"):
        read_published(tmp_path)


def test_incomplete_curves_are_refused(data, tmp_path):
    for name in ("density_curves.csv", "histograms_2d.csv"):
        shutil.copyfile(data("lanusse2021") / name, tmp_path / name)
    lines = (tmp_path / "density_curves.csv").read_text().splitlines(keepends=True)
    kept = [line for line in lines if not line.startswith("rho4,cosmos")]
    (tmp_path / "density_curves.csv").write_text("".join(kept))
    with pytest.raises(CatalogError, match="incomplete"):
        read_published(tmp_path)
    (tmp_path / "density_curves.csv").write_text("a,b\n1,2\n")
    with pytest.raises(CatalogError, match="first line must be statistic,sample,x,density"):
        read_published(tmp_path)
