"""Leaves out what cannot run here without importing what can: the imports of torch take seconds in each process."""

from importlib.util import find_spec

import pytest


def needs(*packages: str) -> pytest.MarkDecorator:
    """A mark for a test, or as `pytestmark` for a file of them, which is skipped where one of these is missing."""
    missing = [package for package in packages if find_spec(package) is None]
    return pytest.mark.skipif(bool(missing), reason=f"needs {', '.join(missing)}")
