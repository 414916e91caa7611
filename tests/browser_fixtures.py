"""What tests that look at pages share: a browser, and a place for what it saw."""

import os
from pathlib import Path

import pytest

from browser import Browser


@pytest.fixture(scope="module")
def opened(tmp_path_factory):
    opened = Browser(tmp_path_factory.mktemp("profile"))
    yield opened
    opened.close()


@pytest.fixture
def browser(opened):
    """An empty page, and none of what pages of earlier tests complained of when their servers had gone."""
    opened.open("about:blank")
    opened.scheme("light")
    opened.errors()
    return opened


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    return Path(os.environ.get("RNNLAB_SCREENSHOTS") or tmp_path_factory.mktemp("screenshots"))
