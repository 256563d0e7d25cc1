"""What is measured of each true source after deblending."""

import math
from dataclasses import dataclass
from typing import Any

import galsim
import numpy as np
import sep
from astropy.table import Table
from btk.blend_batch import BlendBatch, DeblendExample
from btk.match import PixelHungarianMatcher
from btk.measure import get_blendedness, get_ksb_ellipticity, get_snr
from btk.metrics.utils import iou
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from btk_generative.surveys import pixel_scale, sky_levels


@dataclass(frozen=True)
class Metric:
    """A number per true source, and how sources are summarised."""

    column: str
    label: str
    unit: str = ""
    statistic: str = "median"
    """"median", or "mean" for rates and for numbers whose tails matter."""
    best: float | None = None
    """Value of a perfect deblender."""


def metrics_of(bands: list[str], band: str) -> list[Metric]:
    """Returns the metrics of the headline table.

    Args:
        bands: Names of the survey's bands; with a single one there is no colour.
        band: The reference band.
    """
    colour = []
    if len(bands) > 1:
        index = max(bands.index(band), 1)
        first, second = bands[index - 1], bands[index]
        label = f"{first} − {second} colour, abs. error"
        colour.append(Metric(f"colour_error_{first}_{second}", label, "mag", best=0))
    return [
        Metric("matched", "recall", statistic="mean", best=1),
        Metric("purity", "precision", statistic="mean", best=1),
        Metric(f"flux_error_{band}", f"{band} flux, relative error", best=0),
        Metric(f"abs_flux_error_{band}", f"{band} flux, abs. relative error", best=0),
        Metric(f"aperture_error_{band}", f"{band} aperture flux, abs. relative error", best=0),
        *colour,
        Metric("centroid_error", "centroid, distance", "arcsec", best=0),
        Metric("size_error", "size, relative error", best=0),
        Metric("shape_error", "KSB shear, distance", best=0),
        Metric("chi2", "residual χ² per pixel in the footprint", statistic="mean", best=1),
        Metric("kurtosis", "residual's excess kurtosis", statistic="mean", best=0),
        Metric("correlation", "correlation with the truth", best=1),
        Metric("mse", "mean squared error, sky variances", best=0),
        Metric("psnr", "peak signal-to-noise ratio", "dB"),
        Metric("ssim", "structural similarity", best=1),
        Metric("iou", "segmentation IoU", best=1),
    ]


def reference_band(survey: Any) -> str:
    """Returns i, or the band whose effective wavelength is closest to LSST's i."""
    bands = list(survey.available_filters)
    waves = [survey.get_filter(b).effective_wavelength.to_value("nm") for b in bands]
    return "i" if "i" in bands else bands[int(np.argmin(np.abs(np.array(waves) - 755)))]


def truth_rows(batch: BlendBatch, ii: int, band: str) -> list[dict]:
    """Returns what the curves are drawn against, for each true source of a blend.

    Args:
        batch: Blends, with isolated images.
        ii: Index of the blend.
        band: Name of the reference band.

    Returns:
        Per source: ``mag``, ``snr``, ``blendedness``, ``separation`` (to the next source, arcsec;
        NaN where alone) and ``hlr`` (half-light radius as observed, arcsec).
    """
    index = list(batch.survey.available_filters).index(band)
    table = batch.catalog_list[ii]
    images = batch.isolated_images[ii, : len(table), index]
    scale = pixel_scale(batch.survey)
    snr = get_snr(images, sky_levels(batch.survey)[index])
    blendedness = get_blendedness(images)
    position = np.stack([np.asarray(table["ra"]), np.asarray(table["dec"])], axis=1)
    rows = []
    for k in range(len(table)):
        others = np.delete(position, k, axis=0)
        apart = np.hypot(*(others - position[k]).T).min() if len(others) else math.nan
        rows.append(
            {
                "mag": float(table[f"{band}_ab"][k])
                if f"{band}_ab" in table.colnames
                else math.nan,
                "snr": float(snr[k]),
                "blendedness": float(blendedness[k]),
                "separation": float(apart),
                "hlr": _half_light_radius(images[k], table["x_peak"][k], table["y_peak"][k])
                * scale,
            }
        )
    return rows


def measure(batch: BlendBatch, ii: int, example: DeblendExample, band: str) -> list[dict]:
    """Compares what a deblender returned with the truth, source by source.

    A deblender that returns images of one band only is compared in the reference band. True and
    detected sources are matched within one PSF width (Hungarian algorithm); a match without light
    counts as missed.

    Args:
        batch: Blends, with isolated images.
        ii: Index of the blend.
        example: What the deblender returned for it.
        band: Name of the reference band.

    Returns:
        A dictionary for each true source; what cannot be measured is NaN.
    """
    survey, truth = batch.survey, batch.catalog_list[ii]
    bands = list(survey.available_filters)
    scale = pixel_scale(survey)
    fwhm = survey.get_filter(band).psf_fwhm.to_value("arcsec") / scale
    matches, n_detected = _match(batch, truth, example, fwhm)
    sky, seen = sky_levels(survey), bands
    true_images, data = batch.isolated_images[ii], batch.blend_images[ii]
    models = example.deblended_images
    if models is not None and models.shape[1] != len(bands):
        index = bands.index(band)
        true_images, data = true_images[:, index : index + 1], data[index : index + 1]
        sky, seen = sky[index : index + 1], [band]
    psf = batch.psf[bands.index(band)]
    rows = []
    for k in range(len(truth)):
        found = matches.get(k)
        row = {"matched": float(found is not None), "purity": math.nan}
        if models is not None and found is not None:
            if not models[found].any():
                row["matched"] = 0.0
            else:
                others = models.sum(axis=0) - models[found]
                where = (float(truth["x_peak"][k]), float(truth["y_peak"][k]))
                row |= _photometry(true_images[k], models[found], data - others, where, fwhm, seen)
                row |= _fidelity(
                    true_images[k], models[found], data - models.sum(axis=0), where, sky,
                    seen.index(band),
                )  # fmt: skip
                row |= _shapes(
                    true_images[k, seen.index(band)], models[found, seen.index(band)],
                    where, psf, scale,
                )  # fmt: skip
        rows.append(row)
    if n_detected:
        purity = sum(row["matched"] for row in rows) / n_detected
        rows = [row | {"purity": purity} for row in rows]
    return rows


def _match(batch, truth, example, separation):
    """Detected row of each matched true row, and the number of detections."""
    found = example.catalog
    if found is truth:
        return {k: k for k in range(len(truth))}, len(truth)
    if len(found) == 0 or len(truth) == 0:
        return {}, len(found)
    tables = []
    for table in (truth, found):
        x, y = batch.wcs.world_to_pixel_values(
            np.asarray(table["ra"]) / 3600, np.asarray(table["dec"]) / 3600
        )
        tables.append(Table({"x_peak": x, "y_peak": y}))
    true_rows, found_rows = PixelHungarianMatcher(separation).match_catalogs(*tables)
    return dict(zip(true_rows.tolist(), found_rows.tolist(), strict=True)), len(found)


def _photometry(true, model, cleaned, where, fwhm, bands):
    """Fluxes; ``cleaned`` is the data less the models of the other sources."""
    row = {}
    flux, true_flux = model.sum((1, 2)), true.sum((1, 2))
    for j, band in enumerate(bands):
        row[f"flux_{band}"], row[f"true_flux_{band}"] = float(flux[j]), float(true_flux[j])
        error = _ratio(flux[j] - true_flux[j], true_flux[j])
        row[f"flux_error_{band}"], row[f"abs_flux_error_{band}"] = error, abs(error)
        aperture, expected = (
            sep.sum_circle(np.ascontiguousarray(i, dtype=np.float64), [where[0]], [where[1]], fwhm)[
                0
            ][0]
            for i in (cleaned[j], true[j])
        )
        row[f"aperture_{band}"], row[f"true_aperture_{band}"] = float(aperture), float(expected)
        row[f"aperture_error_{band}"] = abs(_ratio(aperture - expected, expected))
    lit = (flux > 0) & (true_flux > 0)
    ratio = np.divide(flux, true_flux, out=np.ones_like(flux), where=lit)
    offset = np.where(lit, -2.5 * np.log10(ratio), np.nan)
    for j in range(len(bands) - 1):
        row[f"colour_error_{bands[j]}_{bands[j + 1]}"] = float(abs(offset[j] - offset[j + 1]))
    return row


def _fidelity(true, model, residual, where, sky, index):
    """How close the model's image is to the true one, and what the residual looks like."""
    sigma = np.sqrt(sky)
    y, x = np.indices(true.shape[1:])
    footprint = (true[index] > sigma[index]) | (np.hypot(x - where[0], y - where[1]) < 1.5)
    pulls = (residual / sigma[:, None, None])[:, footprint]
    a, t = model[index], true[index]
    box = _box(footprint)
    peak, mse = t.max(), np.mean((a[box] - t[box]) ** 2)
    segments = np.stack([a, t]) > 2 * sigma[index]
    return {
        "chi2": float(np.mean(pulls**2)),
        "kurtosis": _ratio(np.mean((pulls - pulls.mean()) ** 4), pulls.var() ** 2) - 3,
        "footprint": int(footprint.sum()),
        "correlation": _ratio(np.sum(a * t), math.sqrt(np.sum(a**2) * np.sum(t**2))),
        "mse": float(mse / sky[index]),
        "psnr": float(peak_signal_noise_ratio(t[box], a[box], data_range=peak))
        if mse
        else math.nan,
        "ssim": float(structural_similarity(t[box], a[box], data_range=peak)),
        "iou": float(iou(segments[:1], segments[1:])[0]) if segments.any() else math.nan,
    }


def _shapes(true, model, where, psf, scale):
    """Adaptive moments and KSB shear of the model's and of the true image."""
    nan = {key: math.nan for key in ("centroid_error", "size_error", "shape_error")}
    moments = []
    for image in (model, true):
        found = galsim.hsm.FindAdaptiveMom(
            galsim.Image(np.ascontiguousarray(image), scale=1.0),
            guess_centroid=galsim.PositionD(where[0] + 1, where[1] + 1),
            strict=False,
        )
        if found.error_message:
            return nan
        moments.append((found.moments_centroid, found.moments_sigma))
    images = np.stack([model, true])[None]
    centers = np.full((1, 2, 2), [where[0] + 1, where[1] + 1])
    shear = get_ksb_ellipticity(images, centers, psf, scale)[0]
    shear[np.hypot(*shear.T) >= 1] = np.nan  # not a shear: the estimate has failed
    moved = moments[0][0] - moments[1][0]
    return {
        "centroid_error": math.hypot(moved.x, moved.y) * scale,
        "size_error": moments[0][1] / moments[1][1] - 1,
        "shape_error": float(np.hypot(*(shear[0] - shear[1]))),
    }


def _half_light_radius(image, x, y):
    """Radius in pixels around a position that holds half of an image's light."""
    rows, columns = np.indices(image.shape)
    radius = np.hypot(columns - x, rows - y).ravel()
    order = np.argsort(radius, kind="stable")
    light = np.cumsum(image.ravel()[order])
    if light[-1] <= 0:
        return math.nan
    return float(radius[order][np.searchsorted(light, light[-1] / 2)])


def _box(footprint):
    """The rectangle around a footprint, grown to 21 pixels where smaller."""
    slices = []
    for axis in (1, 0):
        line = np.flatnonzero(footprint.any(axis))
        low, high = line[0], line[-1] + 1
        grow = max(0, 21 - (high - low) + 1) // 2
        slices.append(slice(max(0, low - grow), min(len(footprint), high + grow)))
    return tuple(slices)


def _ratio(part, whole):
    return float(part / whole) if whole > 0 else math.nan
