"""Manifests and rows of data sets that are not what they should be."""

import copy
import json
import random
from collections import Counter

import pytest
from test_generate import finished, small, toy  # noqa: F401 - fixtures

from btk_generative.datasets import generate, open_dataset, verify
from btk_generative.errors import OutputError

DEEP = "[" * 100_000 + "]" * 100_000


@pytest.fixture
def folder(finished, tmp_path):  # noqa: F811
    """A data set whose manifest and rows can be changed; its images are links."""
    for path in finished.rglob("*"):
        copy = tmp_path / "set" / path.relative_to(finished)
        if path.is_dir():
            copy.mkdir(parents=True)
        elif path.suffix == ".json":
            copy.write_text(path.read_text())
        else:
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.symlink_to(path)
    return tmp_path / "set"


TEXTS = {
    "a text": '"a text"',
    "a list": "[]",
    "null": "null",
    "empty": "",
    "no JSON": "{",
    "deep": DEEP,
    "deep inside": '{"schema": 1, "configuration": {"a": ' + DEEP + "}}",
    "twice": '{"schema": 1, "schema": 1}',
    "large": " " * 2**21,
    "no configuration": '{"schema": 1}',
    "configuration of another kind": '{"schema": 1, "configuration": ["shards"]}',
    "empty configuration": '{"schema": 1, "configuration": {}}',
    "no schema": '{"configuration": {}}',
    "not text": b"\xff\xfe\x00",
    "huge number": '{"schema": 1' + "0" * 5000 + "}",
}


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS.keys())
def test_a_manifest_that_is_none(toy, folder, text):  # noqa: F811
    (folder / "manifest.json").write_bytes(text if isinstance(text, bytes) else text.encode())
    for read in (open_dataset, lambda f: verify(f, progress=False)):
        with pytest.raises(OutputError, match=r"manifest\.json|data set format") as caught:
            read(folder)
        assert str(folder) in str(caught.value)
        assert len(str(caught.value)) < 3000
    with pytest.raises(OutputError, match=str(folder)):
        generate(small(toy), folder, progress=False)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *(("shards", value) for value in (0, -1, 2.5, "3", None, True, 10**12, [3])),
        *(("blends_per_shard", value) for value in (0, "5", 10**18)),
        *(("survey", value) for value in ([], "LSST", [3], ["../other"], ["/etc"], None, {})),
        *(("isolated", value) for value in ("yes", 1, None)),
    ],
)
def test_a_shape_that_is_none(folder, key, value):
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["configuration"][key] = value
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(OutputError, match=rf"manifest\.json does not .*configuration\.{key}"):
        open_dataset(folder)


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS.keys())
def test_a_row_that_is_none(folder, text):
    (folder / "shards" / "1.json").write_bytes(text if isinstance(text, bytes) else text.encode())
    assert verify(folder, progress=False) == {1: "shards/1.json cannot be read"}


def test_a_row_of_another_name_counts_for_no_shard(folder):
    (folder / "shards" / "1.json").rename(folder / "shards" / "01.json")
    with pytest.raises(OutputError, match="lacks 1 of its 3 shards"):
        open_dataset(folder)


VALUES = [None, True, -1, 0, 2.5, 10**18, "", "text", "../..", [], {}, [None], {"a": 1}, "x" * 5000]


def changed(rng, document):
    """Returns a document with one of its values replaced, removed or doubled."""
    document = copy.deepcopy(document)
    places = []

    def walk(part):
        for key in part if isinstance(part, dict) else range(len(part)):
            places.append((part, key))
            if isinstance(part[key], dict | list):
                walk(part[key])

    walk(document)
    part, key = rng.choice(places)
    if rng.random() < 0.2:
        del part[key]
    else:
        part[key] = rng.choice(VALUES)
    return document


def test_manifests_by_the_hundred(toy, folder):  # noqa: F811
    """Each is refused, or the data set is the same: what is drawn from it is in the shards."""
    rng, ends = random.Random(20), Counter()
    path = folder / "manifest.json"
    whole = json.loads(path.read_text())
    for _ in range(150):
        text = bytearray(json.dumps(changed(rng, whole)).encode())
        if rng.random() < 0.3:
            text[rng.randrange(len(text))] ^= 1 << rng.randrange(8)
        path.write_bytes(text)
        for name, read in (
            ("open", open_dataset),
            ("verify", lambda f: verify(f, progress=False)),
            ("resume", lambda f: generate(small(toy), f, progress=False)),
        ):
            try:
                read(folder)
                ends[name] += 1
            except OutputError as error:
                assert str(folder) in str(error)
                ends[f"{name} refused"] += 1
    assert ends["open refused"] > 20, ends
    assert ends["resume refused"] > 75, ends


def test_rows_by_the_hundred(folder):
    """Each is found to be bad, or holds the same files."""
    rng = random.Random(20)
    path = folder / "shards" / "1.json"
    whole = json.loads(path.read_text())
    for _ in range(120):
        row = changed(rng, whole)
        path.write_text(json.dumps(row))
        problems = verify(folder, progress=False)
        assert set(problems) <= {1}
        assert bool(problems) == (row.get("files") != whole["files"])
