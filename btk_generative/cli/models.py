"""The commands `btk-generative models ...`."""

from pathlib import Path
from typing import Annotated

import typer

from btk_generative.cli.arguments import printable

app = typer.Typer(
    name="models", help="List, show, fetch, add and check models.", no_args_is_help=True
)

Name = Annotated[str, typer.Argument(help="'default', hub:NAME, a file or an https:// address.")]
File = Annotated[Path, typer.Argument(help="A model's .tar.gz.")]


@app.command("list")
def list_models() -> None:
    """List the models that can be loaded by name."""
    from btk_generative.errors import ModelError
    from btk_generative.models import hub, load_model

    here = hub.added()
    rows = [("default", "in the package", load_model("default").card["description"])]
    for entry in hub.registry().values():
        where = "in the cache" if entry.name in here else f"{entry.size / 1e6:.0f} MB to fetch"
        rows.append((f"hub:{entry.name}", where, entry.description))
    for name in sorted(set(here) - set(hub.registry())):
        try:
            description = load_model(here[name]).card["description"]
        except ModelError as error:
            description = f"cannot be loaded: {error}"
        rows.append((f"hub:{name}", "in the cache", description))
    widths = [max(len(row[column]) for row in rows) for column in (0, 1)]
    for name, where, description in rows:
        print(f"{name:<{widths[0]}}  {where:<{widths[1]}}  {printable(description)}")
    print(f"The cache is {hub.cache_folder()}")


@app.command()
def show(name: Name) -> None:
    """Show what a model takes and gives, its licence and its origin."""
    import json

    from btk_generative.models import hub, load_model

    entry = hub.registry().get(name.removeprefix("hub:")) if name.startswith("hub:") else None
    if entry and entry.name not in hub.added():
        card = {**vars(entry), "note": f"to fetch it: btk-generative models fetch {name}"}
    else:
        model = load_model(name)
        card = {**model.card, "sha256": model.sha256}
    inputs = card.pop("inputs")
    width = max((len(key) for key in card), default=0)
    for key, value in card.items():
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        print(f"{key:<{width}}  {printable(text)}")
    print("inputs")
    for given in inputs:
        low, high = given.get("minimum"), given.get("maximum")
        domain = "domain not known" if low is None else f"{low:g} to {high:g}"
        line = f"  {given['name']} {domain} {given.get('unit', '')}".rstrip()
        print(printable(f"{line}: {given.get('description', '')}".rstrip(": ")))


@app.command()
def fetch(name: Name) -> None:
    """Download a model into the cache."""
    from btk_generative.models.load import locate

    print(locate(name))


@app.command()
def add(file: File) -> None:
    """Copy a model's file into the cache, to load it as hub:NAME."""
    from btk_generative.models import hub

    print(f"added; load it as {hub.add(file)}")


@app.command()
def check(file: File) -> None:
    """Check that a file is a model that can be published, or say what is wrong."""
    from btk_generative.models import load_model

    model = load_model(file)
    model.check()
    print(f"{file} is a valid model, '{model.name}' (SHA-256 {model.sha256})")
