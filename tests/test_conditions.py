"""From CatSim rows to conditions, and the errors that bad rows raise."""

import galsim
import numpy as np
import pytest
from astropy.table import Table
from scipy.special import gammainc, gammaincinv

from btk_generative.conditions import (
    agn_share,
    check_catsim,
    clip,
    from_catsim,
    half_light_radius,
    position_angle,
)
from btk_generative.errors import CatalogError
from btk_generative.models import ModelInput


def catsim(**columns) -> Table:
    """Returns a table of galaxies with bulge and disk, some columns replaced."""
    n = max([len(np.atleast_1d(values)) for values in columns.values()], default=3)
    values = {
        "ra": 0.01,
        "dec": -0.02,
        "redshift": 0.8,
        "fluxnorm_bulge": 1e-10,
        "fluxnorm_disk": 3e-10,
        "fluxnorm_agn": 0.0,
        "a_b": 0.4,
        "b_b": 0.3,
        "a_d": 0.9,
        "b_d": 0.4,
        "pa_bulge": 30.0,
        "pa_disk": 30.0,
        **{f"{band}_ab": 24.0 for band in "ugrizy"},
        **columns,
    }
    return Table({name: np.broadcast_to(v, n).copy() for name, v in values.items()})


def test_the_documented_mapping():
    row = from_catsim(catsim(i_ab=[24.5]))[0]
    assert row["zphot"] == 0.8
    assert row["bulge_hlr"] == pytest.approx(np.sqrt(0.4 * 0.3))
    assert row["disk_hlr"] == pytest.approx(np.sqrt(0.9 * 0.4))
    assert row["bulge_q"] == pytest.approx(0.75)
    assert row["disk_q"] == pytest.approx(4 / 9)
    counts = 10 ** (-0.4 * (24.5 - 25.94))
    assert row["bulge_flux"] == pytest.approx(counts / 4)
    assert row["disk_flux"] == pytest.approx(counts * 3 / 4)
    assert row["mag_auto"] == pytest.approx(24.5)
    assert row["bulge_present"]
    assert row["disk_present"]


def test_a_missing_component_is_masked_never_zero():
    table = catsim(fluxnorm_bulge=[0.0, 1.0, 0.0], fluxnorm_disk=[1.0, 0.0, 0.0], fluxnorm_agn=1.0)
    conditions = from_catsim(table)
    assert list(conditions["bulge_present"]) == [False, True, False]
    assert list(conditions["disk_present"]) == [True, False, False]
    for part in ("bulge", "disk"):
        for name in ("hlr", "q", "flux"):
            mask = np.ma.getmaskarray(conditions[f"{part}_{name}"])
            assert list(mask) == [not there for there in conditions[f"{part}_present"]]
    assert list(np.ma.getmaskarray(conditions["mag_auto"])) == [False, False, True]
    assert list(agn_share(table)) == [0.5, 0.5, 1.0]


def test_fluxes_leave_the_agn_out():
    conditions = from_catsim(catsim(fluxnorm_agn=[4e-10], i_ab=[24.0]))
    assert conditions["mag_auto"][0] == pytest.approx(24.0 + 2.5 * np.log10(2))


def test_half_light_radius_agrees_with_galsim():
    table = catsim(fluxnorm_bulge=[0.0, 1.0, 1.0, 3.0], fluxnorm_disk=[1.0, 0.0, 2.0, 1.0])
    radius = half_light_radius(from_catsim(table))
    for row, r in zip(table, radius, strict=True):
        galaxy = galsim.Sum(
            galsim.DeVaucouleurs(np.sqrt(row["a_b"] * row["b_b"]), flux=row["fluxnorm_bulge"]),
            galsim.Exponential(np.sqrt(row["a_d"] * row["b_d"]), flux=row["fluxnorm_disk"]),
        )
        photons = galaxy.shoot(1_000_000, rng=galsim.BaseDeviate(1))
        inside = np.median(np.hypot(photons.x, photons.y))
        assert r == pytest.approx(inside, rel=3e-3)


def test_half_light_radius_of_components_of_any_sizes_and_shares():
    rng = np.random.default_rng(3)
    conditions = Table(
        {
            **{f"{part}_hlr": 10 ** rng.uniform(-4, 2, 400) for part in ("bulge", "disk")},
            **{f"{part}_flux": 10 ** rng.uniform(-6, 6, 400) for part in ("bulge", "disk")},
            **{f"{part}_present": np.ones(400, dtype=bool) for part in ("bulge", "disk")},
        }
    )
    radius = half_light_radius(conditions)
    bulge, disk = conditions["bulge_flux"], conditions["disk_flux"]
    inside = bulge * gammainc(8, gammaincinv(8, 0.5) * (radius / conditions["bulge_hlr"]) ** 0.25)
    inside += disk * gammainc(2, gammaincinv(2, 0.5) * radius / conditions["disk_hlr"])
    np.testing.assert_allclose(inside / (bulge + disk), 0.5, atol=1e-9)
    for row in range(0, 400, 50):  # to the bit, whatever the other rows
        assert half_light_radius(conditions[row : row + 1])[0] == radius[row]


def test_position_angle_is_the_disks_or_else_the_bulges():
    table = catsim(
        fluxnorm_disk=[1.0, 0.0, 0.0],
        fluxnorm_bulge=[1.0, 1.0, 0.0],
        fluxnorm_agn=1.0,
        pa_bulge=20.0,
        pa_disk=70.0,
    )
    assert np.rad2deg(position_angle(table)) == pytest.approx([70.0, 20.0, 0.0])


def test_clipping_keeps_the_size_through_the_ratio():
    inputs = [
        ModelInput("bulge_hlr", "arcsec", 0.05, 2.0),
        ModelInput("disk_hlr", "arcsec", 0.05, 2.0),
        ModelInput("zphot", "", 0.1, 3.0),
    ]
    table = catsim(
        fluxnorm_bulge=0.0, a_d=[0.5, 8.0, 0.02], b_d=[0.5, 8.0, 0.02], redshift=[1, 1, 5]
    )
    clipped = from_catsim(table)
    ratio = clip(clipped, inputs)
    assert list(clipped["disk_hlr"]) == [0.5, 2.0, 0.05]
    assert list(clipped["zphot"]) == [1.0, 1.0, 3.0]
    assert ratio == pytest.approx([1.0, 4.0, 0.4])
    assert np.ma.getmaskarray(clipped["bulge_hlr"]).all()


@pytest.mark.parametrize(
    ("column", "value", "says"),
    [
        ("redshift", np.nan, "not finite"),
        ("redshift", -0.1, "negative"),
        ("i_ab", np.inf, "not finite"),
        ("u_ab", np.nan, "not finite"),
        ("fluxnorm_disk", -1e-10, "negative"),
        ("fluxnorm_agn", np.nan, "not finite"),
        ("a_d", 0.0, "not a size"),
        ("b_b", -0.3, "not a size"),
        ("b_d", 1.8, "axis ratio"),
        ("pa_disk", np.nan, "not finite"),
        ("ra", np.inf, "not finite"),
    ],
)
def test_a_bad_value_is_named(column, value, says):
    table = catsim()
    table[column][1] = value
    table.meta["path"] = "some.fits"
    with pytest.raises(CatalogError, match=says) as error:
        check_catsim(table, ("u", "i"))
    for part in ("some.fits", f"'{column}'", "row 1", str(value)):
        assert part in str(error.value)


def test_values_of_a_component_without_flux_do_not_matter():
    check_catsim(catsim(fluxnorm_bulge=0.0, a_b=0.0, b_b=np.nan, pa_bulge=np.nan))


def test_no_flux_at_all_is_an_error():
    with pytest.raises(CatalogError, match="no flux"):
        check_catsim(catsim(fluxnorm_bulge=[0.0], fluxnorm_disk=0.0))


def test_a_missing_or_renamed_column_is_named():
    table = catsim()
    table.rename_column("fluxnorm_disk", "flux_norm_disk")
    with pytest.raises(CatalogError, match=r"'fluxnorm_disk' is missing.*'flux_norm_disk'"):
        check_catsim(table)


def test_an_empty_catalogue_is_an_error():
    with pytest.raises(CatalogError, match="empty"):
        check_catsim(catsim()[:0])


def test_masked_values_are_not_numbers():
    table = Table(catsim(), masked=True)
    table["redshift"].mask[2] = True
    with pytest.raises(CatalogError, match="row 2"):
        check_catsim(table)


def test_the_real_catalogue_passes(data):
    table = Table.read(data("catalogs/catsim_10k.fits"))
    check_catsim(table, tuple("ugrizy"))
    conditions = from_catsim(table)
    share = np.mean(conditions["bulge_present"])
    assert share == pytest.approx(0.4, abs=0.02)
    assert np.all(conditions["mag_auto"].compressed() < 30)
