"""Shared fixtures: the development data, where they are at hand."""

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def data_folder() -> Path:
    return Path(os.environ.get("BTK_GENERATIVE_DATA", ROOT.parent / "shared" / "data"))


@pytest.fixture(scope="session")
def data():
    """Returns a function from a name in the development data to its path; skips where absent."""

    def find(name):
        path = data_folder() / name
        if not path.exists():
            pytest.skip(f"development data {name} not found (set BTK_GENERATIVE_DATA)")
        return path

    return find
