"""The house: what imports what, what is installed with what, and what a start costs."""

import ast
import configparser
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from importlib.metadata import requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "btk_generative"
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}

GROUND = ("errors", "randomness", "sersic", "surveys", "runs", "hst")
FLOW = ("catalogs", "inputs", "conditions", "models", "galaxies", "render", "draw")
LEAVES = ("simulators", "datasets", "compare", "validation", "training")
OLD_NAMES = ("config", "descwl_ext", "galsim_ext", "generate")
ORDER = (*GROUND, *FLOW, *LEAVES, "cli", "__main__", "__init__", *OLD_NAMES)
"""A room imports from those before it."""


class Import:
    """An import of a module, by a module of the package."""

    def __init__(self, path: Path, name: str, line: int, at_start: bool):
        """Takes where it stands, what it imports, and whether that is at the module's start."""
        self.module, self.name, self.at_start = path.relative_to(ROOT), name, at_start
        self.where = f"{self.module}:{line}: {name}"

    @property
    def room(self) -> str:
        """The room that imports."""
        return self.module.parts[1].removesuffix(".py")

    @property
    def target(self) -> str:
        """The room that is imported; `__init__` for the package itself."""
        return (*self.name.split("."), "__init__")[1]


def _imports(path: Path, node: ast.AST, at_start: bool = True) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            continue
        if isinstance(child, ast.Import):
            names = [alias.name for alias in child.names]
        elif isinstance(child, ast.ImportFrom):
            assert child.level == 0, f"{path}: a relative import"
            names = [child.module]
            if child.module.split(".")[0] == "btk_generative":  # what is imported may be a module
                names = [
                    name if _file(name := f"{child.module}.{alias.name}") else child.module
                    for alias in child.names
                ]
        else:
            inside = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            yield from _imports(path, child, at_start and not inside)
            continue
        yield from (Import(path, name, child.lineno, at_start) for name in names)


def _file(name: str) -> Path | None:
    """Returns the file of a module of the package, None where there is none."""
    stem = ROOT.joinpath(*name.split("."))
    return next((p for p in (stem.with_suffix(".py"), stem / "__init__.py") if p.exists()), None)


@cache
def imports() -> list[Import]:
    """Returns every import of the package, but those for type checking alone."""
    return [
        found
        for path in sorted(PACKAGE.rglob("*.py"))
        for found in _imports(path, ast.parse(path.read_text()))
    ]


def inner() -> list[Import]:
    """Returns the imports from a room into another."""
    own = [x for x in imports() if x.name.split(".")[0] == "btk_generative"]
    return [x for x in own if x.target != x.room]


def test_every_room_has_its_place():
    rooms = {path.relative_to(PACKAGE).parts[0] for path in PACKAGE.rglob("*.py")}
    assert {room.removesuffix(".py") for room in rooms} <= set(ORDER)


def test_a_room_imports_from_those_above_it():
    place = {room: k for k, room in enumerate(ORDER)}
    wrong = [x.where for x in inner() if place[x.target] > place[x.room]]
    assert not wrong, "\n".join(wrong)


def test_nothing_imports_a_leaf_but_the_command_line():
    wrong = [x.where for x in inner() if x.target in LEAVES and x.room in (*FLOW, *LEAVES)]
    assert not wrong, "\n".join(wrong)


def test_modules_import_one_another_in_no_circle():
    graph = {}
    for x in imports():
        path = _file(x.name)
        if path and path != PACKAGE / "__init__.py":
            graph.setdefault(ROOT / x.module, set()).add(path)
    done, way = set(), []

    def visit(path):
        assert path not in way, " -> ".join(str(p.relative_to(PACKAGE)) for p in [*way, path])
        if path in done:
            return
        way.append(path)
        for target in graph.get(path, ()):
            visit(target)
        done.add(way.pop())

    for path in graph:
        visit(path)


@pytest.mark.parametrize("package", ["tensorflow", "jax", "scarlet2", "dask", "distributed"])
def test_what_is_heavy_is_imported_where_it_is_used(package):
    wrong = [x.where for x in imports() if x.at_start and x.name.split(".")[0] == package]
    if package == "jax":  # Scarlet2Deblender imports this module when it is made
        wrong = [x for x in wrong if not x.startswith("btk_generative/compare/scarlet2_fit.py")]
    assert not wrong, "\n".join(wrong)


def test_matplotlib_is_imported_where_it_is_used():
    drawn = ("btk_generative/training/report.py",)  # which is imported at the end of a training
    starts = [x for x in imports() if x.at_start and x.name.split(".")[0] == "matplotlib"]
    assert not [x.where for x in starts if str(x.module) not in drawn]


@cache
def setup() -> configparser.ConfigParser:
    """Returns the metadata."""
    found = configparser.ConfigParser()
    found.read(ROOT / "setup.cfg")
    return found


def _requirements(text: str) -> list[Requirement]:
    return [Requirement(line) for line in text.split("\n") if line and not line.startswith("#")]


def extra(name: str) -> set[str]:
    """Returns the packages of an extra, those of the extras that it names included."""
    found = set()
    for wanted in _requirements(setup()["options.extras_require"][name]):
        if wanted.name == "btk-generative":
            found |= set().union(*map(extra, wanted.extras))
        else:
            found.add(wanted.name.lower())
    return found


IMPORTED_AS = {
    "btk": "blending-toolkit",
    "dask_jobqueue": "dask-jobqueue",
    "google": "tensorflow",  # protobuf, whose version is TensorFlow's affair
    "keras": "tensorflow",
    "lazy_loader": "lazy-loader",
    "markupsafe": "jinja2",
    "rocket_fft": "rocket-fft",
    "skimage": "scikit-image",
    "sklearn": "scikit-learn",
    "yaml": "pyyaml",
    "pydantic_core": "pydantic",
    "equinox": "scarlet2",
    "jax": "scarlet2",
}
"""The distribution of a module, or the one that brings it."""

NOT_IN_AN_EXTRA = {"scarlet", "torch", "GCRCatalogs"}
"""Not on PyPI, or the user's choice; a message says where they are."""


def test_what_a_room_imports_is_installed_with_it():
    brought = {Requirement(x).name.lower() for x in requires("blending-toolkit")}
    core = {x.name.lower() for x in _requirements(setup()["options"]["install_requires"])}
    core = {name.replace("_", "-") for name in core | brought}
    extras = {
        "datasets": extra("cluster"),
        "compare": extra("compare"),
        "validation": extra("validate"),
        "training": extra("train"),
        "runs": {"jinja2"},  # for the reports of those three
    }
    wrong = []
    for x in imports():
        name = x.name.split(".")[0]
        if name in sys.stdlib_module_names or name in NOT_IN_AN_EXTRA or name == "btk_generative":
            continue
        if IMPORTED_AS.get(name, name.lower()) not in core | extras.get(x.room, set()):
            wrong.append(x.where)
    assert not wrong, "\n".join(wrong)


def test_every_extra_is_one_that_the_readme_names():
    named = set()
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "need":
                named |= {ast.literal_eval(x.value) for x in node.keywords if x.arg == "extra"}
    assert named == {"cluster", "compare", "datasets", "train", "validate"}
    readme = (ROOT / "README.md").read_text()
    for name in (*named, "all"):
        assert f"`{name}`" in readme or f"[{name}]" in readme
        assert extra(name) <= extra("all") <= extra("test")
    for old, new in {"scarlet2": "compare", "dask": "cluster", "validation": "validate"}.items():
        assert extra(old) == extra(new)


def test_every_file_of_the_package_is_installed():
    patterns = setup()["options.package_data"]["btk_generative"].split()
    installed = {path for pattern in patterns for path in PACKAGE.glob(pattern)}
    files = {path for path in PACKAGE.rglob("*") if path.is_file() and path.suffix != ".py"}
    assert PACKAGE / "__init__.pyi" in files
    assert {path for path in files if "__pycache__" not in path.parts} <= installed


WITHOUT_EXTRAS = """
import sys
for name in ("dask", "distributed", "dask_jobqueue", "jinja2", "pandas", "scarlet2", "jax",
             "sklearn", "tensorboardX"):
    sys.modules[name] = None
from pathlib import Path
from btk_generative import cli
Path("generate.yaml").write_text("catalog: {mock: 300}\\nshards: 1\\nblends_per_shard: 1\\n")
Path("any.yaml").write_text("{}")
for command in (
    "compare any.yaml",
    "validate default --data .",
    "train any.yaml",
    "generate generate.yaml --workers 2",
    "generate generate.yaml --scheduler slurm",
):
    sys.argv = ["", *command.split(), "--output", "out"]
    try:
        cli.main()
    except SystemExit as end:
        print("ended", end.code, file=sys.stderr)
from btk.sampling_functions import FriendsOfFriendsSampling
from btk_generative.draw import IndexedSampling
try:
    IndexedSampling(FriendsOfFriendsSampling())
except ImportError as error:
    print(error, file=sys.stderr)
"""


def test_a_missing_extra_is_one_line(tmp_path):
    """It comes before anything is drawn or written."""
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_EXTRAS],
        cwd=tmp_path,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
    )
    install = "pip install 'btk-generative[{}]'".format
    said = [
        f"error: btk_generative.compare needs jinja2 and pandas: {install('compare')}",
        f"error: validation needs jinja2 and sklearn: {install('validate')}",
        f"error: training needs jinja2 and tensorboardX: {install('train')}",
        f"error: scheduler 'local' with 2 workers needs distributed: {install('datasets')}",
        "error: scheduler 'slurm' with 1 workers needs distributed and dask_jobqueue: "
        + install("cluster"),
    ]
    lines = [line for line in done.stderr.splitlines() if not re.match(r"[IW]0000|WARNING", line)]
    assert lines == [
        *(line for error in said for line in (error, "ended 2")),
        f"sampling: FriendsOfFriendsSampling needs pandas: {install('compare')}",
    ]
    assert not (tmp_path / "out").exists()


def test_importing_the_package_imports_nothing_heavy():
    heavy = [
        "tensorflow",
        "keras",
        "jax",
        "matplotlib",
        "dask",
        "galsim",
        "btk",
        "astropy",
        "scipy",
    ]
    code = f"import sys, btk_generative; print([x for x in {heavy} if x in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "[]"


def test_the_old_name_of_an_error_warns():
    from btk_generative import errors

    with pytest.warns(DeprecationWarning, match="is now PackageMissing"):
        assert errors.DeblenderMissing is errors.PackageMissing
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        errors.Nothing  # noqa: B018


def test_the_page_on_the_architecture_names_every_room():
    page = (ROOT / "docs" / "architecture.md").read_text()
    for room in (*GROUND, *FLOW, *LEAVES, "cli"):
        if (PACKAGE / room).exists() or (PACKAGE / f"{room}.py").exists():
            assert f"`{room}`" in page
