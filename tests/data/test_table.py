"""Every fault of a file gets one line that says where it is."""

import pandas as pd
import pytest

from rnnlab.data import Series
from rnnlab.errors import UserError

GOOD = "day,OT,load\n" + "".join(f"2020-01-{i:02d},{i}.5,{i * i}\n" for i in range(1, 13))


def line(i, text):
    """GOOD with row `i` (the header is row 1) replaced."""
    rows = GOOD.splitlines()
    rows[i - 1] = text
    return "\n".join(rows) + "\n"


FAULTS = {
    "no such column": (GOOD, {"target": "OTT"}, r"data\.target=OTT: no such column in .*Did you mean OT\?"),
    "no such input": (GOOD, {"columns": ["OT", "laod"]}, r"data\.columns=laod: .*Did you mean load\?"),
    "no such time": (GOOD, {"time_column": "date"}, r"data\.time_column=date: .*Possible: OT, day, load\."),
    "other delimiter": (
        GOOD.replace(",", ";"),
        {"delimiter": ","},
        r"one column 'day;OT;load': data\.delimiter=';'\?",
    ),
    "text": (line(5, "2020-01-04,warm,3"), {}, r"row 5, column OT: 'warm' is not a number"),
    "underscore": (line(5, "2020-01-04,1_000,3"), {}, r"row 5, column OT: '1_000' is not a number"),
    "empty cell": (
        line(4, "2020-01-03,,3"),
        {},
        r"row 4, column OT: '' is no value; data\.missing=interpolate",
    ),
    "nan": (line(4, "2020-01-03,NaN,3"), {}, r"row 4, column OT: 'NaN' is no value"),
    "infinite": (line(4, "2020-01-03,-inf,3"), {}, r"row 4, column OT: '-inf' is no value"),
    "row after a blank line": (line(4, "\n2020-01-03,,3"), {}, r"row 5, column OT: ''"),
    "ragged": (line(7, "2020-01-06,6.5"), {}, r"row 7 has 2 cells, the header has 3 columns"),
    "cut short": (line(7, "2020-01-06"), {}, r"row 7 has 1 cell, the header has 3 columns"),
    "repeated name": (line(1, "day,OT,OT"), {}, r"names column OT more than once"),
    "empty": ("", {}, r"the file is empty"),
    "blank": ("\n\n", {}, r"the file is empty"),
    "header only": ("day,OT,load\n", {}, r"a header, but no rows"),
    "constant": (
        "OT\n" + "3\n" * 6 + "4\n" * 6,
        {},
        r"column OT is constant \(3\) over the 6 training rows: data\.scaling=standard .* data\.scaling=none",
    ),
    "constant in one of several series": (
        "id,OT\n" + "".join(f"a,{i}\nb,3\n" for i in range(12)),
        {"id_column": "id"},
        r"f\.csv, id b: column OT is constant \(3\) over the 6 training rows: .* leave the column or this series out, "
        r"or take data\.scaling=none$",
    ),
    "too large to square": (
        "OT\n" + "1e155\n2e155\n" * 6,
        {},
        r"f\.csv: column OT: its spread cannot be computed in double precision; multiply it by a constant$",
    ),
    "too small to square": ("OT\n" + "1e-310\n2e-310\n" * 6, {}, r"column OT: its spread cannot be computed"),
    "too large a range": (
        "OT\n" + "-1e308\n1e308\n" * 6,
        {"scaling": "minmax"},
        r"column OT: its spread cannot be computed",
    ),
    "too large to square in one of several series": (
        "id,OT\n" + "".join(f"a,{i}\nb,{i}e155\n" for i in range(12)),
        {"id_column": "id", "scaling": "difference"},
        r"f\.csv, id b: column OT: its spread cannot be computed",
    ),
    "no series": (
        "id,OT\n" + "a,1\n" * 3 + ",2\n" + "a,1\n" * 8,
        {"id_column": "id"},
        r"f\.csv: row 5, column id: '' names no series$",
    ),
    "missing series": (
        "id,OT\n" + "a,1\n" * 3 + " NaN,2\n" + "a,1\n" * 8,
        {"id_column": "id"},
        r"row 5, column id: ' NaN' names no series$",
    ),
    "time without an offset": (
        "day,OT\n" + "".join(f"2020-01-01T{i:02d}:00{'Z' if i != 3 else ''},{i}\n" for i in range(12)),
        {"time_column": "day"},
        r"row 5, column day: '2020-01-01T03:00' has no offset from UTC, and others have one$",
    ),
    "too short": (
        GOOD,
        {"window": 6},
        r"^the series is too short: .* 6 \+ 1 = 7 rows \(in a later part only its horizon, 1\), and of 12 rows the "
        r"parts have training 6, validation 0, test 6",
    ),
    "too large": ("OT\n" + "1e300\n2e300\n" * 6, {"scaling": "none"}, r"column OT: its values are too large"),
    "no time": (
        line(3, "02/01/2020,1,2"),
        {"time_column": "day"},
        r"row 3, column day: '02/01/2020' is not written like the first, '2020-01-01'; data.time_format",
    ),
    "no such day": (
        line(3, "2020-02-30,1,2"),
        {"time_column": "day"},
        r"row 3, column day: '2020-02-30' is no time: day is out of range for month",
    ),
    "empty time": (
        line(3, ",1,2"),
        {"time_column": "day"},
        r"row 3, column day: '' is not written like the first",
    ),
    "seconds": (
        line(2, "1577836800,1,2"),
        {"time_column": "day"},
        r"row 2, column day: '1577836800' is no time such as 2016-07-01 12:30, 20160701,",
    ),
    "repeated time": (
        line(6, "2020-01-04,1,2"),
        {"time_column": "day"},
        r"row 6, column day: 2020-01-04 does not come after 2020-01-04 in row 5; times must increase",
    ),
    "decreasing time": (
        line(6, "2019-01-04,1,2"),
        {"time_column": "day"},
        r"row 6, column day: 2019-01-04 does",
    ),
    "no value in a part": (
        "OT\n" + "1\n2\n3\n4\n" + "nan\n" * 4,
        {"missing": "interpolate"},
        r"column OT has no value in the whole test part",
    ),
    "period": (
        GOOD,
        {"time_column": "day", "resample": "1fortnight"},
        r"data\.resample=1fortnight: .*such as 30min, 2h",
    ),
    "period of 0": (GOOD, {"time_column": "day", "resample": "0h"}, r"data\.resample=0h"),
    "period without times": (GOOD, {"resample": "2h"}, r"data\.resample=2h: needs data\.time_column"),
    "format without times": (
        GOOD,
        {"time_format": "%d.%m.%Y"},
        r"data\.time_format=%d\.%m\.%Y: needs data\.time_column",
    ),
    "a target known ahead": (GOOD, {"known": ["OT"]}, r"data\.known=\[OT\]: OT is a target, whose future"),
    "far too short a period": (
        "day,OT\n2020-01-01,1\n2021-01-01,2\n",
        {"time_column": "day", "resample": "1s", "missing": "drop"},
        r"data\.resample: steps of 1 second make 31,622,401 rows of 2; take longer ones",
    ),
    "policy": (GOOD, {"missing": "droop"}, r"data\.missing=droop: .*Did you mean drop\?"),
    "scaling": (GOOD, {"scaling": "minmx"}, r"data\.scaling=minmx: .*Did you mean minmax\?"),
    "no column": (GOOD, {"columns": []}, r"data\.columns=\[\]: must be a column's name or a list"),
    "column twice": (GOOD, {"columns": ["OT", "OT"]}, r"data\.columns=\[OT,OT\]: names a column twice"),
    "long delimiter": (GOOD, {"delimiter": ",,"}, r"data\.delimiter=,,: must be one character"),
    "encoding": (GOOD, {"encoding": "utf-9"}, r"data\.encoding=utf-9: Python knows no such encoding"),
}


def read(path, **settings):
    small = {"target": "OT", "window": 2, "horizon": 1, "season": 1, "fractions": (0.5, 0.0, 0.5)}
    data = Series(path, **{**small, **settings})
    data.setup()
    return data


@pytest.mark.filterwarnings("error::RuntimeWarning")
@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_named_in_one_line(tmp_path, fault):
    text, settings, message = FAULTS[fault]
    (tmp_path / "f.csv").write_text(text)
    with pytest.raises(UserError, match=message) as caught:
        read(tmp_path / "f.csv", **settings)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("nothing", [None, float("nan"), ""], ids=str)
def test_a_dataframe_has_no_series_without_a_name(nothing):
    frame = pd.DataFrame({"id": [*"aaab", nothing, *"bbb"], "OT": range(8)})
    with pytest.raises(UserError, match=r"the DataFrame: row 6, column id: '(nan)?' names no series$"):
        read(frame, id_column="id")


def test_the_faultless_file_is_read(tmp_path):
    (tmp_path / "f.csv").write_text(GOOD)
    data = read(tmp_path / "f.csv", columns="all", time_column="day", scaling="none")
    assert data.series[:2].tolist() == [[1.5, 1.0], [2.5, 4.0]]


def test_a_missing_file_is_answered_with_its_neighbour(tmp_path):
    (tmp_path / "ETTh1.csv").write_text(GOOD)
    with pytest.raises(UserError, match=r"ETTh2\.csv: no such file\. Did you mean ETTh1\.csv\?"):
        read(tmp_path / "ETTh2.csv")
    with pytest.raises(UserError, match=r"there is no folder .*nowhere"):
        read(tmp_path / "nowhere" / "ETTh1.csv")
    with pytest.raises(UserError, match=r"is a directory"):
        read(tmp_path)


def test_a_wrong_encoding_is_answered_with_the_row_and_another(tmp_path):
    path = tmp_path / "latin.csv"
    path.write_bytes(GOOD.encode() + "2020-01-13,1,Käse\n".encode("latin-1"))
    with pytest.raises(
        UserError, match=r"row 14: byte \d+ \(0xe4\) is not utf-8; try data\.encoding=latin-1"
    ):
        read(path)
    assert len(read(path, encoding="latin-1").series) == 13
    path.write_bytes(GOOD.encode("utf-16"))
    with pytest.raises(UserError, match=r"row 1: byte 0 .*try data\.encoding=utf-16"):
        read(path)
    assert len(read(path, encoding="utf-16").series) == 12


def test_in_a_file_of_one_column_an_empty_line_is_a_missing_value(tmp_path):
    (tmp_path / "f.csv").write_text("OT\n1\n\n3\n4\n5\n6\n\n")
    with pytest.raises(UserError, match=r"row 3, column OT: '' is no value"):
        read(tmp_path / "f.csv")
    assert read(tmp_path / "f.csv", missing="interpolate", scaling="none").series[:3, 0].tolist() == [1, 2, 3]
