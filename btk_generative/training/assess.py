"""How well a model reconstructs and draws galaxies that it has not been trained on."""

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import galsim
import numpy as np
from astropy.table import Table
from keras import ops
from tqdm import tqdm

from btk_generative.training.dataset import Dataset
from btk_generative.training.likelihood import chi_square

SHOWN = 8
"""Galaxies whose images are kept for the report."""

_MAGNITUDES = (0, 21, 22, 23, 24, 25, 40)


@dataclass(frozen=True)
class Results:
    """What test galaxies say of a model."""

    conditions: Table
    """Of the test galaxies."""

    latents: np.ndarray | None
    """A sample of each one's posterior ``[n, latent]``, None for a GAN."""

    contexts: np.ndarray
    """Their encoded conditions, ``[n, c]``."""

    shown: dict[str, np.ndarray]
    """``image`` and, of an autoencoder, ``model`` and ``residual`` (whitened), ``[k, S, S]``."""

    chi_square: Table | None
    """Reduced chi-square of reconstructions by F814W magnitude, None for a GAN."""

    trends: Table
    """Medians of drawn galaxies and of observed ones, by F814W magnitude."""

    @property
    def metrics(self) -> dict:
        """What the model's card says; None where nothing could be measured."""
        tables = {"chi_square": self.chi_square, "trends": self.trends}
        return {
            name: [
                {
                    key: round(float(value), 5) if np.isfinite(value) else None
                    for key, value in zip(row.colnames, row, strict=True)
                }
                for row in table
            ]
            for name, table in tables.items()
            if table is not None
        }


def assess(data: Dataset, batches: list, draw: Callable, vae: Any, seed: int) -> Results:
    """Measures a model on test galaxies.

    Sizes, fluxes and shapes of drawn galaxies are measured behind the PSF and in noise of the
    galaxies whose conditions they are drawn for, in the same way as those of the galaxies
    themselves, by adaptive moments.

    Args:
        data: Where the galaxies are from.
        batches: Pairs of records and what the networks take of them.
        draw: Function of encoded conditions that returns profiles and fluxes.
        vae: The autoencoder; None for a GAN.
        seed: Of the noise.
    """
    rng = np.random.default_rng(seed)
    measured: list[list[tuple[float, float, float]]] = []
    latents: list[np.ndarray] = []
    shown: list[np.ndarray] = []
    chi_squares: list[np.ndarray] = []
    bar = tqdm(total=sum(len(r) for r, _ in batches), desc="Testing", unit="galaxy", disable=None)
    with bar:
        for records, inputs in batches:
            profile, flux = draw(inputs["context"])
            drawn = _observe(records, profile * flux[:, None, None], rng)
            for record, image in zip(records, drawn, strict=True):
                pair = (record["image"], image)
                measured.append([_moments(im, record["pixel_scale"]) for im in pair])
            if vae is not None:
                for array, new in zip(
                    (latents, shown, chi_squares), _reconstruct(vae, inputs, records), strict=True
                ):
                    array.append(new)
            bar.update(len(records))
    records = np.concatenate([r for r, _ in batches])
    conditions = data.table_of(records["conditions"])
    magnitude = np.asarray(conditions["mag_auto"])
    bins = [
        (rows, a, b)
        for a, b in itertools.pairwise(_MAGNITUDES)
        if len(rows := np.flatnonzero((magnitude >= a) & (magnitude < b)))
    ]
    some = {"image": records["image"][:SHOWN]}
    table = None
    if vae is not None:
        model, power = np.concatenate(shown)[:SHOWN], records["power"][:SHOWN]
        white = np.fft.rfft2(some["image"] - model) / np.sqrt(power)
        some |= {"model": model, "residual": np.fft.irfft2(white, s=model.shape[1:])}
        chi = np.concatenate(chi_squares)
        table = Table(
            rows=[(a, b, len(rows), chi[rows].mean(), np.median(chi[rows])) for rows, a, b in bins],
            names=("brighter_limit", "fainter_limit", "galaxies", "mean", "median"),
        )
    return Results(
        conditions,
        np.concatenate(latents) if latents else None,
        np.concatenate([inputs["context"] for _, inputs in batches]),
        some,
        table,
        _trends(np.array(measured), bins),
    )


def _observe(records, light, rng):
    """Returns images ``[n, S, S]`` of light, with the records' PSFs and noise like theirs."""
    white = np.fft.rfft2(rng.standard_normal(light.shape))
    transform = np.fft.rfft2(light) * records["transfer"] + white * np.sqrt(records["power"])
    return np.fft.irfft2(transform, s=light.shape[1:])


def _reconstruct(vae, inputs, records):
    """Returns latent vectors, images of the model, and reduced chi-square."""
    inputs = {name: ops.convert_to_tensor(value) for name, value in inputs.items()}
    latent, _ = vae.encode(inputs)
    residual = vae.residual(inputs, *vae.decoder(latent))
    size = records["image"].shape[-1]
    chi = ops.convert_to_numpy(chi_square(residual, inputs["power"])) / size**2
    real, imaginary = (ops.convert_to_numpy(part) for part in residual)
    model = records["image"] - np.fft.irfft2(real + 1j * imaginary, s=(size, size))
    return ops.convert_to_numpy(latent), model, chi


def _moments(image: np.ndarray, pixel_scale: float) -> tuple[float, float, float]:
    """Returns flux, size [arcsec] and axis ratio by adaptive moments; NaN where they fail."""
    stamp = galsim.Image(np.asarray(image, dtype=np.float64), scale=float(pixel_scale))
    found = galsim.hsm.FindAdaptiveMom(stamp, strict=False)
    if found.moments_status != 0:
        return (np.nan,) * 3
    g = found.observed_shape.g
    return found.moments_amp, found.moments_sigma * float(pixel_scale), (1 - g) / (1 + g)


def _trends(measured: np.ndarray, bins: list) -> Table:
    """Returns medians by magnitude; measured is ``[n, 2 (observed, drawn), 3]``."""
    rows = []
    for chosen, low, high in bins:
        good = measured[chosen]
        good = good[np.isfinite(good).all(axis=(1, 2))]
        medians = np.median(good, axis=0) if len(good) else np.full((2, 3), np.nan)
        rows.append((low, high, len(good), *medians.T.ravel()))
    names = [f"{q}_{who}" for q in ("flux", "size", "q") for who in ("observed", "drawn")]
    return Table(rows=rows, names=("brighter_limit", "fainter_limit", "galaxies", *names))
