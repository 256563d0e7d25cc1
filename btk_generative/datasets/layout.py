"""Names of the files of a data set.

=========================  =====================================================================
``manifest.json``          configuration, versions, checksums of model and catalogue
``shards/{k}.json``        the manifest's row of shard k, written last: files, checksums, seconds
``{survey}/blend_{k}.hdf5``  images of shard k: ``BlendBatch.load("DIR/{survey}", k)``
``truth/{k}.parquet``      truth catalogue of shard k, a row for each galaxy (and survey)
=========================  =====================================================================
"""

MANIFEST = "manifest.json"
ROWS = "shards"
TRUTH = "truth"


def images(survey: str, shard: int) -> str:
    """Image file of a shard."""
    return f"{survey}/blend_{shard}.hdf5"


def truth(shard: int) -> str:
    """Truth catalogue of a shard."""
    return f"{TRUTH}/{shard}.parquet"


def row(shard: int) -> str:
    """The manifest's row of a shard."""
    return f"{ROWS}/{shard}.json"


def shard_of_row(name: str) -> int | None:
    """Number of the shard whose row a file of the folder `ROWS` is, None if it is no row."""
    stem, _, suffix = name.partition(".")
    number = int(stem) if suffix == "json" and stem.isdecimal() else None
    return number if number is not None and name == f"{number}.json" else None
