"""What a user gives to a finished model: values of a series, and typed input."""

import pytest
import torch

from rnnlab.errors import UserError
from rnnlab.tasks import CharLM, Classifier, Forecaster

FAR = 1e8  # at which neighbouring float32 numbers are 8 apart


def test_values_far_from_zero_keep_their_digits():
    spec = {
        "kind": "series",
        "inputs": 1,
        "targets": 1,
        "horizon": 1,
        "target_index": [0],
        "input_names": ["a"],
    }
    spec |= {key: [1.0] for key in ("input_scale", "target_scale")}
    spec |= {key: [FAR] for key in ("input_shift", "target_shift")}
    task = Forecaster(spec, hidden_size=3, cell="gru").eval()
    scaled = torch.tensor([[[1.0], [2.5], [0.25]]])
    forecast = task(scaled).double() + FAR
    torch.testing.assert_close(task.predict_given(scaled.double() + FAR), forecast, rtol=0, atol=1e-6)
    assert torch.equal(task.parse("100000001 100000002.5 100000000.25")[0], scaled[0])


def test_typed_values_of_several_series_are_not_taken_for_scaled_ones():
    spec = {"kind": "series", "inputs": 1, "targets": 1, "horizon": 1, "target_index": [0], "input_names": ["a"],
            "input_shift": [0.0], "target_shift": [0.0], "input_scale": [1.0], "target_scale": [1.0]}  # fmt: skip
    for shift, scale in ((100.0, 5.0), (0.0, 1.0)):
        of_each = {"input_shift": [[0.0], [shift]], "input_scale": [[1.0], [scale]]}
        task = Forecaster(spec | {"series": {"names": ["u", "v"], **of_each}}, hidden_size=3, cell="gru")
        if shift:
            with pytest.raises(UserError, match="what is typed belongs to none"):
                task.parse("101 102")
        else:
            assert task.parse("101 102")[0].tolist() == [[101.0], [102.0]]


def test_a_digit_that_is_no_decimal_is_no_token():
    task = Classifier({"kind": "labelled", "vocab_size": 5, "classes": 2}, hidden_size=3, cell="gru")
    with pytest.raises(UserError, match="²: not a token from 0 to 4"):
        task.parse("1 ²")


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.int32])
def test_ids_of_any_whole_type_are_read_and_those_out_of_range_are_named(dtype):
    text = CharLM({"kind": "text", "vocabulary_size": 5}, hidden_size=3, cell="gru").eval()
    labelled = Classifier(
        {"kind": "labelled", "vocab_size": 5, "classes": 2}, hidden_size=3, cell="gru"
    ).eval()
    for task in (text, labelled):
        ids = torch.tensor([[1, 4, 2]])
        assert torch.equal(task.predict_given(ids.to(dtype)), task.predict_given(ids))
        with pytest.raises(UserError, match=r"x must be .* from 0 to 4, and holds 0 to 5"):
            task.predict_given(torch.tensor([[0, 5, 2]]).to(dtype))


def test_the_units_of_several_series_may_lie_on_another_device_than_the_forecast():
    """As on a GPU, for which torch's device of shapes alone stands in."""
    spec = {"kind": "series", "inputs": 1, "targets": 1, "horizon": 1, "target_index": [0],
            "target_shift": [0.0], "target_scale": [1.0]}  # fmt: skip
    task = Forecaster(spec, hidden_size=3, cell="gru")
    forecast, units = torch.empty(2, 1, 1, device="meta"), torch.ones(2, 2, 1, 1, dtype=torch.float64)
    assert task.unscaled(forecast, *units).device.type == "meta"


@pytest.mark.parametrize(("mode", "least"), [("difference", 2), ("seasonal_difference", 5)])
def test_windows_that_leave_no_differences_are_refused(mode, least):
    spec = {"kind": "series", "inputs": 1, "targets": 1, "horizon": 2, "target_index": [0], "input_names": ["a"],
            "input_shift": [0.0], "target_shift": [0.0], "input_scale": [1.0], "target_scale": [1.0],
            "per_window": mode, "season": 4}  # fmt: skip
    task = Forecaster(spec, hidden_size=3, cell="gru").eval()
    assert task.predict_given(torch.ones(1, least, 1)).shape == (1, 2, 1)
    with pytest.raises(
        UserError, match=rf"x has {least - 1} steps; the run's data.scaling={mode} needs more than"
    ):
        task.predict_given(torch.ones(1, least - 1, 1))


def test_zeros_at_the_end_of_a_row_of_tokens_are_padding():
    torch.manual_seed(0)
    task = Classifier({"kind": "labelled", "vocab_size": 9, "classes": 3}, hidden_size=3, cell="gru").eval()
    padded = task.predict_given(torch.tensor([[5, 6, 7], [3, 0, 0]]))
    assert torch.equal(padded[:1], task.predict_given(torch.tensor([[5, 6, 7]])))
    torch.testing.assert_close(padded[1:], task.predict_given(torch.tensor([[3]])))
    for row in ([5, 0, 7], [0, 0, 0], [0, 5, 7]):
        with pytest.raises(
            UserError, match=r"^predict: token 0 is padding; it stands at the end of a row only"
        ):
            task.predict_given(torch.tensor([row]))
