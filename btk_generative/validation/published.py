"""The published distributions of Lanusse et al. 2021, arXiv:2008.03833, and distances to them.

The curves were read off the paper's vector figures; the files are no part of the package. A curve
is a kernel density estimate, a histogram's counts saturate where the figure's colours do. A sample
is brought into the same form before it is compared.
"""

import csv
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from astropy.table import Table
from scipy.ndimage import gaussian_filter1d

from btk_generative.errors import CatalogError

SAMPLES = {"cosmos": "real COSMOS", "generative": "flow-VAE", "parametric": "parametric fits"}
"""Names of the published samples, as in the files, and in words."""

_CURVES = {
    "g": "ellipticity_g",
    "size": "determinant_radius_arcsec",
    "rho4": "rho4",
    "log10_M": "log10_M",
    "log10_I": "log10_I",
    "D": "D",
}
_CUT = {"D": 1.0873, "size": 0.62499}
_HISTOGRAMS = {
    # x, y: range of x, range of y, number at which the counts saturate
    ("m20", "gini"): ((-2.0, -0.5), (0.05, 0.6), 55),
    ("D", "log10_I"): ((0.0, 1.0), (-2.5, 0.0), 55),
    ("D", "log10_M"): ((0.0, 1.0), (-4.0, 0.0), 65),
    ("log10_M", "log10_I"): ((-5.0, 0.0), (-2.5, 0.0), 120),
}
_BINS = 32
_NUMBER = 10_000
_CELLS = 1024


@dataclass(frozen=True)
class Distribution:
    """One or two statistics of the published samples, as probabilities of cells."""

    columns: tuple[str, ...]
    """Fields of `Morphology`: one, or the two of a histogram."""

    edges: tuple[np.ndarray, ...]
    """Edges of the cells, per column."""

    published: dict[str, np.ndarray]
    """Sample -> probabilities, shape ``[cells]`` or ``[cells of x, cells of y]``, sum 1."""

    saturation: float = np.inf
    """Count of a cell, in a sample of 10,000, above which the figure shows no more."""

    cut: float = np.inf
    """Value at which the published curve ends."""

    @property
    def name(self) -> str:
        """What the distribution is of."""
        return "–".join(self.columns)

    @property
    def centres(self) -> np.ndarray:
        """Centres of the first column's cells."""
        return 0.5 * (self.edges[0][1:] + self.edges[0][:-1])

    def counts(self, table: Table) -> np.ndarray:
        """Returns how many galaxies of a table lie in each cell.

        Values beyond the cells of a curve count in the outermost, those beyond a histogram not.
        The histograms of M, I and D hold the galaxies for which all three are finite.

        Args:
            table: Measurements with the fields of `Morphology`; what is not finite is left out.
        """
        values = np.stack([np.asarray(table[name], dtype=float) for name in self.columns], axis=1)
        needed = list(self.columns)
        if len(self.columns) == 2 and "gini" not in self.columns:
            needed = ["log10_M", "log10_I", "D"]
        values = values[np.all([np.isfinite(table[name]) for name in needed], axis=0)]
        if len(self.columns) == 1:
            values = np.clip(values, self.centres[0], self.centres[-1])
        return np.histogramdd(values, self.edges)[0]

    def probabilities(self, counts: np.ndarray, number: int) -> np.ndarray:
        """Returns a sample in the published form.

        Args:
            counts: Result of `counts`, or several, shape ``[..., cells]`` or ``[..., x, y]``.
            number: Number of galaxies that were measured.

        Returns:
            Probabilities of the same shape; each distribution sums to 1.
        """
        if len(self.columns) == 2:
            shown = np.minimum(counts * (_NUMBER / number), self.saturation)
            return shown / shown.sum(axis=(-2, -1), keepdims=True)
        finite = counts.sum() / np.prod(counts.shape[:-1]) * _NUMBER / number
        width = _bandwidth(np.atleast_2d(counts).sum(axis=0), self.centres, finite)
        sigma = width / (self.edges[0][1] - self.edges[0][0])
        shown = gaussian_filter1d(counts.astype(float), sigma, mode="constant")
        shown = np.where(self.centres <= self.cut, shown, 0)
        return shown / shown.sum(axis=-1, keepdims=True)

    def distances(self, p: np.ndarray, q: np.ndarray) -> dict[str, np.ndarray]:
        """Returns the distances between distributions on these cells.

        Args:
            p: Probabilities, shape ``[..., cells]`` or ``[..., x, y]``.
            q: Probabilities, one distribution.

        Returns:
            ``tv``: total variation, half the summed absolute difference. ``w1_NAME`` for each
            column: Wasserstein-1 over the standard deviation of real COSMOS; for a histogram,
            along its margin. For one column ``ks``: the largest difference of the cumulative
            distributions. For a histogram ``tv_8x8``: total variation in that many cells, where
            the finite number of galaxies counts less.
        """
        axes = tuple(range(-len(self.columns), 0))
        result = {"tv": 0.5 * np.abs(p - q).sum(axis=axes)}
        if len(self.columns) == 2:
            cells = (p - q).reshape(*np.shape(p)[:-2], 8, _BINS // 8, 8, _BINS // 8)
            result["tv_8x8"] = 0.5 * np.abs(cells.sum(axis=(-3, -1))).sum(axis=(-2, -1))
        for axis, (name, edges) in enumerate(zip(self.columns, self.edges, strict=True)):
            others = tuple(a for a in axes if a != axes[axis])
            real, mine, theirs = (x.sum(axis=others) for x in (self.published["cosmos"], p, q))
            x = 0.5 * (edges[1:] + edges[:-1])
            step = np.abs(np.cumsum(mine - theirs, axis=-1))
            deviation = np.sqrt(real @ x**2 - (real @ x) ** 2)
            result[f"w1_{name}"] = step.sum(axis=-1) * (x[1] - x[0]) / deviation
        if len(self.columns) == 1:
            result["ks"] = step.max(axis=-1)
        return result


def read_published(folder: str | Path) -> list[Distribution]:
    """Returns the six published curves, then the four histograms.

    Args:
        folder: Holds ``density_curves.csv`` and ``histograms_2d.csv``.

    Raises:
        CatalogError: If a file is missing or has other contents.
    """
    curves: dict[tuple[str, str], list[tuple[float, float]]] = defaultdict(list)
    counts: dict[tuple[str, str, str], list[tuple[float, float, float]]] = defaultdict(list)
    for row in _read(Path(folder) / "density_curves.csv", "statistic sample x density"):
        curves[row["statistic"], row["sample"]].append((float(row["x"]), float(row["density"])))
    columns = "x_statistic y_statistic sample x_bin_centre y_bin_centre count"
    for row in _read(Path(folder) / "histograms_2d.csv", columns):
        key = row["x_statistic"].lower(), row["y_statistic"].lower(), row["sample"]
        cell = float(row["x_bin_centre"]), float(row["y_bin_centre"]), float(row["count"])
        counts[key].append(cell)
    try:
        return [
            *(_curve(name, {s: curves[_CURVES[name], s] for s in SAMPLES}) for name in _CURVES),
            *(
                _histogram(x, y, {s: counts[x.lower(), y.lower(), s] for s in SAMPLES})
                for x, y in _HISTOGRAMS
            ),
        ]
    except (IndexError, ValueError) as error:
        raise CatalogError(f"{folder}: the published curves are incomplete ({error})") from error


def _read(path: Path, columns: str) -> list[dict[str, str]]:
    try:
        with open(path, newline="") as file:
            reader = csv.DictReader(file)
            rows = list(reader)
    except OSError as error:
        raise CatalogError(
            f"{path}: the published curves of Lanusse et al. 2021 cannot be read "
            f"({error.strerror}); they are not part of the package: give the folder that holds "
            "lanusse2021/ with --data or in BTK_GENERATIVE_DATA"
        ) from error
    if reader.fieldnames != columns.split():
        raise CatalogError(f"{path}: the first line must be {','.join(columns.split())}")
    return rows


def _curve(name: str, points: dict[str, list[tuple[float, float]]]) -> Distribution:
    """Returns the published curves of one statistic on cells that reach past all of them."""
    curves = {sample: np.array(values).T for sample, values in points.items()}
    low = min(x.min() for x, _ in curves.values())
    high = max(x.max() for x, _ in curves.values())
    margin = 0.25 * (high - low)
    edges = np.linspace(low - margin, high + margin, _CELLS + 1)
    centres = 0.5 * (edges[1:] + edges[:-1])
    published = {s: np.interp(centres, x, y, left=0, right=0) for s, (x, y) in curves.items()}
    return Distribution(
        (name,),
        (edges,),
        {sample: density / density.sum() for sample, density in published.items()},
        cut=_CUT.get(name, np.inf),
    )


def _histogram(x: str, y: str, cells: dict[str, list[tuple[float, float, float]]]) -> Distribution:
    x_range, y_range, saturation = _HISTOGRAMS[x, y]
    edges = np.linspace(*x_range, _BINS + 1), np.linspace(*y_range, _BINS + 1)
    published = {}
    for sample, values in cells.items():
        xs, ys, weights = np.array(values).T
        counts = np.histogram2d(xs, ys, bins=edges, weights=weights)[0]
        published[sample] = counts / counts.sum()
    return Distribution((x, y), edges, published, saturation=saturation)


def _bandwidth(counts: np.ndarray, x: np.ndarray, number: float) -> float:
    """Returns the width of the published estimates' kernel, 1.059 min(sd, IQR / 1.349) N^-0.2.

    N is the number of finite values: that of log10 I, for 6,400 galaxies with two modes, is where
    the published curve, which ends three widths beyond 0, says so.
    """
    p = counts / counts.sum()
    deviation = np.sqrt(p @ x**2 - (p @ x) ** 2)
    lower, upper = np.interp([0.25, 0.75], np.cumsum(p), x)
    return 1.059 * min(deviation, (upper - lower) / 1.349) * number**-0.2
