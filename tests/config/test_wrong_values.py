"""A wrong value of any key is a line and leaves nothing; scripts/wrong_values.py tries all of them."""

import wrong_values


def test_every_two_hundredth_wrong_value_is_a_line(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    ended, wrong = wrong_values.tried(every=211)
    assert not wrong, wrong
    assert ended["refused"] > 10 and ended["trained"] > 1


def test_what_fails_behind_its_start_is_no_refusal(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert wrong_values.told(["optimizer.lr=0.01"]) == "trained"
    assert wrong_values.told(["optimizer.lr=-1"]) == "refused"
    monkeypatch.setattr("rnnlab.training.preflight.rehearse", lambda task: None)
    left = wrong_values.told(
        ["++optimizer._target_=torch.optim.Adagrad", "~optimizer.betas", "optimizer.lr=-1"]
    )
    assert left.startswith("exit code 1: ")  # it had begun, and there is no trace
