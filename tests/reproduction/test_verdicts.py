"""The verdicts, each brought about: the same bits, close numbers, a seed's spread, and none of these."""

import json
import shutil

import pytest
import torch

from rnnlab.cli import main
from rnnlab.reproduction.verdict import judge


def test_a_folder_copied_from_elsewhere_is_reproduced_bit_for_bit(copied, tmp_path, capsys):
    assert main(["reproduce", str(copied.folder), "--into", str(tmp_path / "new"), "--json"]) == 0
    (found,) = json.loads(capsys.readouterr().out)
    assert found["verdict"] == "bitwise" and found["differs"] == {}
    assert main(["diff", str(copied.folder), str(tmp_path / "new" / copied.folder.name)]) == 0


def test_a_small_change_is_numeric_and_its_step_is_named(seeds, copied):
    lines = copied.metrics_file.read_text().splitlines()
    i = next(i for i, line in enumerate(lines) if line.startswith("5,loss/train,"))
    value = float(lines[i].split(",")[2])
    lines[i] = f"5,loss/train,{value * (1 + 1e-5)!r}"
    copied.metrics_file.write_text("\n".join(lines) + "\n")
    verdict = judge(seeds[0], copied)
    assert verdict.word == "numeric" and verdict.parting.first == (5, "loss/train")
    assert verdict.parting.largest == pytest.approx(1e-5, rel=1e-3)
    assert judge(seeds[0], copied, rtol=1e-6).word == "statistical"  # the best value is unchanged


def test_other_weights_alone_are_not_bitwise(seeds, copied):
    checkpoint = torch.load(copied.best_checkpoint, weights_only=True)
    checkpoint["state_dict"]["head.bias"] += 1e-7
    torch.save(checkpoint, copied.best_checkpoint)
    assert judge(seeds[0], copied).word == "numeric"


def test_inside_the_spread_of_seeds_and_outside(seeds, copied):
    assert judge(seeds[0], seeds[1]).word in ("statistical", "different")
    record = copied.record
    copied.metrics_file.write_text("step,metric,value\n")
    record["results"]["best"]["value"] = 1e9
    copied.update(**record)
    assert judge(seeds[0], copied).word == "different"


def test_fewer_than_five_other_seeds_are_no_spread(seeds, copied):
    other = copied.folder.with_name("other")
    shutil.copytree(seeds[1].folder, other)
    from rnnlab.ledger.run import Run

    verdict = judge(copied, Run(other))
    assert verdict.word == "different" and "takes at least 5" in verdict.why[-1]
