"""Changes event files that no logger has open: adds a failure, and cuts out what a longer run must not take over."""

from contextlib import suppress

from rnnlab.errors import UserError
from rnnlab.runs.files import part_hard_links
from rnnlab.runs.run import Run
from rnnlab.tensorboard import events, summaries
from rnnlab.tensorboard.columns import parameters

LOGGER = "rnnlab.tensorboard.logger.TensorBoard"  # as text: a sweep's scheduler imports neither torch nor Lightning
PAGES = ("run/", "_hparams_/", "custom_scalars__config__")  # tags that describe the run as a whole


def show_failure(run: Run) -> None:
    """Appends the reason of a failure to a run's event file, once; creates the file if there is none.

    This also works after the worker was killed. An incomplete last record is cut off, because TensorBoard would not
    read beyond it. Where the folder cannot be read or written, nothing happens: run.json has the failure, and the sweep
    continues.
    """
    with suppress(OSError, UserError):
        _show(run)


def _show(run: Run) -> None:
    if not any(node.get("_target_") == LOGGER for node in (run.config.get("logger") or {}).values() if node):
        return
    file = run.events_file
    before = file.read_bytes() if file.is_file() else b""
    whole = b"".join(record for record, _ in events.framed_events(before))
    found: list[bytes] = []
    if not _has(whole, summaries.START):
        asked = run.overrides
        found += [
            summaries.session_start(
                parameters(run.config, asked), run.record.get("group", ""), run.folder.absolute().as_uri()
            ),
            summaries.text("run/asked", summaries.block("\n".join(asked))),
        ]
    if not _has(whole, summaries.END):
        why = run.record.get("why", "")
        if (trace := run.folder / "traceback.txt").is_file():
            why += "\n\n" + trace.read_text(encoding="utf-8", errors="replace")
        found += [summaries.text("run/failure", summaries.block(why)), summaries.session_end("failed")]
    if found:
        part_hard_links(file)
        with file.open("r+b" if before else "wb") as f:
            f.truncate(len(whole))
            f.seek(len(whole))
            f.write((b"" if whole else events.header()) + b"".join(map(events.record, found)))


def _has(content: bytes, tag: str) -> bool:
    """Whether a value has this tag: field 1 of the value, its length before it; a text may have the words too."""
    return b"\x0a" + bytes([len(tag)]) + tag.encode() in content


def without_pages(content: bytes) -> bytes:
    """The content of an event file without what describes its run: config, manifest, hyperparameters, charts, graph."""
    from tensorboard.compat.proto.event_pb2 import Event

    kept = []
    for record, inside in events.framed_events(content):
        event = Event.FromString(inside)
        if not event.graph_def and not any(value.tag.startswith(PAGES) for value in event.summary.value
                                           if value.metadata.plugin_data.plugin_name):  # fmt: skip
            kept.append(record)
    return b"".join(kept)
