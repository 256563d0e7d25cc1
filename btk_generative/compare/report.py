"""The report: one HTML page that needs nothing else, and its numbers as tables."""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm.auto import tqdm

from btk_generative.compare.comparison import Comparison, gallery
from btk_generative.compare.figures import CONTEXT_LABELS, save_curves, save_gallery
from btk_generative.compare.statistics import FEWEST_BLENDS, RESAMPLES, Difference
from btk_generative.runs import report
from btk_generative.runs.files import new_file, write_json

_CURVES = ("chi2", "abs_flux_error_{}", "shape_error", "correlation", "matched")


def write_report(comparison: Comparison, folder: Path) -> None:
    """Writes figures, tables and ``report.html``.

    Args:
        comparison: What was measured.
        folder: Where to write; files of an earlier report are replaced.
    """
    folder = Path(folder)
    (folder / "figures").mkdir(exist_ok=True)
    summary = summarise(comparison)
    figures = _figures(comparison, folder / "figures")
    for name, frame in (("metrics", comparison.table), ("summary", summary)):
        with new_file(folder / f"{name}.csv") as path:
            frame.to_csv(path, index=False)
    with new_file(folder / "metrics.parquet") as path:
        comparison.table.to_parquet(path)
    write_json(folder / "run.json", comparison.facts)
    page = _page(comparison, summary, figures)
    report.write_report(folder / "report.html", "compare/report.html", **page)


def summarise(comparison: Comparison) -> pd.DataFrame:
    """Returns every metric's paired difference for each deblender, pair of arms and scene."""
    arms, rows = comparison.config.arms, []
    pairs = [(arms[0], arms[1]), *[(arm, arms[1]) for arm in arms[2:]]]
    scenes = ["blend", "alone"] if comparison.config.control else ["blend"]
    for deblender in comparison.config.deblenders:
        for scene in scenes:
            for pair in pairs:
                for metric in comparison.metrics:
                    found = comparison.difference(metric, deblender.label, pair, scene)
                    rows.append(
                        {
                            "deblender": deblender.label,
                            "scene": scene,
                            "baseline_arm": pair[0],
                            "arm": pair[1],
                            "metric": metric.column,
                            "label": metric.label,
                            "unit": metric.unit,
                            "statistic": metric.statistic,
                            **vars(found),
                            "significant": found.significant,
                        }
                    )
    return pd.DataFrame(rows)


def _figures(comparison: Comparison, folder: Path) -> dict[str, list[tuple[str, Path]]]:
    """Draws all figures; returns for each section captions and paths of the PNGs."""
    metrics = {metric.column: metric for metric in comparison.metrics}
    curves = [metrics[key.format(comparison.band)] for key in _CURVES]
    first = comparison.config.deblenders[0].label
    found: dict[str, list[tuple[str, Path]]] = {"headline": [], "curves": [], "galleries": []}
    shown = [(kind, b) for kind, blends in gallery(comparison).items() for b in blends]
    with tqdm(total=1 + len(comparison.config.deblenders) + len(shown), desc="Report") as bar:
        path = folder / "headline"
        save_curves(comparison, first, curves[:3], ["hlr", "snr"], path)
        found["headline"].append((f"{first}: summaries in bins of equal numbers of sources", path))
        bar.update()
        for k, deblender in enumerate(comparison.config.deblenders):
            path = folder / f"curves-{k}"
            save_curves(comparison, deblender.label, curves, list(CONTEXT_LABELS), path)
            found["curves"].append((deblender.label, path))
            bar.update()
        for kind, blend in shown:
            path = folder / f"gallery-{kind}-{blend}"
            save_gallery(comparison, blend, path)
            found["galleries"].append((f"{kind} χ²: blend {blend}", path))
            bar.update()
    return {
        section: [(caption, path.with_suffix(".png")) for caption, path in drawn]
        for section, drawn in found.items()
    }


def _page(comparison: Comparison, summary: pd.DataFrame, figures: dict) -> dict:
    """Returns what the page shows."""
    config, table = comparison.config, comparison.table
    arms = config.arms
    attempts = table.drop_duplicates(["blend", "arm", "scene", "deblender"])
    counted = attempts.groupby(["deblender", "scene", "arm"], sort=False).failed
    messages = attempts[attempts.failed].message.value_counts().head(10)
    return {
        "title": f"{arms[1].capitalize()} against {arms[0]} blends",
        "config": config,
        "facts": comparison.facts,
        "arms": arms,
        "bands": comparison.bands,
        "band": comparison.band,
        "sources": len(table[["blend", "galaxy"]].drop_duplicates()),
        "resamples": RESAMPLES,
        "caveats": _caveats(comparison),
        "deblenders": [_deblender(comparison, summary, d.label) for d in config.deblenders],
        "figures": figures,
        "failures": [
            (deblender, scene, arm, f"{failed} of {tried}")
            for deblender, scene, arm, failed, tried in counted.agg(["sum", "size"])
            .reset_index()
            .itertuples(index=False, name=None)
        ],
        "messages": list(messages.items()),
    }


def _deblender(comparison: Comparison, summary: pd.DataFrame, label: str) -> dict:
    """Returns what the page shows of one deblender."""
    arms, table = comparison.config.arms, comparison.table
    return {
        "label": label,
        "matched": bool(table[table.deblender == label]["matched"].sum()),
        "main": _table(summary, label, arms[:2]),
        "others": {arm: _table(summary, label, (arm, arms[1])) for arm in arms[2:]},
        "alone": _table(summary, label, arms[:2], "alone") if comparison.config.control else None,
    }


def _caveats(comparison: Comparison) -> list[str]:
    config = comparison.config
    notes = [
        "A galaxy has one morphology, scaled to its flux in each band. That is the model that "
        "scarlet fits with one component: colours and residuals flatter it."
        if config.color == "flat"
        else "Bulges and disks of generative galaxies differ in colour; parametric ones, and the "
        "fits to generative ones, have one morphology in all bands.",
        "The deblenders' settings were not tuned, in neither arm.",
        "Sizes and signal-to-noise ratios, against which curves are drawn, are those of the "
        f"{config.arms[0]} arm.",
    ]
    if config.add_noise in ("all", "galaxy"):
        notes.append("The galaxies' own photon noise differs between the arms.")
    if config.add_noise == "background":
        notes.append("Noise is that of the sky, the same realisation in every arm.")
    if config.blends < FEWEST_BLENDS:
        notes.append(
            f"Fewer than {FEWEST_BLENDS} blends: no interval is to be trusted, and nothing is "
            "called significant."
        )
    if len(comparison.bands) == 1:
        notes.append("The survey has a single band: there is no colour.")
    for deblender in config.deblenders:
        if deblender.name == "sep":
            notes.append(
                "SEP gives every pixel to one source, so that its residual χ² and kurtosis say "
                "little, and gets no positions: it detects."
            )
        elif deblender.name == "sep_multiband":
            notes.append("SEP on several bands only detects: it has recall and precision.")
        elif deblender.positions == "truth":
            notes.append(f"{deblender.label} was given the true positions.")
    return notes


def _table(
    summary: pd.DataFrame, deblender: str, arms: Sequence[str], scene: str = "blend"
) -> dict:
    """Returns a table of paired differences, one line per metric."""
    chosen = summary[
        (summary.deblender == deblender)
        & (summary.baseline_arm == arms[0])
        & (summary.arm == arms[1])
        & (summary.scene == scene)
    ]
    rows = []
    for row in chosen.to_dict("records"):
        label = row["label"] + (f" [{row['unit']}]" if row["unit"] else "")
        if row["sources"] == 0:
            rows.append([label, "–", "–", "–", "–", "not measured"])
            continue
        digits = _decimals(row["high"] - row["low"])
        difference, low, high = (_signed(row[key], digits) for key in ("difference", "low", "high"))
        rows.append(
            [
                f"{label}, {row['statistic']}",
                *(f"{row[key]:.{digits}f}".replace("-", "−") for key in ("baseline", "value")),
                difference,
                f"{low} to {high}",
                _verdict(row),
            ]
        )
    return {
        "heads": ["metric", arms[0], arms[1], "difference", "95 % interval", "significant"],
        "rows": rows,
        "marked": set(np.flatnonzero(chosen.significant).tolist()),
        "sources": chosen.sources.max(),
        "blends": chosen.blends.max(),
    }


def _verdict(row: dict) -> str:
    difference = Difference(**{key: row[key] for key in Difference.__dataclass_fields__})
    if difference.blends < FEWEST_BLENDS:
        return "too few blends"
    size = f"n = {row['sources']}"
    return f"yes ({size})" if difference.significant else f"no ({size})"


def _decimals(width: float) -> int:
    """Decimals that show an interval of this width with two digits; at least three."""
    return 3 if not width > 0 else min(max(3, 1 - math.floor(math.log10(width))), 6)


def _signed(value: float, decimals: int) -> str:
    text = f"{value:+.{decimals}f}".replace("-", "−")
    return text if text.strip("+−0.") else "0"
