"""docs/configuration.md says which of Lightning's and Hydra's keys are served how."""

import re
from pathlib import Path

import pytest

from rnnlab.config import check, compose
from rnnlab.config.composing import UNUSED
from rnnlab.config.reading import shown
from rnnlab.config.trainer_schema import Trainer

TEXT = (Path(__file__).parents[2] / "docs" / "configuration.md").read_text(encoding="utf-8")
SECTION = TEXT.split("## Lightning's and Hydra's keys")[1].split("\n## ")[0]


def test_the_tables_are_those_of_the_code():
    rows = dict(re.findall(r"^\| `([\w.]+)` \| (.+) \|$", SECTION, re.M))
    assert rows == Trainer.reserved | UNUSED


OTHERS = {name: field for name, field in Trainer.model_fields.items() if not field.is_required()}


@pytest.mark.parametrize("key", OTHERS)
def test_every_other_argument_is_taken(key):
    default = OTHERS[key].default
    assert check(compose([f"+trainer.{key}={shown(default)}"]))["trainer"][key] == default
