"""Models that others have published: the cache of downloaded files."""

import os
import re
from pathlib import Path

from btk_generative.errors import ModelError, OutputError
from btk_generative.models import archive
from btk_generative.models.reading import read_model
from btk_generative.models.registry import registry
from btk_generative.runs.files import write_bytes

_ELSEWHERE = "set BTK_GENERATIVE_CACHE to a folder that can be written"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def cache_folder() -> Path:
    """Returns where downloaded models are kept: BTK_GENERATIVE_CACHE, or the user's cache."""
    import pooch

    return Path(os.environ.get("BTK_GENERATIVE_CACHE") or pooch.os_cache("btk_generative"))


def added() -> dict[str, Path]:
    """Returns the models in the cache, by the name under which ``hub:`` finds them."""
    files = sorted(cache_folder().glob("*.tar.gz"))
    return {path.name.removesuffix(".tar.gz"): path for path in files}


def find(name: str) -> Path:
    """Returns the file of a published model, which is downloaded unless it is in the cache.

    Args:
        name: ``hub:NAME`` of the registry or of a model that was added, or an address
            ``https://...``, to which ``#sha256=...`` may be appended.

    Raises:
        ModelError: If the name is unknown, or the file cannot be had or is not the one expected.
    """
    if name.startswith("hub:"):
        short = name.removeprefix("hub:")
        entry = registry().get(short)
        if entry:
            return _get(name, cache_folder() / f"{short}.tar.gz", entry.url, entry.sha256)
        path = cache_folder() / f"{short}.tar.gz"
        if not _NAME.fullmatch(short) or not path.is_file():
            raise ModelError(
                f"there is no model '{name}'; there are "
                f"{', '.join(f'hub:{known}' for known in sorted({*registry(), *added()}))} "
                "(add others with `btk-generative models add FILE`)"
            )
        return path
    url, _, fragment = name.partition("#")
    digest = fragment.removeprefix("sha256=").lower()
    if fragment and not re.fullmatch("[0-9a-f]{64}", digest):
        raise ModelError(f"'{name}': after # stands sha256= and 64 hexadecimal digits")
    if not url.startswith("https://"):
        raise ModelError(f"'{name}': a model is fetched by https:// only")
    stem = f"{archive.sha256(url.encode())[:12]}-{url.rsplit('/', 1)[-1].split('?')[0][-100:]}"
    return _get(name, cache_folder() / "addresses" / stem, url, digest)


def add(path: str | os.PathLike) -> str:
    """Copies a model's file into the cache, where ``hub:`` finds it by its own name.

    Args:
        path: An artifact, or one of the registry's files got by other means.

    Returns:
        The name to load it by, ``hub:NAME``.

    Raises:
        ModelError: If the file is not a valid model, or has the name of another one.
    """
    content = archive.read_file(path)
    model = read_model(content, path)
    entry = registry().get(model.name)
    if model.name == "default" or (entry and entry.sha256 != model.sha256):
        raise ModelError(
            f"{path} is called '{model.name}', which is the name of another model; "
            "load it by its path, or give it another name in its card"
        )
    _store(content, cache_folder() / f"{model.name}.tar.gz")
    return f"hub:{model.name}"


def _get(name: str, path: Path, url: str, digest: str) -> Path:
    """Returns a file of the cache, having downloaded and verified it if need be."""
    if path.is_file() and _is_whole(path, digest):
        return path
    if os.environ.get("BTK_GENERATIVE_OFFLINE", "0") not in ("", "0"):
        raise ModelError(
            f"model '{name}' is not in the cache, {path.parent}, and BTK_GENERATIVE_OFFLINE forbids"
            f" to download it: get {url} on another machine, and then "
            "`btk-generative models add FILE` here"
        )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"cannot write to {path.parent}: {error.strerror}; {_ELSEWHERE}"
        ) from error
    content = _download(name, url)
    if digest and archive.sha256(content) != digest:
        archive.reject_pointer(content, url)
        raise ModelError(
            f"what {url} gave for model '{name}' is not the file that it should be: its SHA-256 is "
            f"{archive.sha256(content)}, not {digest}; nothing was kept"
        )
    archive.unpack(content, url)
    _store(content, path)
    return path


def _is_whole(path: Path, digest: str) -> bool:
    """Returns whether a file of the cache is the one expected, or at least an archive."""
    try:
        content = archive.read_file(path)
        if not digest:
            archive.unpack(content, path)
    except ModelError:
        return False
    return not digest or archive.sha256(content) == digest


def _download(name: str, url: str) -> bytes:
    import requests
    from tqdm.auto import tqdm

    def stay_secure(response, **_):
        target = response.headers.get("Location", "") if response.is_redirect else ""
        if url.startswith("https://") and target.startswith("http://"):
            raise requests.RequestException(f"it leads on to {target}, which is not https")

    content = bytearray()
    try:
        hooks = {"response": stay_secure}
        with requests.get(url, stream=True, timeout=60, hooks=hooks) as response:
            response.raise_for_status()
            size = int(response.headers.get("Content-Length", 0))
            with tqdm(total=size or None, unit="B", unit_scale=True, desc=name) as bar:
                for part in response.iter_content(2**20):
                    content += part
                    bar.update(len(part))
                    if len(content) > archive.MAX_BYTES:
                        limit = archive.MAX_BYTES // 2**20
                        raise requests.RequestException(f"it gives more than {limit} MiB")
    except (requests.RequestException, ValueError) as error:
        raise ModelError(
            f"cannot download model '{name}' from {url}: {error}; if the network or the address is "
            "out of reach (GitHub's LFS quota is often used up), get the file from somebody who "
            "has it, and then `btk-generative models add FILE`"
        ) from error
    return bytes(content)


def _store(content: bytes, path: Path) -> None:
    """Writes a file of the cache, whole or not at all."""
    try:
        write_bytes(path, content)
    except OutputError as error:
        raise OutputError(f"{error}; {_ELSEWHERE}") from error
