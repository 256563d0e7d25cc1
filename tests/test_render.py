"""The renderer against GalSim: the same galaxies, drawn one by one with tight accuracy."""

import galsim
import numpy as np
import pytest
from btk.survey import get_surveys

from btk_generative.errors import ConfigError
from btk_generative.models import LightProfiles
from btk_generative.render import SurveyRenderer, wings
from btk_generative.render.transfer import BandTransfer

# A PSF's stepk is cached, so a reference is built afresh. The folding threshold of the space
# surveys is that of a Fourier transform that fits a test; their own pixel errors stay below 1e-6.
TIGHT = galsim.GSParams(folding_threshold=1e-4, maxk_threshold=1e-5, kvalue_accuracy=1e-7)
SPACE = galsim.GSParams(folding_threshold=5e-4, maxk_threshold=1e-5, kvalue_accuracy=1e-7)


def rebuilt(psf, gsparams):
    """Returns one of BTK's default PSFs (atmosphere and optics), built afresh."""
    atmosphere, optics = psf.original.obj_list if hasattr(psf, "original") else psf.obj_list
    return galsim.Convolve(
        galsim.Kolmogorov(lam_over_r0=atmosphere.lam_over_r0, gsparams=gsparams),
        galsim.Airy(
            lam_over_diam=optics.lam_over_diam, obscuration=optics.obscuration, gsparams=gsparams
        ),
        gsparams=gsparams,
    )


def profile(seed, size=64, scale=0.03):
    """Returns a profile with knots, whose light reaches to the edge of the frame."""
    rng = np.random.default_rng(seed)
    disk = galsim.Exponential(half_light_radius=scale * size / 8).shear(
        q=rng.uniform(0.3, 1), beta=0 * galsim.degrees
    )
    knots = [
        galsim.Gaussian(sigma=1.5 * scale, flux=0.04).shift(*rng.normal(0, scale * size / 8, 2))
        for _ in range(8)
    ]
    smooth = galsim.Convolve(disk + galsim.Add(knots), galsim.Gaussian(sigma=scale))
    image = np.maximum(smooth.drawImage(nx=size, ny=size, scale=scale, dtype=float).array, 0)
    return LightProfiles(image[None] / image.sum(), [scale])


def galsim_image(galaxy, psf, stamp, pixel, angle, g1, g2, x, y, gsparams=None):
    """Returns what GalSim draws.

    InterpolatedImage interpolates in Fourier space as well, with an error of 4e-5 of the peak at
    the default padding of 4, whatever the GSParams; the tight reference pads to 8.
    """
    drawn = galsim.InterpolatedImage(
        galsim.Image(galaxy.images[0], scale=galaxy.pixel_scale[0]),
        normalization="flux",
        flux=1.0,
        gsparams=gsparams,
        pad_factor=8.0 if gsparams else 4.0,
    )
    drawn = drawn.rotate(angle * galsim.radians).shear(g1=g1, g2=g2)
    drawn = galsim.Convolve(drawn, psf, gsparams=gsparams).shift(x, y)
    return drawn.drawImage(nx=stamp, ny=stamp, scale=pixel, dtype=float).array


def peak_error(image, reference):
    return np.abs(image - reference).max() / reference.max()


def moments(image):
    shape = galsim.hsm.FindAdaptiveMom(galsim.Image(np.ascontiguousarray(image)))
    return shape.observed_shape.e1, shape.observed_shape.e2, shape.moments_sigma


@pytest.mark.parametrize(
    ("name", "band", "stamp", "scale", "gsparams"),
    [
        ("LSST", "u", 121, 0.03, TIGHT),
        ("LSST", "y", 60, 0.08, TIGHT),
        ("HSC", "i", 90, 0.03, TIGHT),
        ("DES", "z", 61, 0.06, TIGHT),
        ("Euclid_VIS", "IE", 80, 0.03, SPACE),
        ("Roman_WFI", "F106", 61, 0.03, SPACE),
    ],
)
def test_agrees_with_galsim(name, band, stamp, scale, gsparams):
    survey = get_surveys(name)
    pixel, psf = survey.pixel_scale.to_value("arcsec"), survey.get_filter(band).psf
    rng = np.random.default_rng(stamp)
    angle, (g1, g2) = rng.uniform(0, 2 * np.pi), rng.uniform(-0.3, 0.3, 2)
    x, y = rng.uniform(-0.1, 0.1, 2) * stamp * pixel
    galaxy = profile(stamp, scale=scale)
    image = SurveyRenderer([psf], pixel, stamp).draw(galaxy, [[1.0]], [x], [y], [angle], g1, g2)
    image = image[0, 0].astype(float)
    pose = stamp, pixel, angle, g1, g2, x, y
    reference = galsim_image(galaxy, rebuilt(psf, gsparams), *pose, gsparams)
    assert peak_error(image, reference) < 1e-5
    assert peak_error(image, reference) < peak_error(galsim_image(galaxy, psf, *pose), reference)
    assert image.sum() == pytest.approx(reference.sum(), rel=2e-5)
    assert moments(image)[:2] == pytest.approx(moments(reference)[:2], abs=1e-5)
    assert moments(image)[2] == pytest.approx(moments(reference)[2], rel=1e-5)


def lopsided(gsparams=None):
    return galsim.Add(
        galsim.Moffat(beta=3, fwhm=0.7, flux=0.7, gsparams=gsparams),
        galsim.Gaussian(fwhm=0.9, flux=0.3, gsparams=gsparams).shift(0.25, -0.1),
    )


LOPSIDED = lopsided()


@pytest.mark.parametrize(
    ("case", "stamp", "x", "y", "g1", "g2", "size", "scale"),
    [
        ("asymmetric PSF", 41, 0.13, -0.31, 0.1, 0.0, 32, 0.05),
        ("even stamp", 40, 0.13, -0.31, 0.1, 0.0, 32, 0.05),
        ("odd profile", 41, 0.0, 0.0, 0.0, 0.1, 33, 0.05),
        ("strong shear", 64, 0.5, 0.2, 0.6, -0.65, 32, 0.05),
        ("across the edge", 40, 3.9, -3.7, 0.0, 0.2, 64, 0.06),
        ("beyond the edge", 40, -5.2, 1.0, 0.0, 0.2, 64, 0.06),
        ("wings apart, core larger than the stamp", 100, 3.0, -2.4, 0.0, 0.1, 64, 0.15),
        ("frame larger than the stamp", 31, 0.4, 0.3, 0.1, 0.1, 48, 0.5),
        ("wings apart", 128, 3.1, -2.3, 0.1, -0.2, 32, 0.05),
        ("wings apart, across the edge", 128, 12.6, -11.9, 0.0, 0.2, 64, 0.03),
        ("wings apart, odd profile", 127, 1.0, 0.4, 0.2, 0.2, 33, 0.04),
    ],
)
def test_agrees_with_galsim_in_the_corners_of_its_domain(case, stamp, x, y, g1, g2, size, scale):
    galaxy = profile(3, size, scale)
    image = SurveyRenderer([LOPSIDED], 0.2, stamp).draw(galaxy, [[1.0]], [x], [y], [0.7], g1, g2)
    reference = galsim_image(galaxy, lopsided(TIGHT), stamp, 0.2, 0.7, g1, g2, x, y, TIGHT)
    assert peak_error(image[0, 0], reference) < 1e-5
    assert image.sum() == pytest.approx(reference.sum(), rel=2e-5)


def test_takes_an_interpolated_image_as_psf():
    # GalSim's estimate of maxk misses the power that the interpolant has at higher frequencies
    pixels = LOPSIDED.drawImage(nx=51, ny=51, scale=0.12)
    measured = galsim.InterpolatedImage(pixels, calculate_maxk=False).withFlux(1.0)
    galaxy = profile(1)
    image = SurveyRenderer([measured], 0.2, 41).draw(galaxy, [[1.0]], [0.1], [0.2], [0.3])
    reference = galsim_image(galaxy, measured, 41, 0.2, 0.3, 0, 0, 0.1, 0.2, TIGHT)
    assert peak_error(image[0, 0], reference) < 1e-5


def test_point_source_is_the_psf():
    renderer = SurveyRenderer([LOPSIDED, galsim.Gaussian(fwhm=0.6)], 0.2, 51)
    image = renderer.draw(profile(0), [[0.0, 0.0]], [0.33], [-1.2], [0.4], point_flux=[[5.0, 7.0]])[
        0
    ]
    tighter = TIGHT.withParams(maxk_threshold=1e-6)  # a point has no profile that damps high k
    fresh = 5 * lopsided(tighter), galsim.Gaussian(fwhm=0.6, flux=7.0, gsparams=tighter)
    for drawn, psf in zip(image, fresh, strict=True):
        reference = psf.shift(0.33, -1.2).drawImage(nx=51, ny=51, scale=0.2, dtype=float).array
        assert peak_error(drawn, reference) < 1e-5


def test_profile_and_point_source_add():
    renderer, where = SurveyRenderer([LOPSIDED], 0.2, 51), ([0.3], [0.1], [1.0])
    both = renderer.draw(profile(0), [[2.0]], *where, point_flux=[[3.0]])
    apart = renderer.draw(profile(0), [[2.0]], *where) + renderer.draw(
        profile(0), [[0.0]], *where, point_flux=[[3.0]]
    )
    assert np.abs(both - apart).max() < 1e-6 * both.max()


@pytest.mark.parametrize(("stamp", "wings"), [(121, 1.7e-3), (41, 7.6e-3)])
def test_wings_of_the_psf_do_not_fold_back(stamp, wings):
    psf = get_surveys("LSST").get_filter("y").psf
    dot = LightProfiles(np.ones((1, 1, 1)), [1e-4])
    image = SurveyRenderer([psf], 0.2, stamp).draw(dot, [[1.0]], [0.0], [0.0], [0.0])
    fresh = rebuilt(psf, TIGHT)
    reference = fresh.drawImage(nx=stamp, ny=stamp, scale=0.2, dtype=float).array.sum()
    assert 1 - reference == pytest.approx(wings, rel=0.05)
    assert image.sum() == pytest.approx(reference, abs=1e-5)


@pytest.mark.parametrize(
    ("psf", "smooth"),
    [
        (get_surveys("HSC").get_filter("r").psf, True),
        (galsim.Airy(lam_over_diam=0.2, obscuration=0.3), False),
    ],
)
def test_only_smooth_wings_are_drawn_apart(psf, smooth):
    core, rest = wings.part(BandTransfer(psf, 0.17, 120).on_box(128), 128)
    assert (core + rest).sum() == pytest.approx(1, abs=0.02)
    edge = wings.REACH * len(core) // 128
    assert core[0, edge] < 2e-8 * core[0, 0]  # a hundredth of the error of the wings
    assert wings.are_smooth(core, rest, 128) == smooth


def galaxies(n):
    rng = np.random.default_rng(7)
    frames = [profile(seed, 24, 0.08 if seed % 2 else 0.03) for seed in range(n)]
    profiles = LightProfiles(
        np.concatenate([f.images for f in frames]), np.concatenate([f.pixel_scale for f in frames])
    )
    place = rng.uniform(-2, 2, (2, n))
    return profiles, rng.uniform(1, 9, (n, 2)), *place, rng.uniform(0, 6, n), *place / 5


def test_image_does_not_depend_on_the_batch():
    arguments = galaxies(7)
    renderer = SurveyRenderer([LOPSIDED, galsim.Gaussian(fwhm=0.6)], 0.2, 33)
    together = renderer.draw(*arguments)
    for i in range(7):
        alone = renderer.draw(*(a[i : i + 1] for a in arguments))
        np.testing.assert_array_equal(alone[0], together[i])


def test_image_does_not_depend_on_threads():
    from concurrent.futures import ThreadPoolExecutor

    arguments = galaxies(12)
    psfs = [LOPSIDED, galsim.Gaussian(fwhm=0.6)]
    expected = SurveyRenderer(psfs, 0.2, 33).draw(*arguments)
    renderer, out = SurveyRenderer(psfs, 0.2, 33), np.zeros_like(expected)
    with ThreadPoolExecutor(4) as pool:
        parts = [slice(i, i + 3) for i in range(0, 12, 3)]
        list(
            pool.map(
                lambda part: renderer.draw(
                    *(a[part] for a in arguments), out=out, rows=np.arange(12)[part]
                ),
                parts,
            )
        )
    np.testing.assert_array_equal(out, expected)


def test_writes_to_the_given_rows_only():
    arguments = galaxies(3)
    renderer = SurveyRenderer([LOPSIDED, galsim.Gaussian(fwhm=0.6)], 0.2, 20)
    out = np.full((6, 2, 20, 20), -1.0)
    assert renderer.draw(*arguments, out=out, rows=[4, 0, 2]) is out
    np.testing.assert_array_equal(out[[4, 0, 2]], renderer.draw(*arguments))
    assert (out[[1, 3, 5]] == -1).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"g1": [0.8], "g2": [0.7]}, r"shear of galaxy 0 is \|g\| = 1.06"),
        ({"x": [np.nan]}, "x of galaxy 0 is nan"),
        ({"flux": [[1.0, 2.0]]}, r"flux must have shape \[1, 1\], not \[1, 2\]"),
        ({"out": np.zeros((1, 1, 9, 9))}, r"out must have shape \[m, 1, 20, 20\]"),
    ],
)
def test_says_what_is_wrong_with_an_argument(change, message):
    arguments = {"flux": [[1.0]], "x": [0.0], "y": [0.0], "angle": [0.0]} | change
    with pytest.raises(ValueError, match=message):
        SurveyRenderer([LOPSIDED], 0.2, 20).draw(profile(0), **arguments)


def test_refuses_a_psf_that_the_pixels_cannot_sample():
    with pytest.raises(ValueError, match=r"too narrow for pixels of 0\.2 arcsec"):
        SurveyRenderer([galsim.Gaussian(sigma=1e-3)], 0.2, 20)


@pytest.mark.parametrize(
    "make",
    [
        lambda: get_surveys("LSST").get_filter("i").psf,
        lambda: galsim.Sum(galsim.Moffat(2.5, fwhm=0.7), galsim.Gaussian(fwhm=1).shear(g1=0.1)),
        lambda: galsim.InterpolatedImage(
            galsim.Gaussian(sigma=1).drawImage(nx=40, scale=0.3, ny=40)
        ),
    ],
)
def test_what_a_psf_was_used_for_before_does_not_matter(make):
    unused, used = make(), make()
    used.drawImage(nx=30, ny=30, scale=0.2)
    one, other = (BandTransfer(psf, 0.2, 60).on_box(80) for psf in (unused, used))
    assert np.array_equal(one, other)


def from_image(**kinds):
    stamp = galsim.Gaussian(fwhm=0.8).drawImage(nx=31, ny=31, scale=0.2, method="no_pixel")
    return galsim.InterpolatedImage(stamp, flux=1, **kinds)


RINGING = {
    **{x: from_image(x_interpolant=x) for x in ("nearest", "delta", "linear", "cubic", "lanczos3")},
    "lanczos": from_image(x_interpolant=galsim.Lanczos(3, conserve_dc=False)),
    "sum": from_image(x_interpolant="nearest") * 0.5 + galsim.Kolmogorov(fwhm=0.7) * 0.7,
    "convolution": galsim.Convolve(from_image(x_interpolant="nearest"), galsim.Airy(0.05)),
    "k cubic": from_image(k_interpolant="cubic"),
    "negative": galsim.Gaussian(fwhm=0.7) * 1.5 - galsim.Gaussian(fwhm=1.2) * 0.52,
    "sharp": galsim.Moffat(beta=2.5, fwhm=0.7, trunc=1.4),
    "twice": galsim.Gaussian(fwhm=0.7, flux=2.0),
}


@pytest.mark.parametrize("stamp", [60, 121])
@pytest.mark.parametrize("name", RINGING)
def test_any_psf_has_the_flux_that_galsim_draws(name, stamp):
    psf = RINGING[name]
    renderer = SurveyRenderer([psf], 0.2, stamp)
    image = renderer.draw(profile(0), [[0.0]], 0, 0, 0, point_flux=[[1.0]])[0, 0].astype(float)
    tight = psf.withGSParams(folding_threshold=1e-4, maxk_threshold=1e-5)
    reference = tight.drawImage(nx=stamp, ny=stamp, scale=0.2, dtype=float).array
    assert image.sum() == pytest.approx(reference.sum(), rel=5e-5)
    assert peak_error(image, reference) < 2e-4


@pytest.mark.parametrize("kind", ["nearest", "linear", "quintic"])
def test_the_pixels_of_a_psf_may_be_larger_than_the_surveys(kind):
    psf = from_image(x_interpolant=kind).dilate(3)
    renderer = SurveyRenderer([psf], 0.2, 60)
    image = renderer.draw(profile(0), [[0.0]], 0, 0, 0, point_flux=[[1.0]])[0, 0].astype(float)
    drawn = psf.drawImage(nx=60, ny=60, scale=0.2, dtype=float, method="real_space").array
    assert image.sum() == pytest.approx(drawn.sum(), rel=2e-5)
    assert peak_error(image, drawn) < 5e-5


@pytest.mark.parametrize("kind", ["nearest", "linear", "sinc", "delta"])
def test_refuses_a_psf_whose_transform_galsim_cannot_tell(kind):
    for psf in (from_image(k_interpolant=kind), from_image(k_interpolant=kind).shear(g1=0.1) * 2):
        with pytest.raises(ConfigError, match="has a k_interpolant"):
            SurveyRenderer([galsim.Kolmogorov(fwhm=0.7), psf], 0.2, 60)


def test_refuses_a_psf_without_flux():
    with pytest.raises(ConfigError, match=r"has the flux 0\.0"):
        SurveyRenderer([galsim.Gaussian(fwhm=0.7) - galsim.Gaussian(fwhm=1.0)], 0.2, 60)
