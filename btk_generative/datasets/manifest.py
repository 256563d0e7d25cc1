"""What a data set is made from, and a refusal to mix it with anything else."""

import hashlib
from typing import TYPE_CHECKING, Annotated, TypeVar

import numpy as np
from astropy.table import MaskedColumn
from pydantic import BaseModel, Field, Strict, ValidationError

from btk_generative.datasets import layout
from btk_generative.datasets.config import MAX_BLENDS, MAX_SHARDS, GenerateConfig
from btk_generative.datasets.store import Store
from btk_generative.errors import OutputError
from btk_generative.runs.config import shortened
from btk_generative.runs.provenance import model_facts, versions

if TYPE_CHECKING:
    from btk.catalog import CatsimCatalog

    from btk_generative.models.model import GenerativeModel

Schema = TypeVar("Schema", bound=BaseModel)

SCHEMA = 1
PACKAGES = (
    "btk-generative",
    "blending-toolkit",
    "galsim",
    "numpy",
    "scipy",
    "astropy",
    "keras",
    "tensorflow",
    "h5py",
    "pyarrow",
)

_MANY = 10  # changes that a message names

# a file that was moved is still the same
_KNOWN_BY_CHECKSUM = ("configuration.catalog.path", "configuration.model")


class Shape(BaseModel):
    """How a data set is divided into files: the part of its configuration that a reader needs."""

    survey: list[Annotated[str, Field(pattern=r"^\w[\w.+ -]*$")]] = Field(min_length=1)
    shards: Annotated[int, Strict(), Field(gt=0, le=MAX_SHARDS)]
    blends_per_shard: Annotated[int, Strict(), Field(gt=0, le=MAX_BLENDS)]
    isolated: Annotated[bool, Strict()]


def describe(config: GenerateConfig, catalog: "CatsimCatalog", model: "GenerativeModel") -> dict:
    """Describes a data set before its first shard is drawn.

    Args:
        config: Its configuration.
        catalog: The catalogue that was read, a `btk.catalog.CatsimCatalog`.
        model: The model that was loaded.

    Returns:
        The contents of ``manifest.json``.
    """
    return {
        "schema": SCHEMA,
        "configuration": config.identity(),
        "catalog": {"rows": len(catalog.table), "sha256": _table_sha256(catalog.table)},
        "model": model_facts(model),
        "versions": versions(PACKAGES),
    }


def read(store: Store) -> dict:
    """Reads a data set's description.

    Raises:
        OutputError: If the folder is no data set, or of another version of the format.
    """
    try:
        manifest = store.read_json(layout.MANIFEST)
    except FileNotFoundError as error:
        raise OutputError(
            f"{store.url} is no data set: it has no {layout.MANIFEST}; give the folder that"
            " 'btk-generative generate' wrote"
        ) from error
    except (OSError, ValueError) as error:
        raise OutputError(f"{store.path(layout.MANIFEST)} cannot be read: {error}") from error
    if not isinstance(manifest, dict) or not isinstance(manifest.get("configuration"), dict):
        raise OutputError(
            f"{store.path(layout.MANIFEST)} does not describe a data set: it has no 'configuration'"
        )
    if manifest.get("schema") != SCHEMA:
        raise OutputError(
            f"{store.url} has data set format {shortened(manifest.get('schema'))}, this version of"
            f" btk_generative reads {SCHEMA}"
        )
    return manifest


def read_as(schema: type[Schema], store: Store) -> Schema:
    """Reads the configuration in a data set's description.

    Args:
        schema: What of it is wanted, `Shape` or all of it, `GenerateConfig`.
        store: The folder.

    Raises:
        OutputError: If it is not what that needs; see `read` too.
    """
    values = read(store)["configuration"]
    try:
        return schema.model_validate(values)
    except OSError as error:  # a path in it that cannot be one
        raise OutputError(
            f"{store.path(layout.MANIFEST)} does not describe a data set: {error.strerror}"
        ) from error
    except ValidationError as error:
        problems = "; ".join(
            f"configuration.{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()[:5]
        )
        raise OutputError(
            f"{store.path(layout.MANIFEST)} does not describe a data set: {problems}"
        ) from error


def check(store: Store, config: GenerateConfig) -> None:
    """Makes sure, before anything is loaded, that a folder can take a configuration's shards.

    Raises:
        OutputError: If it holds something else, or shards of another configuration.
    """
    if not store.exists(layout.MANIFEST):
        others = [name for name in store.list("") if not name.startswith(".")]
        if others:
            raise OutputError(
                f"{store.url} already holds {others[0]} and is no data set;"
                " choose another folder or empty it"
            )
        return
    _refuse_changes(
        store,
        {"configuration": read(store)["configuration"]},
        {"configuration": config.identity()},
    )


def claim(store: Store, description: dict) -> None:
    """Makes a folder that `check` has passed the place of one data set, or makes sure it is.

    Args:
        store: The folder.
        description: What `describe` returned.

    Raises:
        OutputError: If it was made from another configuration, catalogue, model or version.
    """
    if store.exists(layout.MANIFEST):
        _refuse_changes(store, read(store), description)
    else:
        store.write_json(layout.MANIFEST, description)


def _refuse_changes(store, found, description):
    changes = [
        f"{key} was {shortened(old)} and is now {shortened(new)}"
        for key, old, new in _differences(found, description)
        if key not in _KNOWN_BY_CHECKSUM
    ]
    if changes:
        more = [f"and {len(changes) - _MANY} more"] if len(changes) > _MANY else []
        raise OutputError(
            f"{store.url} holds a data set made otherwise: {'; '.join(changes[:_MANY] + more)}."
            " Nothing was changed; choose another folder, or go back to what made it"
        )


def finished(store: Store, shards: int) -> set[int]:
    """Numbers of the shards that are complete."""
    numbers = (layout.shard_of_row(name) for name in store.list(layout.ROWS))
    return {number for number in numbers if number is not None and number < shards}


def _differences(found, wanted, key=""):
    if isinstance(found, dict) and isinstance(wanted, dict):
        for name in sorted(found.keys() | wanted.keys()):
            deeper = f"{key}.{name}" if key else name
            yield from _differences(found.get(name), wanted.get(name), deeper)
    elif found != wanted:
        yield key, found, wanted


def _table_sha256(table):
    digest = hashlib.sha256()
    for name in table.colnames:
        digest.update(name.encode())
        digest.update(np.ascontiguousarray(table[name]).tobytes())
        if isinstance(table[name], MaskedColumn):
            digest.update(table[name].mask.tobytes())
    return digest.hexdigest()
