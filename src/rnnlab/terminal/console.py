"""rich's console, safe for a stranger's text: the only console that the commands use."""

import io
from collections.abc import Iterable
from typing import IO, Any

import rich.console
from rich.console import ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

from rnnlab.terminal import notebook
from rnnlab.terminal.html import BLOCK, THEME, WIDTH
from rnnlab.terminal.screen import clean, one_line, raw


class Console(rich.console.Console):  # noqa: TID251
    """Prints a string as one line without markup or emoji; styled or multi-line output must be a `Text`.

    Styles come from rnnlab only: they are applied after the text was cleaned.
    """

    def __init__(self, **options: Any) -> None:
        # a notebook's cell gets lines of text or a `Block`; rich would make a separate output for each line
        super().__init__(highlight=False, markup=False, emoji=False, **{"force_jupyter": False} | options)

    @property
    def block(self) -> notebook.Block | None:
        """The block of a notebook's cell to which this console prints; None where there is none."""
        return None if self.record or self._file is not None else notebook.current()

    def print(self, *objects: Any, **options: Any) -> None:
        if self.quiet or self.block is None:
            super().print(*objects, **options)
        else:
            self.block.add(html(*(objects or ("",)), width=self.width))

    @property
    def file(self) -> IO[str]:
        """The stream below the `Screen`, which would remove rnnlab's own styles, too."""
        return raw(super().file)

    @file.setter
    def file(self, new_file: IO[str]) -> None:
        self._file = new_file

    def render_str(self, text: str, **options: Any) -> Text:
        return super().render_str(one_line(text), **options)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Cleans all segments, also those that come from a `Text`."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=clean(segment.text))


def text(*renderables: Any, width: int = WIDTH) -> str:
    """Plain text of `renderables`, one below the other, as a terminal without colours shows them."""
    console = Console(file=(written := io.StringIO()), width=width, force_terminal=False, color_system=None)
    for one in renderables:
        console.print(one, soft_wrap=isinstance(one, str))
    return written.getvalue().rstrip("\n")


def html(*renderables: Any, width: int = WIDTH) -> str:
    """HTML of `renderables`, one below the other, as `Console.print` shows them."""
    console = Console(record=True, file=io.StringIO(), width=width, force_terminal=False)
    for one in renderables:
        console.print(one, soft_wrap=isinstance(one, str))
    return console.export_html(theme=THEME, inline_styles=True, code_format=BLOCK)
