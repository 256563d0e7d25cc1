"""A model without training: an elliptical exponential disk and a round Gaussian bulge.

It takes the default model's inputs, so tests of what stands on a model can use it, and closed forms
say what it draws. The first two random numbers move a faint clump along and across the disk.
"""

from btk_generative.models import write_artifact

SIZE, RANDOM = 32, 4
SCALE = 5.0 / SIZE
"""Pixel scale in units of the larger half-light radius."""


def toy_card(**changes) -> dict:
    def given(name, low, high, unit="", missing=None):
        return {
            "name": name,
            "unit": unit,
            "minimum": low,
            "maximum": high,
            "missing": missing,
            "description": f"the {name} of the galaxy",
        }

    inputs = [given("zphot", 0.0, 4.0)]
    for part in ("bulge", "disk"):
        inputs += [
            given(f"{part}_hlr", 0.02, 3.0, "arcsec", 0.1),
            given(f"{part}_q", 0.05, 1.0, "", 1.0),
            given(f"{part}_flux", 0.01, 1e5, "", 1.0),
            given(f"{part}_present", 0.0, 1.0),
        ]
    return {
        "name": "toy",
        "description": "Exponential disk and Gaussian bulge, for tests",
        "inputs": inputs,
        "random_size": RANDOM,
        "stamp_size": SIZE,
        "pixel_scale": "output",
        "oriented": True,
        "licence": "MIT",
        "citation": "",
        "provenance": {"data": "none", "code_version": "test", "seed": 0},
    } | changes


def draw_toy(**given):
    import tensorflow as tf

    noise = given["random_normal"]
    bulge = given["bulge_flux"] * given["bulge_present"]
    disk = given["disk_flux"] * given["disk_present"]
    share = (bulge / (bulge + disk))[:, None, None]
    largest = tf.maximum(
        given["bulge_hlr"] * given["bulge_present"], given["disk_hlr"] * given["disk_present"]
    )
    scale = SCALE * largest
    axis = tf.range(SIZE, dtype=tf.float32) - (SIZE - 1) / 2
    x = axis[None, None, :] * scale[:, None, None]
    y = axis[None, :, None] * scale[:, None, None]

    def component(name, steepness, power):
        q, hlr = given[f"{name}_q"][:, None, None], given[f"{name}_hlr"][:, None, None]
        radius = tf.sqrt(x**2 * q + y**2 / q + 1e-9) / hlr
        image = tf.exp(-steepness * radius**power)
        return image / tf.reduce_sum(image, (1, 2), keepdims=True)

    clump = tf.exp(
        -8 * ((x / largest[:, None, None] - 0.5 * noise[:, 0, None, None]) ** 2)
        - 8 * ((y / largest[:, None, None] - 0.5 * noise[:, 1, None, None]) ** 2)
    )
    clump = clump / (1e-6 + tf.reduce_sum(clump, (1, 2), keepdims=True))
    smooth = share * component("bulge", 0.693, 2) + (1 - share) * component("disk", 1.678, 1)
    return {"image": smooth + 0.02 * clump, "pixel_scale": scale}


def write_toy(path, function=draw_toy, **changes):
    return write_artifact(path, function, toy_card(**changes))
