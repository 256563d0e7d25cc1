"""Damaged and hostile model archives, by the hundred: a clear error, or a sound model."""

import gzip
import io
import json
import random
import tarfile
from collections import Counter

import pytest
from test_models_operations import HARMFUL, NETWORK
from toy_model import write_toy

from btk_generative.errors import GenerativeError
from btk_generative.models import load_model
from btk_generative.models.archive import pack, sha256, unpack

CARD = "model.json"
DEEP = b"[" * 100_000 + b"]" * 100_000


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    path = tmp_path_factory.mktemp("fuzz") / "toy.tar.gz"
    write_toy(path)
    return path.read_bytes()


def archives(rng, content):
    """Bit flips, truncations and insertions in the archive, compressed and not."""
    plain = gzip.decompress(content)
    for _ in range(40):
        for part, packed in ((content, bytes), (plain, gzip.compress)):
            data, place = bytearray(part), rng.randrange(len(part))
            match rng.randrange(4):
                case 0 | 1:
                    # as often in the first header as anywhere
                    data[rng.choice([place, rng.randrange(512)])] ^= 1 << rng.randrange(8)
                case 2:
                    del data[place:]
                case 3:
                    data[place:place] = rng.randbytes(rng.randrange(1, 1000))
            yield packed(bytes(data))
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz", format=tarfile.GNU_FORMAT) as tar:
        for _ in range(3000):  # headers that say that a long name follows
            info = tarfile.TarInfo("././@LongLink")
            info.type, info.size = tarfile.GNUTYPE_LONGNAME, 1
            tar.addfile(info, io.BytesIO(b"x"))
    yield stream.getvalue()


def members(rng, content):
    """Files swapped, empty, missing or of another kind."""
    files = unpack(content, "toy")
    card, network = files[CARD], files[NETWORK]
    yield pack({CARD: network, NETWORK: card})
    yield pack({NETWORK: network, CARD: card})  # in another order: sound
    for name in files:
        yield pack({**files, name: b""})
        yield pack({other: text for other, text in files.items() if other != name})
        yield pack({**files, name: rng.randbytes(1000)})
    yield pack({**files, "tfhub_module.pb": b"\x08\x03"})
    yield pack({"tfhub_module.pb": b"", "saved_model.pb": network})
    for text in (DEEP, b"null", b"[]", b"3", b'"text"', b"NaN", b"\xff", b'{"a": 1, "a": 2}'):
        yield pack({CARD: text, NETWORK: network})


VALUES = [
    *(None, True, -1, 0, 0.5, 10**8, 10**12, 10**300, 1e308, "", "text"),
    *("\x1b[2J", [], {}, [None], {"a": None}, ["x"] * 1000, "x" * 10**6, "default", "output"),
]


def cards(rng, content):
    """Fields of the card, and of its inputs, with values that they may not have."""
    files = unpack(content, "toy")
    card = json.loads(files[CARD])
    for _ in range(80):
        other = json.loads(files[CARD])
        target = other if rng.random() < 0.6 else rng.choice(other["inputs"])
        target[rng.choice([*target, "unknown"])] = rng.choice(VALUES)
        yield pack({**files, CARD: json.dumps(other).encode()})
    for unit in ("m**1e999", "1e999 m", "m" * 10**5, "(" * 1000, "m(", "10**(10**10) m"):
        inputs = [card["inputs"][0] | {"unit": unit}, *card["inputs"][1:]]
        yield pack({**files, CARD: json.dumps(card | {"inputs": inputs}).encode()})
    for text in (b'"provenance": NaN', b'"provenance": {"a": 1e999}', b'"oriented": true'):
        yield pack({**files, CARD: files[CARD].replace(b"{", b"{" + text + b",", 1)})


def graphs(rng, content):
    """Nodes renamed, cut off, made huge or harmful, in a network that the card fits."""
    from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

    files = unpack(content, "toy")
    card = json.loads(files[CARD])

    def packed(network):
        changed = card | {"files": {NETWORK: sha256(network)}}
        return pack({CARD: json.dumps(changed).encode(), NETWORK: network})

    for number in range(60):
        saved = SavedModel.FromString(files[NETWORK])
        graph = saved.meta_graphs[0].graph_def
        node = rng.choice(graph.node)
        constants = [node for node in graph.node if node.op == "Const"]
        tensor = rng.choice(constants).attr["value"].tensor
        match number % 10:
            case 0 | 1:
                node.op = rng.choice(HARMFUL)
            case 2:
                tensor.tensor_shape.dim.add(size=rng.choice([10**6, 10**12, 2**62, -1]))
            case 3:
                tensor.dtype = rng.choice([0, 7, 20, 21, 99, 101])
            case 4:
                node.name = rng.choice(graph.node).name
            case 5:
                node.input.append(rng.choice(["", "^", "nowhere", node.name, ":", "^nowhere:9"]))
            case 6:
                node.attr.clear()
            case 7:
                node.ClearField("input")
            case 8:
                signature = saved.meta_graphs[0].signature_def["serving_default"]
                signature.outputs["image"].name = rng.choice(["", ":", "x:0", node.name, "n9:77"])
            case 9:
                node.op = rng.choice([other.op for other in graph.node])
        yield packed(saved.SerializeToString())
    for _ in range(20):
        data = bytearray(files[NETWORK])
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        yield packed(bytes(data))


@pytest.mark.parametrize("kind", [archives, members, cards, graphs])
def test_an_archive_is_refused_or_sound(whole, tmp_path, kind):
    """What loads has its own digest, and draws the same or passes the check as another model."""
    path, ends = tmp_path / "model.tar.gz", Counter()
    parts = unpack(whole, "toy")
    for content in kind(random.Random(20), whole):
        path.write_bytes(content)
        try:
            model = load_model(path)
            assert model.sha256 == sha256(content)
            if unpack(content, path) == parts:
                ends["the same"] += 1
                continue
            model.check()
            ends["another model"] += 1
        except GenerativeError as error:
            assert str(error)
            ends["refused"] += 1
    assert ends.total() >= 18, ends
    assert ends["refused"] > 0.4 * ends.total(), ends
