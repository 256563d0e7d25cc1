"""The report: one HTML page that needs nothing else, and its numbers as tables."""

import base64
import html
import json
import math
from pathlib import Path

import pandas as pd
from tqdm.auto import tqdm

from btk_generative.compare.figures import CONTEXT_LABELS, save_curves, save_gallery
from btk_generative.compare.run import Comparison, gallery, write_text
from btk_generative.compare.statistics import FEWEST_BLENDS, RESAMPLES, Difference

_CURVES = ("chi2", "abs_flux_error_{}", "shape_error", "correlation", "matched")
_STYLE = Path(__file__).with_name("report.css")


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
        temporary = folder / f".{name}.partial"
        frame.to_csv(temporary, index=False)
        temporary.replace(folder / f"{name}.csv")
    temporary = folder / ".metrics.partial"
    comparison.table.to_parquet(temporary)
    temporary.replace(folder / "metrics.parquet")
    write_text(folder / "run.json", json.dumps(comparison.facts, indent=2) + "\n")
    write_text(folder / "report.html", _page(comparison, summary, figures))


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


def _figures(comparison, folder) -> dict[str, list[tuple[str, Path]]]:
    """Draws all figures; returns for each section captions and paths of the PNGs."""
    metrics = {metric.column: metric for metric in comparison.metrics}
    curves = [metrics[key.format(comparison.band)] for key in _CURVES]
    first = comparison.config.deblenders[0].label
    found = {"headline": [], "curves": [], "galleries": []}
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


def _page(comparison, summary, figures) -> str:
    config, facts = comparison.config, comparison.facts
    arms = config.arms
    sections = [
        f"<p>{_lead(comparison)}</p>",
        "<h2>Caveats</h2>",
        _caveats(comparison),
        "<h2>Paired differences</h2>",
        f"<p>{arms[1].capitalize()} minus {arms[0]}, source by source, with 95 % intervals from "
        f"{RESAMPLES:,} bootstrap resamples of blends. One in twenty metrics that do not differ is "
        "called significant by chance.</p>",
    ]
    for deblender in config.deblenders:
        sections += [f"<h3>{_e(deblender.label)}</h3>", _table(summary, deblender.label, arms[:2])]
        if comparison.table[comparison.table.deblender == deblender.label]["matched"].sum() == 0:
            sections.append("<p><b>No true source was matched.</b></p>")
    sections += [_image(*item) for item in figures["headline"]]
    for arm in arms[2:]:
        sections += [
            f"<h2>{arms[1].capitalize()} against {arm}: structure alone</h2>"
            if arm == "fitted"
            else f"<h2>{arms[1].capitalize()} against {arm}</h2>"
        ]
        if arm == "fitted":
            sections.append(
                "<p>Every generative galaxy is compared with the exponential disk and de "
                "Vaucouleurs bulge that fit it best: size, shape and flux agree, structure does "
                "not.</p>"
            )
        for deblender in config.deblenders:
            sections += [
                f"<h3>{_e(deblender.label)}</h3>",
                _table(summary, deblender.label, (arm, arms[1])),
            ]
    sections += ["<h2>Failures</h2>", _failures(comparison), "<h2>Dependence on the sources</h2>"]
    sections += [_image(*item) for item in figures["curves"]]
    if figures["galleries"]:
        sections += [
            "<h2>Blends</h2>",
            f"<p>Ranked by the residual χ² of {_e(config.deblenders[0].label)} in the {arms[1]} "
            f"arm. Left {arms[0]}, right {arms[1]}; residuals in units of the noise, from −5 to "
            f"+5, and sources in the {_e(comparison.band)} band.</p>",
        ]
        sections += [_image(*item) for item in figures["galleries"]]
    if config.control:
        sections.append("<h2>Control: the first galaxy of each blend alone</h2>")
        for deblender in config.deblenders:
            sections += [
                f"<h3>{_e(deblender.label)}</h3>",
                _table(summary, deblender.label, arms[:2], "alone"),
            ]
    sections += [
        "<h2>Run</h2>",
        f"<p>Seed {facts['seed']}; {facts.get('seconds', 0):.0f} s for what was not there yet. "
        "The same numbers are in metrics.parquet, metrics.csv (a row for each source) and "
        "summary.csv; figures as PNG and PDF in figures/.</p>",
        "<details open><summary>Versions and configuration</summary>"
        f"<pre>{_e(json.dumps({k: facts[k] for k in ('model', 'versions')}, indent=1))}</pre>"
        f"<pre>{_e(json.dumps(facts['configuration'], indent=1))}</pre></details>",
    ]
    body = "\n".join(sections)
    title = f"{arms[1].capitalize()} against {arms[0]} blends"
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{title}</title><style>{_STYLE.read_text()}</style></head>"
        f"<body><main><h1>{title}</h1>\n{body}\n</main></body></html>\n"
    )


def _lead(comparison) -> str:
    config, table = comparison.config, comparison.table
    sources = len(table[["blend", "galaxy"]].drop_duplicates())
    names = ", ".join(d.label for d in config.deblenders)
    model = comparison.facts["model"]
    drawn = f" Generative model: {model['name']}." if model else ""
    return _e(
        f"{config.blends} blends of {sources} galaxies as {config.survey[0]} sees them "
        f"({', '.join(comparison.bands)}; reference band {comparison.band}), drawn in the arms "
        f"{', '.join(config.arms)} and deblended by {names}.{drawn} Rows of the catalogue, "
        "positions, fluxes and PSFs are the same in all arms."
    )


def _caveats(comparison) -> str:
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
    return "<ul>" + "".join(f"<li>{_e(note)}</li>" for note in notes) + "</ul>"


def _table(summary, deblender, arms, scene="blend") -> str:
    """One line per metric, a card each on narrow screens."""
    chosen = summary[
        (summary.deblender == deblender)
        & (summary.baseline_arm == arms[0])
        & (summary.arm == arms[1])
        & (summary.scene == scene)
    ]
    heads = ["metric", arms[0], arms[1], "difference", "95 % interval", "significant"]
    lines = []
    for row in chosen.to_dict("records"):
        label = row["label"] + (f" [{row['unit']}]" if row["unit"] else "")
        if row["sources"] == 0:
            cells = [label, "–", "–", "–", "–", "not measured"]
        else:
            digits = _decimals(row["high"] - row["low"])
            difference, low, high = (
                _signed(row[key], digits) for key in ("difference", "low", "high")
            )
            cells = [
                f"{label}, {row['statistic']}",
                *(f"{row[key]:.{digits}f}".replace("-", "−") for key in ("baseline", "value")),
                difference,
                f"{low} to {high}",
                _verdict(row),
            ]
        kind = ' class="yes"' if row["significant"] else ""
        named = zip(heads, cells, strict=True)
        inside = "".join(f'<td data-label="{_e(h)}">{_e(c)}</td>' for h, c in named)
        lines.append(f"<tr{kind}>{inside}</tr>")
    most = chosen[["sources", "blends"]].max()
    head = "".join(f"<th>{_e(name)}</th>" for name in heads)
    return (
        f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(lines)}</tbody></table>"
        f'<p class="note">Up to {most["sources"]} pairs of sources in {most["blends"]} blends.</p>'
    )


def _verdict(row) -> str:
    difference = Difference(**{key: row[key] for key in Difference.__dataclass_fields__})
    if difference.blends < FEWEST_BLENDS:
        return "too few blends"
    size = f"n = {row['sources']}"
    return f"yes ({size})" if difference.significant else f"no ({size})"


def _failures(comparison) -> str:
    table = comparison.table.drop_duplicates(["blend", "arm", "scene", "deblender"])
    counted = table.groupby(["deblender", "scene", "arm"], sort=False).failed.agg(["sum", "size"])
    lines = [
        f'<tr><td data-label="deblender">{_e(deblender)}</td><td data-label="scene">{scene}</td>'
        f'<td data-label="arm">{arm}</td>'
        f'<td data-label="failed">{row["sum"]} of {row["size"]}</td></tr>'
        for (deblender, scene, arm), row in counted.iterrows()
    ]
    messages = table[table.failed].message.value_counts()
    notes = "".join(f"<li>{count} × {_e(text)}</li>" for text, count in messages.head(10).items())
    return (
        "<table><thead><tr><th>deblender</th><th>scene</th><th>arm</th><th>failed</th></tr>"
        f"</thead><tbody>{''.join(lines)}</tbody></table>" + (f"<ul>{notes}</ul>" if notes else "")
    )


def _image(caption, path) -> str:
    data = base64.b64encode(path.read_bytes()).decode()
    return (
        f'<figure><img src="data:image/png;base64,{data}" alt="{_e(caption)}">'
        f"<figcaption>{_e(caption)}</figcaption></figure>"
    )


def _decimals(width: float) -> int:
    """Decimals that show an interval of this width with two digits; at least three."""
    return 3 if not width > 0 else min(max(3, 1 - math.floor(math.log10(width))), 6)


def _signed(value: float, decimals: int) -> str:
    text = f"{value:+.{decimals}f}".replace("-", "−")
    return text if text.strip("+−0.") else "0"


def _e(text) -> str:
    return html.escape(str(text))
