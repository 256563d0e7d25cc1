"""The registry, downloads and the cache, and the commands on models."""

import http.server
import shutil
import ssl
import subprocess
import sys
import threading
from dataclasses import replace
from functools import partial

import pytest
from toy_model import write_toy

from btk_generative.cli import main
from btk_generative.errors import ModelError
from btk_generative.models import hub, load_model
from btk_generative.models.archive import sha256


@pytest.fixture
def cache(tmp_path, monkeypatch):
    folder = tmp_path / "cache"
    monkeypatch.setenv("BTK_GENERATIVE_CACHE", str(folder))
    return folder


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """A folder and the address at which it is served."""
    folder = tmp_path_factory.mktemp("served")
    write_toy(folder / "toy.tar.gz")
    (folder / "pointer.tar.gz").write_text("version https://git-lfs.github.com/spec/v1\noid 8d\n")
    (folder / "page.tar.gz").write_text("<html>This repository is over its data quota</html>")

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    handler = partial(Quiet, directory=str(folder))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield folder, server
    server.shutdown()


@pytest.fixture
def entry(served, monkeypatch):
    """Returns a function that puts a served file into the registry under the name 'toy'."""
    folder, server = served
    published = hub.registry()["Lanusse2020"]

    def put(file):
        known = replace(
            published,
            name="toy",
            url=f"http://127.0.0.1:{server.server_port}/{file}",
            sha256=sha256((folder / "toy.tar.gz").read_bytes()),
        )
        monkeypatch.setattr(hub, "registry", lambda: {"toy": known})
        return known

    return put


def test_the_registry_has_galsim_hubs_models():
    sizes = {name: (entry.size, entry.sha256[:8]) for name, entry in hub.registry().items()}
    assert sizes == {
        "cosmos_size_mag": (11515607, "8dc97b37"),
        "cosmos_parametric_fit": (11626935, "c4bb93bd"),
        "Lanusse2020": (52063270, "ff2f097c"),
    }
    for entry in hub.registry().values():
        assert entry.url.startswith("https://")
        assert entry.licence
        assert entry.citation


def test_a_model_is_downloaded_once(entry, cache, served):
    entry("toy.tar.gz")
    assert load_model("hub:toy").name == "toy"
    assert [path.name for path in cache.iterdir()] == ["toy.tar.gz"]
    entry("gone.tar.gz")
    assert load_model("hub:toy").name == "toy"


def test_a_damaged_file_in_the_cache_is_downloaded_anew(entry, cache, served):
    entry("toy.tar.gz")
    cache.mkdir()
    (cache / "toy.tar.gz").write_bytes(b"half")
    assert load_model("hub:toy").name == "toy"
    assert (cache / "toy.tar.gz").read_bytes() == (served[0] / "toy.tar.gz").read_bytes()


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("pointer.tar.gz", r"Git LFS pointer.*models add FILE"),
        ("page.tar.gz", "is not the file that it should be: its SHA-256"),
        ("gone.tar.gz", r"cannot download model 'hub:toy'.*404.*models add FILE"),
    ],
)
def test_a_failed_download_explains_itself_and_keeps_nothing(entry, cache, file, message):
    entry(file)
    with pytest.raises(ModelError, match=message):
        load_model("hub:toy")
    assert list(cache.iterdir()) == []


def test_offline_explains_itself(entry, cache, served, monkeypatch):
    entry("toy.tar.gz")
    monkeypatch.setenv("BTK_GENERATIVE_OFFLINE", "1")
    with pytest.raises(ModelError, match=r"not in the cache.*OFFLINE.*models add FILE"):
        load_model("hub:toy")
    assert hub.add(served[0] / "toy.tar.gz") == "hub:toy"
    assert load_model("hub:toy").name == "toy"


class Address(str):
    """The address of a server, which it knows."""

    def __new__(cls, text, server):
        address = super().__new__(cls, text)
        address.server = server
        return address


@pytest.fixture
def https(served, tmp_path, monkeypatch):
    """The address of the served folder by https, with a certificate that requests trusts."""
    openssl = shutil.which("openssl")
    if not openssl:
        pytest.skip("needs the command openssl to make a certificate")
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    subprocess.run(
        f"{openssl} req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -addext"
        f" subjectAltName=DNS:localhost -keyout {key} -out {certificate}".split(),
        check=True,
        capture_output=True,
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server = http.server.ThreadingHTTPServer(("localhost", 0), served[1].RequestHandlerClass)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
    yield Address(f"https://localhost:{server.server_port}", server)
    server.shutdown()


def test_an_address(https, cache, served):
    assert load_model(f"{https}/toy.tar.gz").name == "toy"
    digest = sha256((served[0] / "toy.tar.gz").read_bytes())
    assert load_model(f"{https}/toy.tar.gz#sha256={digest}").name == "toy"
    with pytest.raises(ModelError, match="its SHA-256 is"):
        load_model(f"{https}/toy.tar.gz#sha256={'0' * 64}")
    with pytest.raises(ModelError, match="not a model archive"):
        load_model(f"{https}/page.tar.gz")


def test_a_damaged_download_without_a_digest_is_fetched_anew(https, cache):
    address = f"{https}/toy.tar.gz"
    assert load_model(address).name == "toy"
    (kept,) = (cache / "addresses").iterdir()
    kept.write_bytes(kept.read_bytes()[:1000])
    assert load_model(address).name == "toy"


def test_a_link_in_the_cache_is_never_written_through(entry, cache, served, tmp_path):
    entry("toy.tar.gz")
    cache.mkdir()
    precious = tmp_path / "precious"
    precious.write_text("precious")
    for target in (precious, tmp_path / "nowhere"):
        (cache / "toy.tar.gz").unlink(missing_ok=True)
        (cache / "toy.tar.gz").symlink_to(target)
        assert load_model("hub:toy").name == "toy"
        assert not (cache / "toy.tar.gz").is_symlink()
    assert precious.read_text() == "precious"
    assert not (tmp_path / "nowhere").exists()


def test_a_download_does_not_leave_https(https, cache, served):
    class Elsewhere(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(302)
            self.send_header("Location", f"http://127.0.0.1:{served[1].server_port}/toy.tar.gz")
            self.end_headers()

        def log_message(self, *_):
            pass

    handler, https.server.RequestHandlerClass = https.server.RequestHandlerClass, Elsewhere
    try:
        with pytest.raises(ModelError, match=r"it leads on to http://127.* which is not https"):
            load_model(f"{https}/toy.tar.gz")
    finally:
        https.server.RequestHandlerClass = handler
    assert not list((cache / "addresses").iterdir())


def test_a_download_has_a_limit(entry, cache, monkeypatch):
    monkeypatch.setattr("btk_generative.models.archive.MAX_BYTES", 1000)
    entry("toy.tar.gz")
    with pytest.raises(ModelError, match=r"cannot download model 'hub:toy'.*more than 0 MiB"):
        load_model("hub:toy")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("hub:nothing", "there is no model 'hub:nothing'; there are hub:Lanusse2020"),
        ("hub:../toy", "there is no model"),
        ("http://localhost/toy.tar.gz", "by https:// only"),
        ("https://localhost/toy.tar.gz#md5=1", "64 hexadecimal digits"),
    ],
)
def test_a_name_that_is_none(cache, name, message):
    with pytest.raises(ModelError, match=message):
        load_model(name)


def test_a_model_may_not_take_the_name_of_another(cache, tmp_path):
    write_toy(tmp_path / "fake.tar.gz", name="Lanusse2020")
    with pytest.raises(ModelError, match="name of another model"):
        hub.add(tmp_path / "fake.tar.gz")
    with pytest.raises(ModelError, match="name: String should match"):
        write_toy(tmp_path / "fake.tar.gz", name="../../outside")


@pytest.fixture
def command(monkeypatch, capsys):
    """Returns a function that runs `btk-generative models ...`: exit code, stdout and stderr."""

    def run(*arguments):
        capsys.readouterr()
        monkeypatch.setattr(sys, "argv", ["btk-generative", "models", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        return ended.value.code, *capsys.readouterr()

    return run


def test_commands(command, cache, served):
    path = served[0] / "toy.tar.gz"
    assert command("add", path) == (0, "added; load it as hub:toy\n", "")
    _, listed, _ = command("list")
    assert "hub:toy " in listed
    assert "52 MB to fetch" in listed
    assert str(cache) in listed
    _, shown, _ = command("show", "hub:toy")
    assert "disk_hlr 0.02 to 3 arcsec: the disk_hlr of the galaxy" in shown
    assert sha256(path.read_bytes()) in shown
    assert "models fetch hub:Lanusse2020" in command("show", "hub:Lanusse2020")[1]
    assert command("fetch", "hub:toy")[1] == f"{cache / 'toy.tar.gz'}\n"


def test_check_says_what_is_wrong(command, served, tmp_path):
    code, said, _ = command("check", served[0] / "toy.tar.gz")
    assert code == 0
    assert "is a valid model, 'toy'" in said
    bad = tmp_path / "bad.tar.gz"
    bad.write_bytes((served[0] / "toy.tar.gz").read_bytes()[:-100])
    code, said, complaint = command("check", bad)
    assert code == 2
    assert said == ""
    assert complaint.startswith(f"error: {bad} is not a model archive, or is truncated")
    assert complaint.count("\n") == 1


def test_a_damaged_model_does_not_spoil_the_list(command, cache):
    cache.mkdir()
    (cache / "half.tar.gz").write_bytes(b"half")
    code, listed, _ = command("list")
    assert code == 0
    assert "hub:half" in listed
    assert "cannot be loaded" in listed


def test_a_card_does_not_steer_the_terminal(command, tmp_path):
    path = tmp_path / "toy.tar.gz"
    write_toy(path, description="\x1b[2Jcleared", citation="\x1b]0;title\x07")
    _, shown, _ = command("show", path)
    assert "cleared" in shown
    assert "\x1b" not in shown
    assert "\x07" not in shown
    path.rename(tmp_path / "\x1b[2J.tar.gz")
    code, _, complaint = command("show", tmp_path / "\x1b[2J.tar.g")
    assert code == 2
    assert "\x1b" not in complaint
