"""How does a deblender fare on generative against parametric blends? The calls from Python.

Run it with `python examples/compare_scarlet.py`; in some minutes it leaves report/report.html.
The command for the same is `btk-generative compare configs/compare_scarlet.yaml --output report`.
"""

import btk
import numpy as np

import btk_generative as bg


def deblend_in_a_btk_script():
    """Scarlet2Deblender takes the place of btk.deblend.Scarlet."""
    catalog = bg.catalogs.mock_catsim(5_000, seed=0)
    sampling = btk.sampling_functions.DefaultSampling(max_number=3, max_mag=24, seed=1)
    lsst = btk.survey.get_surveys("LSST")
    blends = bg.GenerativeGenerator(catalog, sampling, lsst, batch_size=4, seed=1)
    deblender = bg.compare.Scarlet2Deblender(max_n_sources=3)
    batch, deblended = next(btk.deblend.DeblendGenerator(deblender, blends))
    images = deblended["Scarlet2Deblender"].deblended_images
    flux, truth = (i[:, :, 3].sum((-1, -2)) for i in (images, batch.isolated_images))
    error = flux / np.where(truth > 0, truth, np.nan) - 1  # NaN where there is no source
    print("relative error of the i-band flux, blend by blend:")
    print(np.round(error, 3))


def whole_comparison():
    """Paired blends, measurements and report, as the command makes them."""
    config = bg.compare.CompareConfig(
        catalog={"mock": 5_000},
        sampling={"function": "DefaultSampling", "min_number": 2, "max_number": 3, "max_mag": 24},
        blends=20,
        seed=1,
        deblenders=["scarlet2"],
        control=False,
    )
    comparison = bg.compare.run(config, "report", jobs=1)
    for metric in comparison.metrics:
        for arm in ("parametric", "fitted"):
            found = comparison.difference(metric, "scarlet2", (arm, "generative"))
            print(
                f"{metric.label}: generative − {arm} = {found.difference:+.4f} "
                f"({found.low:+.4f} to {found.high:+.4f})"
                + (", significant" if found.significant else "")
            )


def any_two_generators():
    """The same measurements for any pair of BTK generators that draw the same sources."""
    catalog = bg.catalogs.mock_catsim(5_000, seed=0)
    lsst = btk.survey.get_surveys("LSST")
    chi2 = []
    for noise in ("background", "all"):
        sampling = btk.sampling_functions.DefaultSampling(max_number=3, max_mag=24, seed=1)
        generator = btk.draw_blends.CatsimGenerator(
            catalog, sampling, lsst, batch_size=12, add_noise=noise, seed=1
        )
        batch = next(generator)
        deblender = bg.compare.Scarlet2Deblender(max_n_sources=3)
        measured = [
            bg.compare.measure(batch, k, deblender.deblend(k, batch), "i")
            for k in range(batch.batch_size)
        ]
        chi2.append([row.get("chi2", np.nan) for rows in measured for row in rows])
    blend = np.repeat(np.arange(len(measured)), [len(rows) for rows in measured])
    print("χ² with the galaxies' own noise against without:")
    print(bg.compare.paired_difference(chi2[1], chi2[0], blend))


if __name__ == "__main__":
    deblend_in_a_btk_script()
    whole_comparison()
    any_two_generators()
