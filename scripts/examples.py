"""Writes the notebooks of examples/ and executes them: `python scripts/examples.py [NAME ...]`.

They correspond to the six notebooks from which rnnlab was developed. Their outputs are those of their commands, which
take a minute on two cores.
"""

import re
import sys
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient

from options import parsed

FOLDER = Path(__file__).parents[1] / "examples"
PICTURE = 60_000  # the most bytes of a picture in a notebook

IMPORT = "import rnnlab"
NOTEBOOKS: dict[str, list[str]] = {
    "unroll": [
        "# A recurrence, step by step\n\nFive inputs, two hidden units, three steps: computed by hand and "
        "with the library.",
        'from rnnlab.cli import main\n\nmain(["unroll"])',
    ],
    "next_value": [
        "# The next value of a sine, from one value\n\nA hundred points: the input is one value, the "
        "target is the next one. The loss stays near 0.0205, because one value alone doesn't tell whether "
        "the sine rises or falls.",
        f'{IMPORT}\n\nrun = rnnlab.train("experiment=notebook/next_value")',
        "Every scalar of the training is a column:",
        "run.to_frame().tail(3)",
    ],
    "two_layers": [
        "# Two layers\n\nThe same data, two layers of twenty units. More layers don't help if the input "
        "holds too little information; a longer window does.",
        f'{IMPORT}\n\nrun = rnnlab.train("experiment=notebook/two_layers")',
        'rnnlab.train("experiment=notebook/two_layers", "data.window=5", quiet=True)',
    ],
    "sine_windows": [
        "# A sine from windows of twenty points\n\nThe windows are split, not the points: neighbours of a "
        "validation window are in the training part, so the score is too good. `data.split=points` "
        "prevents this.",
        f'{IMPORT}\n\nrun = rnnlab.train("experiment=notebook/sine_windows")',
        "The scores beside the baselines, and a forecast in which the model reads its own output:",
        'run.evaluate(split="val")',
        "run.forecast(100)",
        "Does the size matter? Three sizes with three seeds each, trained in parallel:",
        'sizes = ("data.split=points", "model.hidden_size=8,16,32", "seed=0,1,2", "name=sine_sizes")\n'
        'rnnlab.sweep("experiment=notebook/sine_windows", *sizes, quiet=True)',
    ],
    "binary_classifier": [
        "# One label for a sequence of tokens\n\nAn embedding, an Elman network, one sigmoid unit.",
        f'{IMPORT}\n\nrun = rnnlab.train("experiment=notebook/binary_classifier")',
        "The probabilities of both classes for two new sequences:",
        "run.predict([[1, 2, 3, 4], [901, 902, 903, 904]]).round(3)",
    ],
    "char_rnn": [
        "# Characters\n\nA model learns to predict Python's own documentation, one character after the "
        "other.",
        f'{IMPORT}\n\nrun = rnnlab.train("experiment=notebook/char_rnn")',
        'print(run.generate("The ", 300, temperature=0.6, seed=3))',
        "The same with a cell of our own: it is compiled, forward and backward. Its source is kept with "
        "the run.",
        "from torch import sigmoid, tanh\n\n\nclass UGRNN(rnnlab.Cell):  # Collins, Sohl-Dickstein and Sussillo 2016\n"
        "    gates, states = 2, 1\n\n    def step(self, u, state):\n        (h,) = state\n"
        "        c, g = (u + self.recur(h)).chunk(2, dim=-1)\n        g = sigmoid(g)\n"
        "        h = g * h + (1 - g) * tanh(c)\n        return h, (h,)\n\n\n"
        'own = rnnlab.train("experiment=notebook/char_rnn", cell=UGRNN, quiet=True)\n'
        'rnnlab.runs("outputs/notebook/char_rnn")',
    ],
}


def notebook(name: str) -> nbformat.NotebookNode:
    """A notebook that is not executed yet. A cell that is Python is code; others are prose."""
    cells = [
        nbformat.v4.new_code_cell(text) if is_code(text) else nbformat.v4.new_markdown_cell(text)
        for text in NOTEBOOKS[name]
    ]
    for i, cell in enumerate(cells):
        cell["id"] = f"{name}-{i}"
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    return nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel})


def is_code(text: str) -> bool:
    try:
        compile(text, "cell", "exec")
    except SyntaxError:
        return False
    return not text.startswith("#")


def execute(made: nbformat.NotebookNode, folder: Path, seconds: int = 300) -> nbformat.NotebookNode:
    """Executes the cells in a new kernel, in `folder`; raises CellExecutionError where one fails."""
    client = NotebookClient(
        made,
        timeout=seconds,
        record_timing=False,
        coalesce_streams=True,
        resources={"metadata": {"path": str(folder)}},
    )
    return client.execute()


def light(made: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """The notebook without warnings of the kernel; raises ValueError for a picture that is too large."""
    for cell in (cell for cell in made.cells if cell.cell_type == "code"):
        cell["outputs"] = [o for o in cell["outputs"] if o.get("name") != "stderr"]
        for output in cell["outputs"]:
            picture = output.get("data", {}).get("image/png", "")
            if len(picture) * 3 / 4 > PICTURE:
                raise ValueError(f"a picture of {len(picture) * 3 // 4:,} bytes")
            for kind, text in output.get("data", {}).items():
                if kind.startswith("text/"):
                    output["data"][kind] = re.sub(r"/tmp/[^/]*/", "", text)
    made.metadata.pop("language_info", None)
    return made


def main(names: list[str]) -> None:
    parsed(__doc__, names, others=NOTEBOOKS)
    FOLDER.mkdir(exist_ok=True)
    for name in names or NOTEBOOKS:
        with tempfile.TemporaryDirectory() as folder:
            made = light(execute(notebook(name), Path(folder)))
        file = FOLDER / f"{name}.ipynb"
        nbformat.write(made, file)
        print(f"{file.relative_to(FOLDER.parent)}  {file.stat().st_size:,} bytes")


if __name__ == "__main__":
    main(sys.argv[1:])
