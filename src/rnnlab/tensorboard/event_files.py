"""Changes to an event file that no logger has open: why its run failed, and what a longer run takes over of it."""

from contextlib import suppress

from rnnlab.errors import UserError
from rnnlab.runs.files import part_hard_links
from rnnlab.runs.run import Run
from rnnlab.tensorboard import events, summaries
from rnnlab.tensorboard.columns import parameters

LOGGER = "rnnlab.tensorboard.logger.TensorBoard"  # by name: a sweep's scheduler imports neither torch nor Lightning
PAGES = ("run/", "_hparams_/", "custom_scalars__config__")  # tags of what describes a run as a whole


def show_failure(run: Run) -> None:
    """Ends the event file of a failed run with why it failed, and begins the file where there is none; does so once.

    It does not matter whether the Trainer could write, or the worker was killed. A record that a kill tore is cut
    off: TensorBoard would read no further. Where the folder cannot be read or written nothing is shown: run.json has
    the failure, and the sweep goes on.
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
    if summaries.START.encode() not in whole:
        asked = run.overrides
        found += [
            summaries.session_start(
                parameters(run.config, asked), run.record.get("group", ""), run.folder.absolute().as_uri()
            ),
            summaries.text("run/asked", summaries.block("\n".join(asked))),
        ]
    if summaries.END.encode() not in whole:
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


def without_pages(content: bytes) -> bytes:
    """An event file without what it says of its run: config, manifest, hyperparameters, charts, graph."""
    from tensorboard.compat.proto.event_pb2 import Event

    kept = []
    for record, inside in events.framed_events(content):
        event = Event.FromString(inside)
        if not event.graph_def and not any(value.tag.startswith(PAGES) for value in event.summary.value
                                           if value.metadata.plugin_data.plugin_name):  # fmt: skip
            kept.append(record)
    return b"".join(kept)
