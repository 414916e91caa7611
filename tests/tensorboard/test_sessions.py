"""HParams as `rnnlab board` has it: sessions from the ledger, read by TensorBoard's own handlers."""

import math
from types import SimpleNamespace

import pytest
from tensorboard.data.provider import RunTagFilter, ScalarTimeSeries
from tensorboard.plugins.hparams import api_pb2, backend_context, list_session_groups, metadata

from rnnlab.report.row import Row
from rnnlab.runs.lock import is_locked, lock
from rnnlab.runs.run import Run
from rnnlab.tensorboard.groups import write_groups
from rnnlab.tensorboard.offered import MOST, offer
from rnnlab.tensorboard.places import standing
from rnnlab.tensorboard.server import Curves, Hyperparameters, LinesOnce, Shared
from rnnlab.tensorboard.sessions import Group, Member, Sessions

ALL = [api_pb2.STATUS_UNKNOWN, api_pb2.STATUS_SUCCESS, api_pb2.STATUS_FAILURE, api_pb2.STATUS_RUNNING]


def config(**changes):
    keys = {"hidden_size": 8, "clip": None, "lr": 0.1, "seed": 0, "name": "sine", "n_points": 100} | changes
    return {"name": keys["name"], "seed": keys["seed"], "mode": keys.get("mode", "min"), "notes": str(keys["seed"]),
            "data": {"n_points": keys["n_points"], "seed": keys["seed"]},
            "model": {"hidden_size": keys["hidden_size"], "init_from": None},
            "optimizer": {"lr": keys["lr"], "clip": keys["clip"]}, "monitor": "loss/val",
            **{section: {} for section in ("scheduler", "trainer", "callbacks", "logger", "paths")}}  # fmt: skip


def made(folder, status, value=None, asked=("data.n_points=100",), **changes):
    settings = config(**changes)
    group = "-".join(str(settings[k]) for k in ("model", "optimizer")) + str(settings["data"]["n_points"])
    run = Run(folder / f"{abs(hash(group)) % 10**8}-{settings['seed']}")
    run.create(run.folder.name, settings["name"], settings, list(asked), group=group)
    metrics = {"loss/val": value, "metric/mse": value}
    results = {"best": {"step": 10, "metrics": metrics, "value": value, "monitor": "loss/val"},
               "last": {"step": 10, "metrics": metrics}, "floor": {"val": {"mse": 0.01}}}  # fmt: skip
    run.update(status=status, started="2026-01-02T03:04:05+0000", **({"results": results} if value else {}))
    return run


class Provider:
    """Scalars as they would be in event files."""

    def __init__(self, scalars):
        self.scalars = scalars

    def list_tensors(self, ctx=None, *, experiment_id, plugin_name, run_tag_filter=None):
        return {}

    def list_scalars(self, ctx=None, *, experiment_id, plugin_name, run_tag_filter=None):
        series = ScalarTimeSeries(
            max_step=1, max_wall_time=0.0, plugin_content=b"", description="", display_name=""
        )
        return {run: dict.fromkeys(tags, series) for run, tags in self.scalars.items()}

    def read_last_scalars(self, ctx=None, *, experiment_id, plugin_name, run_tag_filter=None):
        wanted = run_tag_filter or RunTagFilter()
        return {
            run: {
                t: SimpleNamespace(step=s, value=v, wall_time=0.0)
                for t, (s, v) in tags.items()
                if not wanted.tags or t in wanted.tags
            }
            for run, tags in self.scalars.items()
        }


def groups(folder, scalars=None):
    """What TensorBoard answers: its experiment, and its groups in the order of the table."""
    provider = Hyperparameters(Provider(scalars or {}), Shared(folder))
    context = backend_context.Context(SimpleNamespace(data_provider=provider))
    content = context.hparams_metadata(None, "")
    experiment = next(
        metadata.parse_experiment_plugin_data(tags[metadata.EXPERIMENT_TAG])
        for tags in content.values()
        if metadata.EXPERIMENT_TAG in tags
    )
    columns = [api_pb2.ColParams(metric=m.name) for m in experiment.metric_infos]
    request = api_pb2.ListSessionGroupsRequest(
        start_index=0, slice_size=100, allowed_statuses=ALL, col_params=columns,
        aggregation_type=api_pb2.AGGREGATION_AVG,
    )  # fmt: skip
    answer = list_session_groups.Handler(None, context, "", request).run()
    return {h.name: h for h in experiment.hparam_infos}, answer.session_groups


def statuses(found):
    return sorted(api_pb2.Status.Name(s.status) for group in found for s in group.sessions)


def test_a_run_is_running_while_somebody_trains_it_and_ends_as_it_ends(tmp_path):
    run = made(tmp_path, "running")
    with lock(run.folder):
        assert is_locked(run.folder)
        assert statuses(groups(tmp_path)[1]) == ["STATUS_RUNNING"]
    assert not is_locked(run.folder)
    assert statuses(groups(tmp_path)[1]) == ["STATUS_UNKNOWN"]  # it was killed: nobody is at it
    for status, shown in (("finished", "SUCCESS"), ("failed", "FAILURE"), ("stopped", "UNKNOWN")):
        run.update(status=status)
        assert statuses(groups(tmp_path)[1]) == [f"STATUS_{shown}"]


def test_a_view_that_stays_open_sees_the_change(tmp_path, monkeypatch):
    monkeypatch.setattr("rnnlab.tensorboard.sessions.FRESH_S", 0.0)
    run, sessions = made(tmp_path, "failed"), Sessions(tmp_path)
    before = sessions.contents()
    run.update(status="finished")
    assert sessions.contents() != before


def test_runs_that_differ_by_the_seed_are_one_group_best_first_and_skipped_ones_are_not_there(tmp_path):
    for seed in (0, 1):
        made(tmp_path, "finished", 0.5 + seed, hidden_size=8, seed=seed)
        made(tmp_path, "finished", 0.2 + seed, hidden_size=16, seed=seed)
    made(tmp_path, "failed", hidden_size=16, seed=2)
    made(tmp_path, "failed", hidden_size=4)
    made(tmp_path, "skipped", hidden_size=2)
    (_, found) = groups(tmp_path)
    assert [g.name for g in found] == ["001", "002", "no result 1"]
    assert [g.hparams["model.hidden_size"].number_value for g in found] == [16, 8, 4]
    counts = [[g.hparams[f"runs {s}"].number_value for s in ("finished", "failed")] for g in found]
    assert counts == [[2, 1], [2, 0], [0, 1]]
    assert [len(g.sessions) for g in found] == [3, 2, 1]


def test_the_best_is_the_greatest_where_more_is_better(tmp_path):
    for size, value in ((8, 0.5), (16, 0.9)):
        made(tmp_path, "finished", value, hidden_size=size, mode="max")
    (_, found) = groups(tmp_path)
    assert [(g.name, g.hparams["model.hidden_size"].number_value) for g in found] == [("001", 16), ("002", 8)]


def test_a_column_for_each_key_that_differs_and_none_for_what_all_have(tmp_path):
    made(tmp_path, "finished", 0.1, clip=None)
    made(tmp_path, "finished", 0.2, clip=1.0)
    made(tmp_path, "finished", 0.3, clip=True, lr=0.2)
    columns, found = groups(tmp_path)
    assert set(columns) == {"optimizer.clip", "optimizer.lr", "runs finished"}
    assert columns["optimizer.lr"].type == api_pb2.DATA_TYPE_FLOAT64
    assert (
        columns["optimizer.lr"].domain_interval.min_value,
        columns["optimizer.lr"].domain_interval.max_value,
    ) == (0.1, 0.2)
    # one column of several types: words, in the cells as in the filter
    assert columns["optimizer.clip"].type == api_pb2.DATA_TYPE_STRING
    said = [v.string_value for v in columns["optimizer.clip"].domain_discrete.values]
    assert said == ["1.0", "null", "true"] == sorted(g.hparams["optimizer.clip"].string_value for g in found)


def test_what_was_asked_where_nothing_differs(tmp_path):
    made(tmp_path, "finished", 0.1)
    assert set(groups(tmp_path)[0]) == {"data.n_points", "runs finished"}


def test_experiments_side_by_side_keep_their_places_and_share_columns(tmp_path):
    for name in ("one", "two"):
        for size, value in ((8, 0.5), (16, 0.4)):
            made(tmp_path / name, "finished", value, hidden_size=size, name=name)
    columns, found = groups(tmp_path)
    assert [g.name for g in found] == ["one 001", "one 002", "two 001", "two 002"]
    assert set(columns) == {"model.hidden_size", "runs finished"}
    assert all(s.name.startswith(("one/", "two/")) for g in found for s in g.sessions)


def test_configurations_of_other_targets_have_places_of_their_own(tmp_path):
    for points, level in ((100, 0.1), (200, 10.0)):
        for size in (8, 16):
            made(tmp_path, "finished", level / size, hidden_size=size, n_points=points)
    for path in tmp_path.glob("*/run.json"):  # baselines that tell the two apart
        run = Run(path.parent)
        level = 1.0 if run.config["data"]["n_points"] == 100 else 9.0
        run.update(results=run.results | {"baselines": {"val": {"mean": {"mse": level}}}})
    _, found = groups(tmp_path)
    names = {(g.hparams["data.n_points"].number_value, g.hparams["model.hidden_size"].number_value): g.name
             for g in found}  # fmt: skip
    assert {key: name[1:] for key, name in names.items()} == {
        (100, 16): "001", (100, 8): "002", (200, 16): "001", (200, 8): "002"}  # fmt: skip
    assert {name[0] for name in names.values()} == {"A", "B"} and names[100, 8][0] == names[100, 16][0]


def backtest(folder):
    """Two sizes at two origins: the larger is worse at the first and better on the mean. Of one a second seed."""
    for size, origin, seed, value in (
        (8, 0, 0, 0.1),
        (8, 1, 0, 0.9),
        (16, 0, 0, 0.2),
        (16, 1, 0, 0.4),
        (16, 1, 1, 0.4),
    ):
        run = made(folder, "finished", value, hidden_size=size, n_points=origin, seed=seed)
        config = run.config
        config["data"] = {"origin": origin, "seed": seed}
        run.write_config(config, [])
        run.metrics_file.write_text(f"step,metric,value\n1,metric/mse,1\n2,metric/mse,{value}\n")
        lines = {"persistence": {"mse": 1.0 + origin}}
        run.update(
            results=run.results | {"baselines": {"val": lines}, "floor": {}}, label=f"hidden_size-{size}"
        )


def test_the_origins_of_a_backtest_are_one_configuration(tmp_path):
    backtest(tmp_path)
    columns, found = groups(tmp_path)
    assert [(g.name, g.hparams["model.hidden_size"].number_value, len(g.sessions)) for g in found] == [
        ("001", 16, 3), ("002", 8, 2)]  # fmt: skip
    assert set(columns) == {"model.hidden_size", "runs finished"}


def test_the_origins_of_a_backtest_are_averaged_in_groups(tmp_path):
    backtest(tmp_path / "exp")
    assert write_groups(tmp_path / "exp", tmp_path / "groups") == (2, 2)
    names = sorted(path.name for path in (tmp_path / "groups").iterdir())
    assert names[:2] == [
        "001 hidden_size=16 (3 runs at 2 origins)",
        "002 hidden_size=8 (2 runs at 2 origins)",
    ]


def test_a_damaged_config_has_no_place_and_makes_no_columns(tmp_path):
    for size, value in ((4, 0.1), (8, 0.2), (16, 0.3)):
        run = made(tmp_path / "s", "finished", value, hidden_size=size)
        if size == 4:
            (run.folder / "config.yaml").unlink()
    found = {str(one.place): one.values for one in Sessions(tmp_path)._standings()}
    assert found == {"None": {}, "001": {"model.hidden_size": 8}, "002": {"model.hidden_size": 16}}
    assert len(Sessions(tmp_path).contents()) == 3


def test_a_damaged_config_of_one_seed_costs_the_others_nothing(tmp_path):
    for size, value in ((8, 0.1), (16, 0.2)):
        runs = [made(tmp_path, "finished", value, hidden_size=size, seed=seed) for seed in (0, 1)]
        if size == 8:
            (runs[0].folder / "config.yaml").unlink()
    found = {str(one.place): one.values for one in Sessions(tmp_path)._standings()}
    assert found == {"001": {"model.hidden_size": 8}, "002": {"model.hidden_size": 16}}


def test_what_follows_the_seed_has_no_column(tmp_path):
    made(tmp_path, "finished", 0.1, hidden_size=8, seed=1)
    made(tmp_path, "finished", 0.2, hidden_size=16, seed=2)
    assert set(groups(tmp_path)[0]) == {"model.hidden_size", "runs finished"}


def test_what_does_not_compare_has_no_place(tmp_path):
    for size in (8, 16):
        run = made(tmp_path, "finished", size / 100, hidden_size=size)
        best = run.results["best"] | {"monitor": f"loss/of_{size}", "metrics": {}}
        run.update(results=run.results | {"best": best})
    assert [g.name for g in groups(tmp_path)[1]] == ["unranked 1", "unranked 2"]


def test_more_targets_than_letters_have_places_of_their_own(tmp_path):
    rows = [Row(group=number, metric="loss/val") for number in range(30)]
    assert [str(place) for place in standing(rows)][24:] == [
        "Y001",
        "Z001",
        "AA001",
        "AB001",
        "AC001",
        "AD001",
    ]


def test_a_thousand_places_are_in_order_by_name():
    names = [str(place) for place in standing([Row(metric="loss/val", rank=1) for _ in range(1001)])]
    assert names[0] == "0001" and names == sorted(names)


def test_metrics_are_averaged_over_seeds_and_the_first_five_are_those_one_asks_for(tmp_path):
    runs = [made(tmp_path, "finished", 0.1 + seed, seed=seed) for seed in (0, 1)]
    scalars = {r.folder.name: {"best/loss": (9, 0.1 + seed)} for seed, r in enumerate(runs)}
    _, (group,) = groups(tmp_path, scalars)
    tags = [m.name.tag for m in group.metric_values]
    (value,) = (m.value for m in group.metric_values if m.name.tag == "best/loss")
    assert math.isclose(value, 0.6) and tags == ["best/loss"]
    contents = Sessions(tmp_path).contents()
    (experiment,) = (c[metadata.EXPERIMENT_TAG] for c in contents.values() if metadata.EXPERIMENT_TAG in c)
    names = [m.name.tag for m in metadata.parse_experiment_plugin_data(experiment).metric_infos]
    assert names[:5] == ["best/loss", "last/loss", "excess/mse", "run/parameters", "run/seconds"]
    assert set(names[5:]) == {"best/mse", "last/mse"}


def test_of_many_runs_those_of_the_best_configurations_are_offered_and_what_is_being_trained(tmp_path):
    for size in range(1, 51):
        for seed in range(3):
            made(tmp_path, "finished", size + seed / 10, hidden_size=size, seed=seed)
    made(tmp_path, "failed", hidden_size=99)
    running = made(tmp_path, "running", hidden_size=77)
    with lock(running.folder):
        found = offer(Sessions(tmp_path))
    shown = [Run(tmp_path / name).config for name in found.names]
    assert {c["model"]["hidden_size"] for c in shown} == {77, *range(1, 40)} and len(shown) == 40
    assert {c["seed"] for c in shown if c["model"]["hidden_size"] < 77} == {1}  # the one in the middle
    assert str(found) == "40 of 152 runs, one run of each of the best 40 of 52 configurations"

    scalars = {path.parent.name: {"loss/train": (9, 1.0)} for path in tmp_path.glob("*/run.json")}
    for view in (Curves, LinesOnce):
        listed = view(Provider(scalars), Shared(tmp_path)).list_scalars(
            None, experiment_id="", plugin_name="scalars"
        )
        assert len(listed) == 40
    assert len(groups(tmp_path)[1]) == 52  # HParams has all


def test_lines_at_labels_that_begin_alike_are_all_drawn(tmp_path, monkeypatch):
    monkeypatch.setattr(Row, "label", "x" * 120)
    for points in (100, 200):
        run = made(tmp_path / "exp", "finished", 0.1, n_points=points)
        run.metrics_file.write_text("step,metric,value\n1,metric/mse,1\n2,metric/mse,0.1\n")
        levels = {"val": {"mean": {"mse": points / 100}}}
        run.update(results=run.results | {"baselines": levels, "floor": {}})
    write_groups(tmp_path / "exp", tmp_path / "groups")
    assert len(list((tmp_path / "groups").glob("baseline mean at *"))) == 2


def test_configurations_that_got_no_room_are_not_told_as_shown():
    def group(key, count, status):
        return Group("e", key, [Member(f"{key}-{i}", None, {}, status) for i in range(count)])

    found = [group("0", 20, "running"), *(group(str(k), 2, "finished") for k in range(1, 60))]
    said = str(offer(SimpleNamespace(in_order=lambda: found)))
    assert said == "40 of 138 runs, 2 runs of each of the best 21 of 60 configurations"


@pytest.mark.parametrize("room, written", [(None, 45), (MOST, 39)])
def test_groups_and_the_floor_are_as_many_as_there_is_room_for(tmp_path, room, written):
    for size in range(1, 46):
        run = made(tmp_path / "exp", "finished", float(size), hidden_size=size)
        run.metrics_file.write_text("step,metric,value\n" + f"1,metric/mse,{size}\n2,metric/mse,{size / 2}\n")
    assert write_groups(tmp_path / "exp", tmp_path / "groups", room) == (written, 45)
    names = sorted(path.name for path in (tmp_path / "groups").iterdir())
    assert len(names) == written + 1 and "floor" in names and names[0].startswith("001 hidden_size=1 ")
    assert not any("hidden_size=45 " in name for name in names) or room is None


@pytest.mark.parametrize("seeds, shown", [(40, 40), (41, 40)])
def test_of_few_configurations_as_many_runs_are_offered_as_there_is_room_for(tmp_path, seeds, shown):
    values = {made(tmp_path, "finished", 1 + s, seed=s).folder.name: s for s in range(seeds)}
    found = offer(Sessions(tmp_path))
    names = values if found is None else found.names
    assert len(names) == shown and {0, seeds - 1} <= {values[name] for name in names}


def test_what_is_not_a_ledger_of_ours_is_left_as_it_is(tmp_path):
    (tmp_path / "strange").mkdir()
    (tmp_path / "strange" / "run.json").write_text("{not json")
    assert Sessions(tmp_path).contents() == {}


def test_lines_are_drawn_once_for_all_seeds_of_a_data_set_by_the_run_in_the_middle(tmp_path):
    def lines(step, value):
        return {
            "loss/train": (9, 1.0),
            "reference/loss_floor": (step, 0.1),
            "reference/loss_mean": (step, value),
        }

    values = {0: 0.7, 1: 0.4, 2: 0.5}
    scalars = {made(tmp_path, "finished", 0.1, seed=s).folder.name: lines(90, v) for s, v in values.items()}
    middle = list(scalars)[2]
    scalars[made(tmp_path, "running", seed=3, hidden_size=16).folder.name] = lines(0, 0.5)
    other = made(tmp_path, "finished", 0.1, n_points=50).folder.name
    scalars[other] = lines(90, 0.9)
    listed = LinesOnce(Provider(scalars), Shared(tmp_path)).list_scalars(
        None, experiment_id="", plugin_name="scalars"
    )
    assert {run for run, tags in listed.items() if "reference/loss_floor" in tags} == {middle, other}
    assert all("loss/train" in tags for tags in listed.values())


@pytest.mark.parametrize(
    "tag", ["best/mse", "last/mse", "excess/mse", "test/mse", "run/seconds", "reference/mse_mean"]
)
def test_time_series_are_of_curves_alone(tmp_path, tag):
    provider = Provider({"a": {"loss/train": (9, 1.0), "speed/steps_per_s": (9, 1.0), tag: (9, 1.0)}})
    listed = Curves(provider, Shared(tmp_path)).list_scalars(None, experiment_id="", plugin_name="scalars")
    assert set(listed["a"]) == {"loss/train", "speed/steps_per_s"}
