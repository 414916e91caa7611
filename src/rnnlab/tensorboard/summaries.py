"""Event bytes for what TensorBoard shows besides scalars: images, text, hyperparameters, a layout of charts."""

import struct
import time
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary, SummaryMetadata
from tensorboard.compat.proto.tensor_pb2 import TensorProto
from tensorboard.compat.proto.types_pb2 import DT_FLOAT, DT_STRING
from tensorboard.plugins.custom_scalar.layout_pb2 import (
    Category,
    Chart,
    Layout,
    MarginChartContent,
    MultilineChartContent,
)
from tensorboard.plugins.hparams import api_pb2
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData, SessionEndInfo, SessionStartInfo

from rnnlab.runs.record import EARLY
from rnnlab.terminal.screen import one_line

# {status of a run: TensorBoard's status of a session}
STATUS = {
    "finished": api_pb2.STATUS_SUCCESS,
    EARLY: api_pb2.STATUS_SUCCESS,
    "failed": api_pb2.STATUS_FAILURE,
    "running": api_pb2.STATUS_RUNNING,
}
EXPERIMENT = "_hparams_/experiment"
START, END = "_hparams_/session_start_info", "_hparams_/session_end_info"


def _event(value: Summary.Value, step: int = 0) -> bytes:
    return Event(wall_time=time.time(), step=step, summary=Summary(value=[value])).SerializeToString()


def _metadata(plugin: str, content: bytes = b"") -> SummaryMetadata:
    return SummaryMetadata(plugin_data=SummaryMetadata.PluginData(plugin_name=plugin, content=content))


def _strings(*values: bytes) -> TensorProto:
    tensor = TensorProto(dtype=DT_STRING, string_val=values)
    if len(values) > 1:
        tensor.tensor_shape.dim.add(size=len(values))
    return tensor


def image(tag: str, png: bytes, step: int) -> bytes:
    width, height = struct.unpack(">II", png[16:24])  # from the PNG's header
    picture = Summary.Image(width=width, height=height, colorspace=4, encoded_image_string=png)
    return _event(Summary.Value(tag=tag, image=picture), step)


def text(tag: str, markdown: str, step: int = 0) -> bytes:
    return _event(
        Summary.Value(tag=tag, metadata=_metadata("text"), tensor=_strings(markdown.encode())), step
    )


def _session(tag: str, content: bytes) -> bytes:
    nothing = TensorProto(dtype=DT_FLOAT)
    nothing.tensor_shape.dim.add(size=0)
    return _event(Summary.Value(tag=tag, metadata=_metadata("hparams", content), tensor=nothing))


def session_start(parameters: Mapping[str, Any], group: str, folder: str) -> bytes:
    """A run's column values. There is no Experiment event: TensorBoard would read only one; without it, it takes the
    union over the runs, with the types of the values.
    """
    return _session(START, start_content(parameters, group, folder, time.time()))


def start_content(parameters: Mapping[str, Any], group: str, folder: str, began: float) -> bytes:
    """HParams' content for the start of a session. Numbers, booleans and texts keep their types; null and lists become
    text.
    """
    start = SessionStartInfo(group_name=group, start_time_secs=began, monitor_url=folder)
    for name, value in parameters.items():
        if isinstance(value, bool):
            start.hparams[name].bool_value = value
        elif isinstance(value, (int, float)):
            start.hparams[name].number_value = value
        else:
            start.hparams[name].string_value = word(value)
    return HParamsPluginData(session_start_info=start).SerializeToString()


def word(value: Any) -> str:
    """A value as text, as in a config."""
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def session_end(status: str) -> bytes:
    """How a run ended, "finished" or "failed". Until then TensorBoard shows "unknown", also for a run that was killed.
    TensorBoard reads only the first value, so that none is written before the end. `rnnlab board` reads run.json
    instead (`rnnlab.tensorboard.sessions`).
    """
    return _session(END, end_content(status, time.time()))


def end_content(status: str, ended: float) -> bytes:
    """HParams' content for the end of a session, or for a run that is in training."""
    return HParamsPluginData(
        session_end_info=SessionEndInfo(status=STATUS[status], end_time_secs=ended)
    ).SerializeToString()


@cache
def layout(charts: tuple[tuple[str, tuple[str, ...]], ...], bands: tuple[str, ...] = ()) -> bytes:
    """Custom scalars: a chart for each (title, tags as regular expressions), and for each tag of `bands` a chart with
    the band between TAG.low and TAG.high.
    """
    drawn = [Chart(title=title, multiline=MultilineChartContent(tag=tags)) for title, tags in charts]
    for tag in bands:
        series = MarginChartContent.Series(value=tag, lower=f"{tag}.low", upper=f"{tag}.high")
        drawn.append(Chart(title=f"{tag}, band over seeds", margin=MarginChartContent(series=[series])))
    content = Layout(category=[Category(title="learning, baselines and floor", chart=drawn)])
    value = Summary.Value(
        tag="custom_scalars__config__",
        metadata=_metadata("custom_scalars"),
        tensor=_strings(content.SerializeToString()),
    )
    return _event(value)


def table(rows: Sequence[tuple[str, Any]]) -> str:
    """A Markdown table with two columns."""
    lines = [f"| {name} | {one_line(value).replace('|', ' ')} |" for name, value in rows]
    return "\n".join(["| | |", "| --- | --- |", *lines])


def block(content: str) -> str:
    """Markdown that shows text unchanged."""
    return "\n".join(f"    {line}" for line in content.splitlines())
