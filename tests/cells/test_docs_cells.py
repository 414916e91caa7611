"""What docs/cells.md shows runs as it stands there, from top to bottom."""

import re
from pathlib import Path

import torch

PAGE = Path(__file__).parents[2] / "docs" / "cells.md"


def test_the_blocks_of_the_page_run_and_hold(capsys):
    blocks = re.findall(
        r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL
    )
    assert len(blocks) == 11
    with torch.random.fork_rng(devices=[]):  # the page seeds torch's own generator, to compare with it
        torch.manual_seed(0)
        names: dict = {"__name__": "page"}
        for block in blocks:
            exec(compile(block, str(PAGE), "exec"), names)
    assert (
        "Choice(engine='torch', reason='auto: the native engine serves precision" in capsys.readouterr().out
    )
