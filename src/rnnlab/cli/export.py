"""`rnnlab export`: a trained model as ONNX, as code of torch alone, or as safetensors, with a model card."""

from pathlib import Path

from rnnlab.cli.arguments import Arguments
from rnnlab.errors import UserError, nearest
from rnnlab.terminal.screen import say

WEIGHTS = ("best", "last")


def main(argv: list[str]) -> int | None:
    from rnnlab.export.export import FORMATS, export
    from rnnlab.runs.run import Run

    parser = Arguments(prog="rnnlab export", description=__doc__)
    parser.add_argument("run", metavar="RUN", help="a run's folder")
    parser.add_argument("--to", required=True, metavar="|".join(FORMATS), help="the format")
    parser.add_argument("--out", metavar="FOLDER", help="where to write (default: export/FORMAT in the run)")
    parser.add_argument(
        "--weights", default="best", metavar="best|last", help="which weights (default: best)"
    )
    parser.add_trust()
    asked = parser.parse_args(argv)
    for name, value, possible in (("to", asked.to, FORMATS), ("weights", asked.weights, WEIGHTS)):
        if value not in possible:
            raise UserError(f"--{name} {value}: no such choice.{nearest(value, possible)}")
    out = Path(asked.out) if asked.out else None
    folder, checked = export(Run.open(asked.run), asked.to, out, asked.weights, asked.trust)
    say(f"export       {folder}", *([checked] if checked else []))
    return None
