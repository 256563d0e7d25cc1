"""Galaxies replaced by a parametric fit to themselves: same size, shape and flux, no structure."""

import math
from functools import cache

import galsim
import numpy as np
from btk.blend_batch import BlendBatch

from btk_generative.conditions import agn_share
from btk_generative.draw import SurveyBatch
from btk_generative.errors import need
from btk_generative.render.transfer import BandTransfer
from btk_generative.runs.processes import refuse_inherited_jax
from btk_generative.surveys import pixel_scale

_ITERATIONS = 30
_LOG_SIZE, _SHAPE, _LIGHT, _INDEX = slice(2, 4), slice(4, 8), slice(8, 10), 10
_INDICES = np.geomspace(0.35, 2.5, 41)  # of the disk
_WAVE_NUMBERS = np.geomspace(1e-3, 1e4, 2000)  # times the half-light radius
_EXPONENTIAL = -np.log(np.ptp(_INDICES) / (1 - _INDICES[0]) - 1)  # start of the index: 1
_PRIOR = 1e-4  # weight of the start, relative to the image: holds what the image does not say


def check_jax() -> None:
    """Checks that JAX, with which galaxies are fitted, is installed.

    Raises:
        PackageMissing: If not.
    """
    need(
        "jax",
        extra="compare",
        what="arm 'fitted'",
        otherwise=", or leave the arm out, arms: [parametric, generative]",
    )


def fitted_twin(batch: BlendBatch, band: str) -> SurveyBatch:
    """Replaces every galaxy by the Sersic disk and de Vaucouleurs bulge that fit it best.

    The fit is a least-squares one to the noiseless, isolated image in one band, with the PSF taken
    into account: common centre, two sizes, two shapes, two fluxes and the index of the disk, from
    0.35 to 2.5. The result is drawn in every band by GalSim, with the galaxy's flux in that band.
    An AGN stays the point source that the catalogue says. Noise is what the batch has.

    Args:
        batch: Blends, with isolated images of which all bands have the same morphology.
        band: Name of the band that is fitted.

    Returns:
        A new batch with the same truth tables.

    Raises:
        PackageMissing: If JAX is not installed.
        ConfigError: In a process that was forked from one that has used JAX.
    """
    check_jax()
    index = list(batch.survey.available_filters).index(band)
    scale = pixel_scale(batch.survey)
    size = batch.image_size
    k, transfer = _transfer(batch.psf[index], scale, size)
    isolated = np.zeros_like(batch.isolated_images)
    for ii, table in enumerate(batch.catalog_list):
        agn = agn_share(table)
        for jj in range(len(table)):
            truth = batch.isolated_images[ii, jj]
            start = _start(truth[index], table["ra"][jj], table["dec"][jj], scale)
            fitted = np.array(_fit(_spectrum(truth[index], k, scale), k, transfer, start, agn[jj]))
            galaxy = _galaxy(fitted, agn[jj])
            for image, psf, true in zip(isolated[ii, jj], batch.psf, truth, strict=True):
                seen = galsim.Convolve(galaxy, psf)
                drawn = seen.drawImage(nx=size, ny=size, scale=scale, dtype=float).array
                image[:] = drawn * (true.sum() / drawn.sum())
    blends = batch.blend_images - batch.isolated_images.sum(axis=1) + isolated.sum(axis=1)
    return SurveyBatch(
        batch.batch_size,
        batch.max_n_sources,
        batch.stamp_size,
        batch.survey,
        blends,
        isolated,
        batch.catalog_list,
        batch.psf,
    )


def _transfer(psf, scale, size):
    """Wave numbers [1/arcsec] of a box's transform, and PSF times pixel on them.

    The PSF is cut to the box, and of unit flux in it, as an image of the stamp's size is: with the
    wings that lie outside the fit would take a galaxy for a smaller one.
    """
    band = BandTransfer(psf, scale, size)
    box = math.ceil(size / (2 * band.sampling)) * 2 * band.sampling
    cut = band.on_box(box)
    middle = cut.shape[1] - 1
    half = min(box // 2 - 1, middle)
    rows = np.arange(-half, half + 1)
    transfer = np.zeros((box, box // 2 + 1), np.complex64)
    transfer[rows, : half + 1] = cut[rows + middle, : half + 1] / cut[middle, 0]
    ky = 2 * np.pi * np.fft.fftfreq(box, scale)[:, None]
    kx = 2 * np.pi * np.fft.rfftfreq(box, scale)[None]
    return np.stack(np.broadcast_arrays(kx, ky)).astype(np.float32), transfer


def _spectrum(image, k, scale):
    """Transform of an image about its centre on a box, divided by its flux."""
    center, box = (image.shape[0] - 1) / 2 * scale, k.shape[1]
    transform = np.fft.rfft2(image / image.sum(), s=(box, box))
    return (transform * np.exp(1j * center * (k[0] + k[1]))).astype(np.complex64)


def _start(image, ra, dec, scale):
    """First guess: round, of the image's size, mostly a disk."""
    rows, columns = np.indices(image.shape)
    middle = (image.shape[0] - 1) / 2
    r = np.hypot(columns - middle - ra / scale, rows - middle - dec / scale) * scale
    hlr = max(0.6 * float(np.sum(image * r) / image.sum()), 0.15)
    return np.array(
        [ra, dec, np.log(hlr), np.log(hlr / 2), 0, 0, 0, 0, 0, -1.5, _EXPONENTIAL], dtype=np.float32
    )


def _galaxy(values, agn):
    """The fitted galaxy of unit flux as a GalSim object."""
    parts = []
    weight = np.exp(values[_LIGHT] - values[_LIGHT].max())
    index = float(_INDICES[0] + np.ptp(_INDICES) / (1 + np.exp(-values[_INDEX])))
    for i, n in enumerate((index, 4.0)):
        shear = galsim.Shear(eta1=values[4 + 2 * i], eta2=values[5 + 2 * i])
        flux = float((1 - agn) * weight[i] / weight.sum())
        parts.append(
            galsim.Sersic(n, half_light_radius=float(np.exp(values[2 + i])), flux=flux).shear(shear)
        )
    if agn > 0:
        parts.append(galsim.DeltaFunction(flux=float(agn)))
    return galsim.Add(parts).shift(float(values[0]), float(values[1]))


def _transforms(n):
    """Transform of a Sersic profile of unit half-light radius at `_WAVE_NUMBERS`."""
    profile = galsim.Sersic(n, half_light_radius=1)
    return [profile.kValue(k, 0).real for k in _WAVE_NUMBERS]


@cache
def _compiled():
    """The fit, compiled at its first use: Levenberg-Marquardt on the transform."""
    import jax
    import jax.numpy as jnp

    bulges = jnp.asarray(_transforms(4.0), dtype=jnp.float32)
    disks = jnp.asarray([_transforms(n) for n in _INDICES], dtype=jnp.float32)
    steps = jnp.asarray(np.log(_WAVE_NUMBERS), dtype=jnp.float32)
    indices = jnp.asarray(_INDICES, dtype=jnp.float32)

    def of_index(n):
        """Transforms of the disk of an index, between those of the two next to it in the table."""
        low = jnp.clip(jnp.searchsorted(indices, n) - 1, 0, len(indices) - 2)
        share = (n - indices[low]) / (indices[low + 1] - indices[low])
        return (1 - share) * disks[low] + share * disks[low + 1]

    def stretched(k, eta):
        """Length of the wave vectors in the frame in which a component is round."""
        size = jnp.sqrt(jnp.sum(eta**2) + 1e-12)
        c, s = jnp.cosh(size / 2), jnp.sinh(size / 2) / size
        x = (c + s * eta[0]) * k[0] + s * eta[1] * k[1]
        y = s * eta[1] * k[0] + (c - s * eta[0]) * k[1]
        return jnp.sqrt(x**2 + y**2 + 1e-12)

    def model(values, k, transfer, agn):
        size, light = jnp.exp(values[_LOG_SIZE]), jax.nn.softmax(values[_LIGHT])
        n = indices[0] + (indices[-1] - indices[0]) * jax.nn.sigmoid(values[_INDEX])
        disk = jnp.interp(jnp.log(stretched(k, values[4:6]) * size[0]), steps, of_index(n))
        bulge = jnp.interp(jnp.log(stretched(k, values[6:8]) * size[1]), steps, bulges)
        phase = jnp.exp(-1j * (values[0] * k[0] + values[1] * k[1]))
        return ((1 - agn) * (light[0] * disk + light[1] * bulge) + agn) * transfer * phase

    @jax.jit
    def fit(image, k, transfer, start, agn):
        norm = jnp.sqrt(jnp.sum(jnp.abs(image) ** 2))

        def residual(values):
            change = (model(values, k, transfer, agn) - image) / norm
            held = _PRIOR * (values - start)
            return jnp.concatenate([change.real.ravel(), change.imag.ravel(), held])

        def step(state, _):
            values, error, damping = state
            slope = jax.jacfwd(residual)(values)
            curvature = slope.T @ slope
            damped = curvature + damping * jnp.diag(jnp.diag(curvature) + 1e-9)
            move = jnp.linalg.solve(damped, slope.T @ residual(values))
            trial = values - jnp.clip(move, -0.5, 0.5)
            new = jnp.sum(residual(trial) ** 2)
            better = new < error
            return (
                jnp.where(better, trial, values),
                jnp.where(better, new, error),
                jnp.where(better, damping / 3, damping * 4),
            ), None

        first = (start, jnp.sum(residual(start) ** 2), jnp.float32(1e-2))
        return jax.lax.scan(step, first, None, length=_ITERATIONS)[0][0]

    return fit


def _fit(image, k, transfer, start, agn):
    refuse_inherited_jax()
    return _compiled()(image, k, transfer, start, np.float32(agn))
