"""The renderer's sum over pixels against finufft's, on the galaxies that a generator draws.

    python -m pip install --target /tmp/finufft --no-deps finufft
    PYTHONPATH=/tmp/finufft python benchmarks/bench_nufft.py

Times are processor time a galaxy, the least of several runs in turns in one process, on one thread.
Those of finufft leave out what it needs besides: which pixels there are, their places and phases.
"""

from run import SEED, STAMP, fastest  # first: it sets the number of threads

# isort: split

import functools
import hashlib
import sys
import threading
from typing import NamedTuple
from unittest import mock

import btk
import numba
import numpy as np
import scipy.fft

import btk_generative as bg
from btk_generative.render import SurveyRenderer, loops

try:
    import finufft
except ImportError:
    sys.exit("finufft is absent: python -m pip install --target /tmp/finufft --no-deps finufft")

BLENDS = 40
SOURCES = 4  # in a blend
REPEATS = 6
CHECKED = 40  # transforms whose errors are measured


class Transform(NamedTuple):
    """A profile at its place on a periodic box."""

    image: np.ndarray
    centre: tuple[float, float]
    slope: np.ndarray
    height: float
    number: int  # of the box
    box: loops.Box


class Points(NamedTuple):
    """What finufft takes."""

    y: np.ndarray
    x: np.ndarray
    light: np.ndarray
    modes: tuple[int, int]


def recorded(name):
    """Returns what a generator has a renderer draw: the renderer and the arguments of its calls."""
    calls = []
    draw = SurveyRenderer._draw

    def note(renderer, *given):
        calls.append((renderer, given))
        draw(renderer, *given)

    catalog = bg.catalogs.mock_catsim(2000, seed=SEED)
    catalog.table["IE_ab"] = catalog.table["i_ab"]  # Euclid's band
    sampling = btk.sampling_functions.DefaultSampling(
        max_number=SOURCES, min_number=SOURCES, stamp_size=STAMP, seed=SEED
    )
    surveys = btk.survey.get_surveys(name)
    with mock.patch.object(SurveyRenderer, "_draw", note):
        next(bg.GenerativeGenerator(catalog, sampling, surveys, batch_size=BLENDS))
    return calls[0][0], [given for _, given in calls]


def transforms(renderer, calls):
    """Returns the transforms that such calls take: one a galaxy, or two if its PSF is parted."""
    found = []
    for (images, centres, slopes, heights), sizes, *_ in calls:
        numbers = renderer._numbered(sizes)
        for image, centre, slope, height, (whole, core) in zip(
            images, centres, slopes, heights, numbers, strict=True
        ):
            box = renderer._boxes[whole]
            found.append(Transform(image, tuple(centre), slope, height, whole, box))
            if core >= 0:
                box = renderer._boxes[core]
                near = tuple(centre - np.floor(centre) + box.size // 2)
                found.append(Transform(image, near, slope, height, core, box))
    return found


@numba.njit(nogil=True)
def sum_pixels(images, centre, slope, height, number, boxes, tables):
    """Transforms profiles as the renderer does, and returns the last."""
    for k in range(len(images)):
        x, y = centre[k]
        a, b, c, d = slope[k]
        box = boxes[number[k]]
        last = loops._spectrum(images[k], (x, y), (a, b, c, d), height[k], box, tables)
    return last


def ours(renderer, todo, interpolant):
    """Returns a function that does all transforms, with or without the interpolant's product."""
    boxes = None
    for box in renderer._boxes:
        if not interpolant:
            box = box._replace(extent=np.full_like(box.extent, -1))
        boxes = loops.extended(boxes, box)
    columns = [np.array(column) for column in list(zip(*todo, strict=True))[:5]]
    return functools.partial(sum_pixels, *columns, boxes, renderer._tables)


def our_sum(renderer, transform):
    """Returns the renderer's sum: without the interpolant, and with the kernel divided out."""
    box, tables = transform.box, renderer._tables
    half = box.extent.shape[1] // 2
    box = box._replace(extent=np.full_like(box.extent, half))
    tables = tables._replace(interpolant=np.ones_like(tables.interpolant))
    image, centre, slope, height = transform[:4]
    light = loops._spectrum(image, centre, tuple(slope), height, box, tables)
    return light / (box.kernel[:, None] * box.kernel[half:])


def lattice(transform):
    """Returns the light of the pixels that are drawn, and their x and y, turns of the box."""
    image, slope, box = transform.image, transform.slope, transform.box
    if box.samples < box.size:
        image, slope = loops._halve(image), 2 * slope
    v, u = np.indices(image.shape) - (len(image) - 1) / 2
    x = transform.centre[0] + slope[0] * u + slope[1] * v
    y = transform.centre[1] + slope[2] * u + slope[3] * v
    low, high = box.limit
    drawn = (np.minimum(x, y) >= low) & (np.maximum(x, y) <= high) & (image != 0)
    return image[drawn], x[drawn] / box.size, y[drawn] / box.size


def exact(transform):
    """Returns the sum over the pixels at all frequencies, in double precision."""
    light, x, y = lattice(transform)
    half = transform.box.extent.shape[1] // 2
    along_y = np.exp(-2j * np.pi * np.arange(-half, half + 1)[:, None] * y)
    along_x = np.exp(-2j * np.pi * np.arange(half + 1)[:, None] * x)
    return (along_y * light) @ along_x.T


def points(transform, precision=np.complex64):
    """Returns what finufft needs for the half plane of frequencies that describes a real image.

    Its frequencies lie around 0; a phase of the pixels moves them to the half plane, which takes
    half the time of the whole.
    """
    light, x, y = lattice(transform)
    half = transform.box.extent.shape[1] // 2
    light = light * np.exp(-2j * np.pi * ((half + 1) // 2) * x)
    near = (turns - np.round(turns) for turns in (x, y))  # around 0, where rounding is least
    x, y = ((2 * np.pi * turns).astype(np.finfo(precision).dtype) for turns in near)
    return Points(y, x, light.astype(precision), (2 * half + 1, half + 1))


def simple(given, **options):
    """Transforms by finufft's simple interface."""
    y, x, light, modes = given
    return finufft.nufft2d1(y, x, light, modes, isign=-1, nthreads=1, showwarn=0, **options)


class Plans:
    """Transforms by finufft's plans, one for each number of frequencies, kept."""

    def __init__(self, dtype="complex64", n_trans=1, **options):
        fixed = {"isign": -1, "nthreads": 1, "showwarn": 0}
        self._options = {"dtype": dtype, "n_trans": n_trans} | fixed | options
        self._plans = {}

    def __call__(self, given):
        y, x, light, modes = given
        if modes not in self._plans:
            self._plans[modes] = finufft.Plan(1, modes, **self._options)
        self._plans[modes].setpts(y, x)
        return self._plans[modes].execute(light)


def errors(done, todo):
    """Returns the greatest errors of sums: of a frequency, shares of the flux; of a pixel.

    The latter is that of the image in the first band, in shares of the peak.
    """
    worst = np.zeros(2)
    for transform, light in zip(todo, done, strict=True):
        box, right = transform.box, exact(transform)
        half = box.extent.shape[1] // 2
        wanted = np.arange(half + 1) <= box.extent[-1][:, None]
        images = []
        for spectrum in (light - right, right):
            full = np.zeros((2 * half + 2, half + 2), complex)
            cut = spectrum * box.transfer[0] * box.kernel[:, None] * box.kernel[half:]
            full[np.arange(-half, half + 1), : half + 1] = cut
            images.append(np.abs(scipy.fft.irfft2(full, s=[2 * half + 2] * 2)).max())
        flux = transform.image.sum()
        of_frequency = np.abs(light - right)[wanted].max() / flux
        worst = np.maximum(worst, [of_frequency, images[0] / images[1]])
    return worst


def each(transform, given):
    """Returns a function that transforms all, one after the other."""

    def run():
        for one in given:
            transform(one)

    return run


def compare(name):
    """Prints the times and errors for a survey, and returns the galaxies' transforms."""
    renderer, calls = recorded(name)
    galaxies = sum(len(given[0][0]) for given in calls)
    todo = transforms(renderer, calls)
    single, double = ([points(t, kind) for t in todo] for kind in (np.complex64, np.complex128))
    twice = [g._replace(light=np.stack([g.light, g.light])) for g in single]
    tiny = [Points(*(np.zeros(1, kind) for kind in ("f4", "f4", "c8")), (9, 5)) for _ in todo]
    some = slice(None, None, -(-len(todo) // CHECKED))

    functions = {
        "galaxies drawn, whole": lambda: [renderer._draw(*given) for given in calls],
        "ours: spread, FFT": ours(renderer, todo, interpolant=False),
        "ours: spread, FFT, cut, interpolant": ours(renderer, todo, interpolant=True),
    }
    reached = {"ours: spread, FFT": errors([our_sum(renderer, t) for t in todo[some]], todo[some])}
    ways = [
        (1e-5, 2.0, {}, single),
        (3e-6, 2.0, {}, single),
        (3e-6, 1.25, {}, single),
        (1e-5, 1.25, {"dtype": "complex128"}, double),
        (1e-5, 2.0, {"spread_sort": 0}, single),
        (1e-5, 2.0, {"spread_sort": 0, "fftw": 0}, single),  # 0 is FFTW_MEASURE
    ]
    for eps, finer, options, given in ways:
        words = [f"{key}={value}" for key, value in options.items()]
        what = ", ".join([f"eps={eps:g}", f"upsampfac={finer:g}", *words])
        plans = Plans(eps=eps, upsampfac=finer, **options)
        functions[f"finufft: plans, {what}"] = each(plans, given)
        reached[f"finufft: plans, {what}"] = errors([plans(g) for g in given[some]], todo[some])
        if not options:
            way = functools.partial(simple, eps=eps, upsampfac=finer)
            functions[f"finufft: simple, {what}"] = each(way, given)
    plans = {"eps": 1e-5, "upsampfac": 2.0}
    two = "finufft: plans, n_trans=2, eps=1e-5, upsampfac=2, a sum of the two"
    functions[two] = each(Plans(n_trans=2, **plans), twice)
    functions["finufft: plans, a single pixel (calls alone)"] = each(Plans(**plans), tiny)
    for function in functions.values():
        function()
    spent = dict(zip(functions, fastest(list(functions.values()), REPEATS), strict=True))
    spent[two] /= 2

    boxes = len({t.number for t in todo})
    print(f"\n{name}: {galaxies} galaxies, {len(todo)} transforms, on boxes of {boxes} sizes\n")
    print("| | ms a galaxy | over ours | error, frequency | error, pixel |\n|---|---|---|---|---|")
    for what, seconds in spent.items():
        error = " | ".join(f"{e:.1e}" for e in reached.get(what, ())) or " | "
        ratio = seconds / spent["ours: spread, FFT"]
        print(f"| {what} | {1e3 * seconds / galaxies:.3f} | {ratio:.2f} | {error} |")
    share = spent["ours: spread, FFT"] / spent["galaxies drawn, whole"]
    print(f"\nshare of spread and FFT in a galaxy's drawing: {100 * share:.0f} %", flush=True)
    return single


def digests(transform, given):
    return [hashlib.sha256(transform(g).tobytes()).digest() for g in given]


def bits(given):
    """Prints whether finufft's bits depend on the order, the thread, the interface or the place."""
    options = {"eps": 1e-5, "upsampfac": 2.0}
    alone = digests(Plans(**options), given)
    print("\n| the bits of finufft's sums are the same | |\n|---|---|")

    def row(what, others):
        print(f"| {what} | {'yes' if all(other == alone for other in others) else 'no'} |")

    row("in the opposite order", [digests(Plans(**options), given[::-1])[::-1]])
    row("by the simple interface", [digests(functools.partial(simple, **options), given)])
    moved = []
    for g in given:
        shifted = [np.concatenate([v[:1], v])[1:] for v in (g.y, g.x, g.light)]
        moved.append(Points(*shifted, g.modes))
    row("from other addresses in memory", [digests(Plans(**options), moved)])
    measured = [digests(Plans(**options, fftw=0), given) for _ in range(2)]
    row("with FFTW_MEASURE", measured)
    for what, make in (
        ("plans of its own", lambda: Plans(**options)),
        ("the simple interface", lambda: functools.partial(simple, **options)),
    ):
        found = [None] * 2

        def work(place, make=make, found=found):
            found[place] = digests(make(), given)

        threads = [threading.Thread(target=work, args=(place,)) for place in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        row(f"in two threads at once, each with {what}", found)


def main():
    print(f"finufft {finufft.__version__}")
    for name in ("LSST", "Euclid_VIS"):
        given = compare(name)
    bits(given)


if __name__ == "__main__":
    main()
