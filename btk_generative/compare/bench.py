"""Draws the blends of a comparison, deblends and measures them, any blend by itself."""

import contextlib
import inspect
import io

import numpy as np
from btk.blend_batch import BlendBatch
from btk.deblend import Deblender, DeblendExample, SepMultiBand
from btk.survey import get_surveys

from btk_generative.compare.config import Arm, CompareConfig, DeblenderConfig, deblender_class
from btk_generative.compare.metrics import measure, reference_band, truth_rows
from btk_generative.compare.twin import check_jax, fitted_twin
from btk_generative.draw import GenerativeGenerator, ParametricGenerator, SurveyBatch

CONTEXT = ("mag", "snr", "blendedness", "separation", "hlr")
"""What the curves are drawn against; the same for all arms, from the first."""


class Bench:
    """The generators and deblenders of a configuration.

    Blend k is the same whichever blends were drawn before it, and in whichever process.
    """

    def __init__(self, config: CompareConfig) -> None:
        """Loads catalogue, model and deblenders.

        Args:
            config: What to compare.

        Raises:
            GenerativeError: If something that is asked for cannot be had.
        """
        if "fitted" in config.arms:
            check_jax()
        self.config = config
        catalog, self.survey = config.catalog.read(), get_surveys(config.survey[0])
        self.band = reference_band(self.survey)
        options = config.generator_options()
        accepted = inspect.signature(ParametricGenerator).parameters
        shared = {key: value for key, value in options.items() if key in accepted}
        self._generators = {}
        for arm in set(config.arms) - {"fitted"} | ({"generative"} & set(_needs(config.arms))):
            sampling = config.sampling.build(config.seed)
            if arm == "generative":
                made = GenerativeGenerator(catalog, sampling, self.survey, batch_size=1, **options)
            else:
                made = ParametricGenerator(catalog, sampling, self.survey, batch_size=1, **shared)
            self._generators[arm] = made
        most = sampling.max_number
        self._deblenders = [(entry, _build(entry, most, self)) for entry in config.deblenders]

    def draw(self, blend: int) -> dict[str, SurveyBatch]:
        """Returns a batch of one blend for each arm."""
        drawn = {}
        for arm, generator in self._generators.items():
            generator.seek(blend, 1)
            drawn[arm] = next(generator)
        if "fitted" in self.config.arms:
            drawn["fitted"] = fitted_twin(drawn["generative"], self.band)
        return {arm: drawn[arm] for arm in self.config.arms}

    def rows(self, blend: int) -> list[dict]:
        """Measures one blend: a row per source, arm, deblender and scene (blend or alone)."""
        rows: list[dict] = []
        batches = self.draw(blend)
        if len(batches[self.config.arms[0]].catalog_list[0]) == 0:  # a stamp without a galaxy
            return rows
        context = truth_rows(batches[self.config.arms[0]], 0, self.band)
        scenes = {"blend": batches}
        if self.config.control:
            scenes["alone"] = {arm: first_alone(batch) for arm, batch in batches.items()}
        for scene, by_arm in scenes.items():
            for arm, batch in by_arm.items():
                for entry, deblender in self._deblenders:
                    example, message = _attempt(entry, deblender, batch)
                    found: list[dict] = [{} for _ in batch.catalog_list[0]]
                    if example is not None:
                        found = measure(batch, 0, example, self.band)
                    for galaxy, values in enumerate(found):
                        key = {
                            "blend": blend,
                            "galaxy": galaxy,
                            "scene": scene,
                            "arm": arm,
                            "deblender": entry.label,
                            "failed": example is None,
                            "message": message,
                        }
                        rows.append(key | context[galaxy] | values)
        return rows

    def pictures(self, blend: int) -> dict:
        """Returns the images of one blend for the galleries, for the first deblender.

        Returns:
            For each arm ``blend`` and ``model`` ``[bands, N, N]``, and ``sources``, of each of
            which true position (x, y), true and model image in the reference band.
        """
        index = list(self.survey.available_filters).index(self.band)
        shown = {}
        for arm, batch in self.draw(blend).items():
            entry, deblender = self._deblenders[0]
            example, _ = _attempt(entry, deblender, batch)
            images = None if example is None else example.deblended_images
            if images is None or images.shape[1] != batch.blend_images.shape[1]:
                images = np.zeros_like(batch.isolated_images[0])
            table = batch.catalog_list[0]
            shown[arm] = {
                "blend": batch.blend_images[0].astype(np.float32),
                "model": images.sum(axis=0).astype(np.float32),
                "truth": batch.isolated_images[0, : len(table), index].astype(np.float32),
                "sources": images[: len(table), index].astype(np.float32),
                "x": np.asarray(table["x_peak"]),
                "y": np.asarray(table["y_peak"]),
            }
        return shown


def first_alone(batch: BlendBatch) -> SurveyBatch:
    """Returns a batch without all galaxies but the first, with the noise unchanged."""
    isolated = np.zeros_like(batch.isolated_images)
    isolated[:, 0] = batch.isolated_images[:, 0]
    return SurveyBatch(
        batch.batch_size,
        batch.max_n_sources,
        batch.stamp_size,
        batch.survey,
        batch.blend_images - batch.isolated_images[:, 1:].sum(axis=1),
        isolated,
        [table[:1] for table in batch.catalog_list],
        batch.psf,
    )


def _needs(arms: list[Arm]) -> list[Arm]:
    return ["generative"] if "fitted" in arms else []


def _build(entry: DeblenderConfig, most: int, bench: Bench) -> Deblender:
    """The deblender of an entry; SEP, and what uses its positions, may find more than there are."""
    options = entry.options()
    if entry.name.startswith("sep") or entry.positions == "detected":
        most = 2 * most + 2
    if entry.name == "sep" and not {"use_band", "use_mean"} & set(options):
        options["use_band"] = list(bench.survey.available_filters).index(bench.band)
    return deblender_class(entry.name)(most, **options)


def _attempt(
    entry: DeblenderConfig, deblender: Deblender, batch: BlendBatch
) -> tuple[DeblendExample | None, str]:
    """What a deblender makes of a batch of one blend, or why it failed."""
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            if entry.positions == "truth" or entry.name.startswith("sep"):
                return deblender.deblend(0, batch), ""
            detected = SepMultiBand(deblender.max_n_sources).deblend(0, batch).catalog
            return deblender.deblend(0, batch, reference_catalogs=[detected]), ""
    except Exception as error:  # a deblender may raise anything; it is counted and reported
        return None, f"{type(error).__name__}: {error}"
