"""Are galaxies what the catalogue says? Generative against parametric, noiseless.

    python benchmarks/exactness.py catalog.fits --model default --draws 4 [--smooth]

For each bin of the bulge's share of the light: the mean difference of the REGAUSS ellipticity along
the catalogue's axis, and the angle between both (rms, where the parametric galaxy has q < 0.7). For
each kind and size: the median ratio of adaptive sizes, and difference of the flux in the stamp. The
reference is what BTK's CatsimGenerator draws (a de Vaucouleurs bulge and an exponential disk), by
GalSim. Galaxies are drawn from the catalogue's own conditions, none clipped.
"""

import argparse

import btk
import galsim
import numpy as np

import btk_generative as bg
from btk_generative.conditions import from_catsim, half_light_radius, position_angle
from btk_generative.render import SurveyRenderer

SURVEYS = {"LSST": ("i", 121), "Euclid_VIS": ("IE", 241)}
"""Band and pixels on a side of the stamp, 24 arcsec."""


def parametric(table, psf, scale, size):
    """Yields the image of each galaxy as CatsimGenerator draws it, of flux 1."""
    for row in table:
        parts = []
        for kind, part, a, b in (
            (galsim.DeVaucouleurs, "bulge", "a_b", "b_b"),
            (galsim.Exponential, "disk", "a_d", "b_d"),
        ):
            if flux := float(row[f"fluxnorm_{part}"]):
                profile = kind(half_light_radius=np.sqrt(row[a] * row[b]), flux=flux)
                angle = row[f"pa_{part}"] * galsim.degrees
                parts.append(profile.shear(q=min(row[b] / row[a], 1.0), beta=angle))
        profile = galsim.Convolve(galsim.Add(parts).withFlux(1.0), psf)
        yield profile.drawImage(nx=size, ny=size, scale=scale, dtype=float).array


def generative(model, conditions, angle, renderer, seed, draws):
    """Yields the image of each galaxy, of flux 1, ``draws`` of each row in turn."""
    rows = np.repeat(np.arange(len(conditions)), draws)
    profiles = model.sample(conditions[rows], rng=seed)
    for start in range(0, len(rows), 64):
        part = profiles[start : start + 64]
        zero = np.zeros(len(part))
        turned = angle[rows[start : start + 64]]
        yield from renderer.draw(part, 1 + zero[:, None], zero, zero, turned)[:, 0]


def measure(images, psf_image, scale):
    """Returns adaptive size [arcsec], REGAUSS e1 and e2, and flux of images, ``[n, 4]``."""
    measured = []
    for image in images:
        image = galsim.Image(np.ascontiguousarray(image, dtype=float), scale=scale)
        guess = max(2.0, 0.5 / scale)
        shape = galsim.hsm.EstimateShear(image, psf_image, strict=False, guess_sig_gal=guess)
        e1, e2 = shape.corrected_e1, shape.corrected_e2
        failed = shape.error_message or np.hypot(e1, e2) > 1.6
        values = [np.nan] * 3 if failed else [shape.moments_sigma * scale, e1, e2]
        measured.append([*values, image.array.sum()])
    return np.array(measured)


def report(drawn, expected, share, radius):
    """Prints the table of one survey."""
    size, e1, e2, flux = np.moveaxis(drawn - expected, -1, 0)
    e = np.hypot(expected[:, 1], expected[:, 2])
    cos, sin = expected[:, 1] / e, expected[:, 2] / e
    along, across = e1 * cos + e2 * sin, e2 * cos - e1 * sin
    angle = 0.5 * np.degrees(np.arctan2(across, e + along))
    flat = np.sqrt((1 - np.minimum(e, 1)) / (1 + e)) < 0.7
    good = np.isfinite(e1)
    for low, high in ((0, 0), (0, 0.05), (0.05, 0.2), (0.2, 0.5), (0.5, 0.8), (0.8, 1), (1, 1)):
        rows = good & ((share == low) if low == high else (share > low) & (share <= high))
        if low < high == 1:
            rows &= share < 1
        if rows.sum() > 1:
            error = along[rows].std() / np.sqrt(rows.sum())
            turn = np.sqrt(np.mean(angle[rows & flat] ** 2)) if (rows & flat).any() else np.nan
            print(
                f"  bulge share {low:.2f}-{high:.2f}: {rows.sum():5d}, |e| {e[rows].mean():.3f}"
                f" aligned {along[rows].mean():+.4f} +- {error:.4f}, angle {turn:.2f} deg"
            )
    for kind, of in (
        ("disk", share == 0),
        ("mixed", (share > 0) & (share < 1)),
        ("bulge", share == 1),
    ):
        for low, high in ((0, 0.2), (0.2, 0.4), (0.4, 0.8), (0.8, 99)):
            rows = good & of & (radius >= low) & (radius < high)
            if rows.sum() > 1:
                ratio = np.median(1 + size[rows] / expected[rows, 0])
                print(
                    f"  {kind:5s} of {low}-{high} arcsec: {rows.sum():5d} drawn, size"
                    f" {100 * (ratio - 1):+.2f} %, flux {100 * np.median(flux[rows]):+.2f} %"
                )


def main():
    """Measures the galaxies of a catalogue."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("catalog")
    parser.add_argument("--model", default="default")
    parser.add_argument("--draws", type=int, default=4, help="of each galaxy")
    parser.add_argument("--rows", type=int, help="galaxies, at random; all by default")
    parser.add_argument("--faintest", type=float, default=25.3, help="i magnitude")
    parser.add_argument("--smooth", action="store_true", help="without structure")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()

    table = bg.catalogs.read_catalog(options.catalog).table
    light = np.asarray(table["fluxnorm_bulge"] + table["fluxnorm_disk"])
    rows = np.flatnonzero((np.asarray(table["i_ab"]) < options.faintest) & (light > 0))
    order = np.random.default_rng(options.seed).permutation(len(rows))[: options.rows]
    table = table[rows[np.sort(order)]]
    model, conditions, angle = (
        bg.load_model(options.model),
        from_catsim(table),
        position_angle(table),
    )
    radius = half_light_radius(conditions)
    share = np.asarray(table["fluxnorm_bulge"] / (table["fluxnorm_bulge"] + table["fluxnorm_disk"]))
    if options.smooth:
        conditions["zphot"] = 50.0  # structure fades so far from the domain
    again = [np.repeat(x, options.draws, axis=0) for x in (share, radius)]
    for name, (band, size) in SURVEYS.items():
        survey = btk.survey.get_surveys(name)
        psf, scale = survey.get_filter(band).psf, survey.pixel_scale.to_value("arcsec")
        psf_image = psf.drawImage(nx=81, ny=81, scale=scale, dtype=float)
        renderer = SurveyRenderer([psf], scale, size)
        images = generative(model, conditions, angle, renderer, options.seed, options.draws)
        drawn = measure(images, psf_image, scale)
        expected = measure(parametric(table, psf, scale, size), psf_image, scale)
        print(f"{name}, {len(table)} galaxies")
        report(drawn, np.repeat(expected, options.draws, axis=0), *again)


if __name__ == "__main__":
    main()
