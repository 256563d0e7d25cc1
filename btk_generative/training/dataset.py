"""Stamps of galaxies with PSF, noise and conditions, in files that training streams from.

A data set is a folder of ``shard_*.npy`` and ``dataset.json``. A shard is an array of records,
mapped into memory rather than read, so a data set may be larger than the memory.
"""

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import galsim
import numpy as np
from astropy.table import Table
from tqdm import tqdm

from btk_generative.errors import CatalogError, ConfigError, OutputError
from btk_generative.inputs import is_presence
from btk_generative.randomness import stream
from btk_generative.runs.files import new_file, write_json
from btk_generative.runs.workers import Workers
from btk_generative.training.inputs import CONDITIONS, radius, require
from btk_generative.training.observation import add_noise, noise_power, psf_transfer, resampled
from btk_generative.training.settings import DataSettings
from btk_generative.training.sources import Galaxies, open_galaxies

SHARD_SIZE = 256
"""Records of a shard."""

SPLITS = ("train", "validation", "test")
_SHARES = (0.8, 0.1, 0.1)
_INDEX = "dataset.json"


def split_of(identity: np.ndarray) -> np.ndarray:
    """Returns which of `SPLITS` each galaxy belongs to, for ever, by a hash of its identity.

    Args:
        identity: Integers, shape ``[n]``.

    Returns:
        Indices into `SPLITS`, shape ``[n]``.
    """
    hashes = [hashlib.blake2b(b"%d" % number, digest_size=4).digest() for number in identity]
    place = np.array([int.from_bytes(h) / 2**32 for h in hashes]).reshape(len(identity))
    return np.searchsorted(np.cumsum(_SHARES)[:-1], place, side="right")


@dataclass(frozen=True)
class Dataset:
    """A data set on disk."""

    folder: Path

    conditions: tuple[str, ...]
    """Names of the columns of the records' ``conditions``."""

    source: str
    """The catalogue of its galaxies, how many of the rows, and from which on."""

    shards: tuple[np.ndarray, ...]
    """Records: ``identity``, ``split``, ``image [S, S]``, ``transfer [S, S // 2 + 1]``,
    ``power [S, S // 2 + 1]``, ``pixel_scale`` [arcsec], ``conditions`` (NaN where absent)."""

    @property
    def stamp_size(self) -> int:
        """Pixels on a side."""
        return self.shards[0]["image"].shape[-1]

    def rows(self, split: str) -> np.ndarray:
        """Returns where the records of a split are: pairs (shard, record), shape ``[n, 2]``."""
        wanted = SPLITS.index(split)
        found = [np.flatnonzero(shard["split"] == wanted) for shard in self.shards]
        pairs = [np.stack([np.full(len(f), k), f], axis=1) for k, f in enumerate(found)]
        rows = np.concatenate(pairs)
        if len(rows) == 0:
            raise ConfigError(
                f"{self.folder}: none of its galaxies belongs to the {split} split; "
                "take more galaxies (data.rows)"
            )
        return rows

    def read(self, rows: np.ndarray) -> np.ndarray:
        """Returns records.

        Args:
            rows: Pairs (shard, record), shape ``[n, 2]``.
        """
        return np.array([self.shards[shard][record] for shard, record in rows])

    def table(self, split: str) -> Table:
        """Returns the conditions of a split, without reading its images."""
        rows = self.rows(split)
        values = [self.shards[shard]["conditions"][record] for shard, record in rows]
        return self.table_of(np.array(values))

    def table_of(self, values: np.ndarray) -> Table:
        """Returns the records' ``conditions``, ``[n, columns]``, as a table."""
        table = Table(np.asarray(values, dtype=np.float64), names=self.conditions)
        for name in self.conditions:
            if is_presence(name):
                table[name] = table[name] > 0.5
        return table


def open_dataset(folder: str | Path) -> Dataset:
    """Opens a data set.

    Raises:
        CatalogError: If it is missing, unfinished or damaged.
    """
    folder = Path(folder)
    try:
        index = json.loads((folder / _INDEX).read_text())
    except (OSError, ValueError) as error:
        raise CatalogError(f"{folder}: holds no finished data set ({error})") from error
    shards = []
    for name, checksum in tqdm(
        index["shards"].items(), desc="Checking data", unit="shard", disable=None
    ):
        path = folder / name
        if not path.exists() or _checksum(path) != checksum:
            raise CatalogError(f"{path}: is missing or damaged; remove it and make it again")
        shards.append(np.load(path, mmap_mode="r"))
    source = index.get("source", "rows not known")  # of version 0.1
    return Dataset(folder, tuple(index["conditions"]), source, tuple(shards))


def make_dataset(
    settings: DataSettings, folder: str | Path, seed: int = 0, conditions: Sequence[str] = ()
) -> Dataset:
    """Makes a data set, or goes on with one of the same settings, and opens it.

    Shards that are there are kept, so that a run that was stopped loses little.

    Args:
        settings: Galaxies and grid.
        folder: Where the files go.
        seed: Of noise and rotations.
        conditions: What the galaxies must have, checked before anything is made.

    Raises:
        CatalogError: If the galaxies cannot be read, or a stamp holds NaN.
        ConfigError: If the catalogue cannot give what the settings ask for.
        OutputError: If the folder holds another data set or cannot be written, as on a full disk.
    """
    folder = Path(folder)
    identity = {
        **settings.model_dump(mode="json", exclude={"folder", "jobs"}),
        "seed": seed,
    }
    plan = folder / "settings.json"
    if plan.exists() and json.loads(plan.read_text()) != identity:
        raise OutputError(f"{folder}: holds a data set of other settings; choose another folder")
    if not (folder / _INDEX).exists():
        galaxies = open_galaxies(settings)
        require(conditions, galaxies.conditions)
        _check(galaxies, settings)
        write_json(plan, identity)
        _make_shards(galaxies, settings, folder, seed)
    return open_dataset(folder)


def _check(galaxies: Galaxies, settings: DataSettings) -> None:
    """Raises an error where the galaxies cannot be seen as the settings ask for."""
    if settings.frame == "galaxy" and galaxies.angle is None:
        raise ConfigError(
            f"data.frame: {settings.catalog} has no parametric fits, from which the position "
            "angles come; give a catalogue with fits or set data.frame to fixed"
        )
    if settings.frame == "galaxy" and settings.copies > 1:
        raise ConfigError("data.copies: galaxies in their own frame are not rotated; set it to 1")
    if len(galaxies) == 0:
        raise CatalogError(
            f"{settings.catalog}: no galaxy is left; loosen data.exclusion_level or lower"
            " data.first_row"
        )


def _make_shards(galaxies: Galaxies, settings: DataSettings, folder: Path, seed: int) -> None:
    conditions = [name for name in galaxies.conditions.colnames if name in _COLUMNS]
    numbers = range(math.ceil(len(galaxies) * settings.copies / SHARD_SIZE))
    names = [f"shard_{number:05d}.npy" for number in numbers]
    missing = [number for number in numbers if not (folder / names[number]).exists()]
    shared = galaxies if settings.jobs == 1 else None  # a process opens the catalogue itself
    tasks = [(settings, folder / names[number], number, seed, shared) for number in missing]
    with (
        tqdm(
            total=len(numbers),
            initial=len(numbers) - len(missing),
            desc="Making data",
            unit="shard",
            disable=None,
        ) as bar,
        Workers(settings.jobs) as workers,
    ):
        for _ in workers.map(_make_shard, tasks):
            bar.update()
    shards = {name: _checksum(folder / name) for name in names}
    index = {"conditions": conditions, "source": galaxies.source, "shards": shards}
    write_json(folder / _INDEX, index)


_COLUMNS = (*CONDITIONS, "bulge_present", "disk_present")


def _make_shard(task: tuple[DataSettings, Path, int, int, Galaxies | None]) -> None:
    """Writes the records of one shard; the copies of a galaxy are apart by the catalogue."""
    settings, path, number, seed, galaxies = task
    galaxies = galaxies or open_galaxies(settings)
    stamps = len(galaxies) * settings.copies
    wanted = range(number * SHARD_SIZE, min((number + 1) * SHARD_SIZE, stamps))
    names = [name for name in galaxies.conditions.colnames if name in _COLUMNS]
    size = settings.stamp_size
    half = (size, size // 2 + 1)
    records = np.zeros(
        len(wanted),
        [
            ("identity", "i8"),
            ("split", "i1"),
            ("pixel_scale", "f4"),
            ("conditions", "f4", (len(names),)),
            ("image", "f4", (size, size)),
            ("transfer", "c8", half),
            ("power", "f4", half),
        ],
    )
    for record, stamp in zip(records, wanted, strict=True):
        copy, row = divmod(stamp, len(galaxies))
        _observe(galaxies, row, copy, settings, seed, record)
        record["conditions"] = [_number(galaxies.conditions[name][row]) for name in names]
    records["split"] = split_of(records["identity"])
    with new_file(path) as partial, open(partial, "wb") as file:
        np.save(file, records)


def _observe(
    galaxies: Galaxies,
    row: int,
    copy: int,
    settings: DataSettings,
    seed: int,
    record: np.void,
) -> None:
    """Fills in a record's image, PSF, noise, pixel scale and identity."""
    rng = np.random.default_rng(stream(seed, row, copy))
    view_seed, noise_seed = (int(s) for s in rng.integers(1, 2**31, size=2))
    size, scale = settings.stamp_size, settings.pixel_scale
    turn = rng.uniform(0, 2 * np.pi) if copy else 0.0
    if settings.frame == "galaxy":
        values = {
            name: np.array([_number(galaxies.conditions[name][row])])
            for name in galaxies.conditions.colnames
        }
        scale = float(settings.width * radius(values, np)[0] / size)
        assert galaxies.angle is not None  # the settings were checked against the galaxies
        turn = -galaxies.angle[row]
    view = galaxies.view(row, view_seed, 1.5 * size * scale)
    turn = turn * galsim.radians
    noise = view.noise
    if copy or settings.frame == "galaxy" or scale != view.pixel_scale:
        noise = resampled(noise, view.pixel_scale, turn, scale)
    stamp = galsim.Image(size, size, scale=scale, dtype=float)
    image = view.image.rotate(turn).drawImage(stamp, method="no_pixel").array
    if not view.noisy:
        image = add_noise(image, noise, scale, noise_seed)
    identity = galaxies.identity[row]
    if not np.isfinite(image).all():
        raise CatalogError(
            f"{settings.catalog}: galaxy {identity} (row {row}): its image holds NaN or infinite "
            "pixels; remove it from the catalogue"
        )
    record["identity"], record["pixel_scale"], record["image"] = identity, scale, image
    record["transfer"] = psf_transfer(view.psf.rotate(turn), size, scale)
    record["power"] = noise_power(noise, size, scale)


def _number(value: float) -> float:
    return np.nan if np.ma.is_masked(value) else float(value)


def _checksum(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
