"""A run that failed, for TensorBoard: also where it came before the Trainer could write, or its worker was killed."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress

from rnnlab.errors import Gone, UserError
from rnnlab.runs.run import Run
from rnnlab.tensorboard import events, summaries
from rnnlab.tensorboard.columns import parameters

LOGGER = "rnnlab.training.loggers.TensorBoard"  # by name: the conductor of a sweep imports neither torch nor Lightning


@contextmanager
def failure_shown(run: Run) -> Iterator[None]:
    """While open, an exception that marks the run as failed is one in TensorBoard, too.

    A run that was made and could not even begin is marked here; what it had learned before it can go on from.
    """
    try:
        yield
    except Gone:
        raise
    except Exception:
        with suppress(OSError):
            if run.known.get("status") == "queued":
                with suppress(Exception), run.failing():
                    raise
                run.update(can_go_on=True)
            if run.known.get("status") == "failed":
                show_failure(run)
        raise


def show_failure(run: Run) -> None:
    """Ends the event file of a failed run with why it failed, having begun it where it was not; does so once.

    A record that was torn by a kill is cut off: TensorBoard would read no further. Where the folder cannot be read
    or written nothing is shown: run.json has the failure, and the sweep goes on.
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
        with file.open("r+b" if before else "wb") as f:
            f.truncate(len(whole))
            f.seek(len(whole))
            f.write((b"" if whole else events.header()) + b"".join(map(events.framed_alone, found)))
