"""The verdicts, each brought about: the same bits, close numbers, a seed's spread, and none of these."""

import json
import shutil

import pytest
import torch
from test_kills import RUN as SMALL

import rnnlab
from rnnlab.cli import main
from rnnlab.cli.reproduce import show
from rnnlab.reproduce.verdict import judge, same_bits
from rnnlab.runs.yaml import to_yaml


def test_a_folder_copied_from_elsewhere_is_reproduced_bit_for_bit(copied, tmp_path, capsys):
    assert main(["reproduce", str(copied.folder), "--into", str(tmp_path / "new"), "--json"]) == 0
    (found,) = json.loads(capsys.readouterr().out)
    assert found["verdict"] == "bitwise" and found["differs"] == {}
    assert main(["diff", str(copied.folder), str(tmp_path / "new" / copied.folder.name)]) == 0


def altered(run, **changes) -> None:
    """The folder says that its numbers came of another config than they did."""
    (run.folder / "config.yaml").write_text(to_yaml(run.config | changes))


def reproduced(capsys, run, *more: str) -> tuple[int, dict, str]:
    """Exit code, entry and what is shown."""
    code = main(["reproduce", str(run.folder), "--json", *more])
    (entry,) = json.loads(capsys.readouterr().out)
    show([entry], None)
    return code, entry, capsys.readouterr().out


def test_another_engines_rounding_is_numeric(tmp_path, capsys):
    other = [o for o in SMALL if not o.startswith("model.engine")]
    run = rnnlab.train(*other, "model.engine=reference", f"paths.outputs={tmp_path}")
    altered(run, model=run.config["model"] | {"engine": "torch"})
    capsys.readouterr()
    code, entry, said = reproduced(capsys, run)
    assert (code, entry["verdict"]) == (3, "numeric")
    assert entry["differs"]["engine"][0] == "recurrence: reference -> torch"
    assert "the curves part at step" in said and "the same  code, data, versions, machine" in said
    assert reproduced(capsys, run, "--rtol", "1e-12")[0] == 5  # and there are no other seeds


def test_another_seeds_numbers_are_statistical_where_there_are_enough(seeds, tmp_path, capsys):
    shutil.copytree(seeds[0].folder.parent, tmp_path / "sine")
    run = rnnlab.Run(tmp_path / "sine" / seeds[3].folder.name)
    altered(run, seed=11, data=run.config["data"] | {"seed": 11})
    code, entry, said = reproduced(capsys, run)
    assert (code, entry["verdict"]) == (4, "statistical")
    assert " lies inside " in said and "of the 6 other seeds" in said
    assert entry["differs"]["data"] == [
        f"content: {run.manifest['data_hash'][:12]} -> {entry_content(seeds, 11)}"
    ]


def entry_content(seeds, seed: int) -> str:
    from rnnlab.training.train import load_data

    config = seeds[0].config
    return load_data(config | {"data": config["data"] | {"seed": seed}}).content_hash[:12]


def test_other_numbers_are_different(seeds, tmp_path, capsys):
    shutil.copytree(seeds[0].folder.parent, tmp_path / "sine")
    run = rnnlab.Run(tmp_path / "sine" / seeds[0].folder.name)
    altered(run, optimizer=run.config["optimizer"] | {"lr": 0.5})
    code, entry, said = reproduced(capsys, run)
    assert (code, entry["verdict"]) == (5, "different") and " lies outside " in said
    assert entry["differs"] == {} and "the same  code, data, engine, versions, machine" in said


def test_a_small_change_is_numeric_and_its_step_is_named(seeds, copied):
    lines = copied.metrics_file.read_text().splitlines()
    i = next(i for i, line in enumerate(lines) if line.startswith("5,loss/train,"))
    value = float(lines[i].split(",")[2])
    lines[i] = f"5,loss/train,{value * (1 + 1e-5)!r}"
    copied.metrics_file.write_text("\n".join(lines) + "\n")
    verdict = judge(seeds[0], copied)
    assert verdict.word == "numeric" and verdict.divergence.first == (5, "loss/train")
    assert verdict.divergence.largest == pytest.approx(1e-5, rel=1e-3)
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
    from rnnlab.runs.run import Run

    verdict = judge(copied, Run(other))
    assert verdict.word == "different" and "takes at least 5" in verdict.why[-1]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.complex64, torch.bool, torch.int64])
def test_weights_of_any_type_are_compared_bit_by_bit(dtype):
    for shape in ((), (0,), (3, 2)):
        ones = torch.ones(shape, dtype=dtype)
        assert same_bits(ones, ones.clone())
        assert same_bits(ones, torch.zeros(shape, dtype=dtype)) == (ones.numel() == 0)
    nan = torch.tensor([float("nan"), 0.0])
    assert same_bits(nan, nan.clone()) and not same_bits(nan, nan * torch.tensor([1.0, -1.0]))


def test_a_run_without_its_last_weights_is_compared_by_its_best(seeds, copied, capsys):
    """As one from an archive."""
    copied.last_checkpoint.unlink()
    ours, theirs = str(seeds[0].folder), str(copied.folder)
    for pair in ((ours, theirs), (theirs, ours)):
        assert main(["diff", *pair]) == 0
        said = capsys.readouterr().out
        assert "the same, bit for bit" in said and f"weights   only {ours} has last.ckpt" in said
    copied.best_checkpoint.unlink()
    assert main(["diff", ours, theirs]) == 3
    assert f"weights   only {ours} has best.ckpt" in capsys.readouterr().out


def test_copies_of_a_run_are_no_other_seeds(seeds, copied, tmp_path):
    for i in range(6):
        shutil.copytree(seeds[0].folder, copied.folder.with_name(f"copy{i}"))
        shutil.copytree(seeds[1].folder, copied.folder.with_name(f"other{i}"))
    verdict = judge(copied, seeds[2])
    assert verdict.word == "different" and verdict.why[-1].startswith("1 other seed beside the run")
