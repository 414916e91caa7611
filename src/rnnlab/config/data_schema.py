"""The schemas of the data sets: keys, types and bounds."""

import codecs
import math
from collections.abc import Iterator
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from rnnlab.config.fields import (
    NOT_IN_ID,
    NOT_IN_ID_AT_DEFAULT,
    Count,
    CountFrom2,
    Described,
    Flag,
    Natural,
    NonNegative,
    Number,
    Positive,
    Probability,
    Seed,
    Text,
    wrong,
)
from rnnlab.config.files import file, files
from rnnlab.config.node import Node, Problem

ALL_TEST = [0.0, 0.0, 1.0]  # for a model that is already trained
PERIOD = r"(0*[1-9]\d*)?(s|min|h|d|w|month|quarter|year)"


def _fractions(parts: list[float]) -> list[float]:
    if len(parts) != 3:
        raise wrong("must be three numbers: the shares of training, validation and test")
    if abs(math.fsum(parts) - 1) > 1e-6:
        raise wrong("the three shares must sum to 1, not to {total:g}", total=math.fsum(parts))
    if parts[0] == 0 and parts != ALL_TEST:
        raise wrong("training needs a share above 0")
    return parts


def _encoding(name: str) -> str:
    try:
        codecs.lookup(name)
    except LookupError:
        raise wrong("Python knows no such encoding; usual are utf-8, latin-1, cp1252") from None
    return name


def _tab(delimiter: Any) -> Any:
    return "\t" if delimiter == r"\t" else delimiter


def _no_repeats(names: str | list[str]) -> str | list[str]:
    if isinstance(names, list) and len(set(names)) < len(names):
        raise wrong("names a column twice")
    return names


Fractions = Annotated[
    list[NonNegative], AfterValidator(_fractions), Described("three numbers of at least 0 that sum to 1")
]
Encoding = Annotated[Text, AfterValidator(_encoding)]
TextFiles = Annotated[
    Text | list[Text],
    Field(min_length=1),
    AfterValidator(files),
    Described("a file, a folder or a list of files"),
]
DataFile = Annotated[Text, AfterValidator(file), Described("a file")]
Columns = Annotated[
    Text | list[Text],
    Field(min_length=1),
    AfterValidator(_no_repeats),
    Described("a column's name or a list of names"),
]


Names = Annotated[list[Text], AfterValidator(_no_repeats), Described("a list of words")]
Character = Annotated[Text, Field(min_length=1, max_length=1), Described("one character")]
Country = Annotated[
    Text,
    Field(pattern=r"^[A-Z]{2}(-[A-Z0-9]+)?$"),
    Described("a country such as DE, or a region such as DE-BY"),
]
CYCLES = ("minute", "hour", "weekday", "day", "week", "month", "quarter")


class DataSchema(Node):
    kind: ClassVar[str] = ""
    batch_size: Natural
    fractions: Fractions

    def training_problems(self) -> Iterator[Problem]:
        """Problems that prevent a training on this data, but not a test of a trained model."""
        if self.fractions == ALL_TEST:
            yield "fractions", "training needs a share above 0"


class WindowedSchema(DataSchema):
    kind: ClassVar[str] = "series"
    window: Count
    horizon: Count
    seed: Seed


class SineSchema(WindowedSchema):
    choice: ClassVar[str] = "sine"
    n_points: CountFrom2
    t_max: Positive
    amplitudes: Annotated[list[Number], Field(min_length=1), Described("a list of at least one number")]
    frequencies: Annotated[list[Number], Field(min_length=1), Described("a list of at least one number")]
    noise_std: NonNegative
    split: Literal["points", "targets", "windows"]

    def problems(self) -> Iterator[Problem]:
        if len(self.amplitudes) != len(self.frequencies):
            yield (
                "amplitudes",
                f"{len(self.amplitudes)} amplitudes for {len(self.frequencies)} frequencies; "
                "every component of data.frequencies has one",
            )

    def training_problems(self) -> Iterator[Problem]:
        yield from super().training_problems()
        parts = {"series": 1.0} if self.split == "windows" else dict(zip(PARTS, self.fractions, strict=True))
        for part, fraction in parts.items():
            reaching = self.split == "targets" and part != PARTS[0]
            need = self.horizon if reaching else self.window + self.horizon
            # one point of tolerance: the data set itself decides how a share is rounded
            if 0 < fraction * self.n_points < need - 1:
                yield (
                    "n_points",
                    f"the {part} gets {fraction * self.n_points:.0f} of them, and a window of {self.window} "
                    f"with a horizon of {self.horizon} needs {need}",
                )


class SeriesSchema(WindowedSchema):
    choice: ClassVar[str] = "series"
    path: DataFile
    target: Columns
    columns: Columns | None
    time_column: Text | None
    id_column: Annotated[Text | None, NOT_IN_ID_AT_DEFAULT] = None
    known: Annotated[Names, NOT_IN_ID_AT_DEFAULT] = []  # noqa: RUF012
    calendar: Annotated[list[Literal[CYCLES]], NOT_IN_ID_AT_DEFAULT] = []  # type: ignore[valid-type]  # noqa: RUF012
    holidays: Annotated[Country | None, NOT_IN_ID_AT_DEFAULT] = None
    missing: Literal["error", "interpolate", "drop"]
    resample: (
        Annotated[Text, Field(pattern=f"^{PERIOD}$"), Described("a period such as 30min, 2h, 1d, 1month")]
        | None
    )
    scaling: Literal[
        "standard", "minmax", "none",
        "window_last", "window_mean", "window_standard", "difference", "seasonal_difference",
    ]  # fmt: skip
    log: Annotated[Flag, NOT_IN_ID_AT_DEFAULT] = False
    season: Count | Literal["auto"] | None
    origin: Annotated[Natural, NOT_IN_ID_AT_DEFAULT] = 0
    # the default is that of older runs, which had no such key
    split: Annotated[Literal["targets", "rows"], NOT_IN_ID_AT_DEFAULT] = "rows"
    time_format: Annotated[Text | None, NOT_IN_ID_AT_DEFAULT] = None
    delimiter: Annotated[Character, BeforeValidator(_tab)] | None
    decimal: Annotated[Literal[".", ","], NOT_IN_ID_AT_DEFAULT] = "."
    thousands: Annotated[Character | None, NOT_IN_ID_AT_DEFAULT] = None
    marks: Annotated[Names, NOT_IN_ID_AT_DEFAULT] = []  # noqa: RUF012
    encoding: Encoding

    def problems(self) -> Iterator[Problem]:
        if self.resample is not None and self.time_column is None:
            yield "resample", "needs data.time_column, the column of times"
        if self.calendar and self.time_column is None:
            yield "calendar", "needs data.time_column, the column of times"
        if self.holidays is not None and self.time_column is None:
            yield "holidays", "needs data.time_column, the column of times"
        if self.time_format is not None and self.time_column is None:
            yield "time_format", "needs data.time_column, the column of times"
        targets = [self.target] if isinstance(self.target, str) else self.target
        if both := [name for name in self.known if name in targets]:
            yield "known", f"{both[0]} is a target, whose future the model is to forecast"
        if self.origin and self.fractions[0] and not self.fractions[2]:
            yield "origin", "leaves test parts out, and data.fractions has no test part; try [0.6,0.2,0.2]"
        if self.decimal == self.thousands:
            yield "thousands", "is the decimal mark, too"
        if self.scaling == "difference" and self.window < 2:
            yield "scaling", "needs windows of at least two rows; set data.window=2 or more"


class CharsSchema(DataSchema):
    choice: ClassVar[str] = "chars"
    kind: ClassVar[str] = "text"
    corpus: Literal["pydoc", "tinyshakespeare", "text8", "enwik8"]
    path: TextFiles | None
    val_path: Annotated[TextFiles | None, NOT_IN_ID_AT_DEFAULT] = None
    folder: Annotated[Text, NOT_IN_ID]
    segment: Count
    batch_size: Count
    unknown: Literal["error", "skip", "replace"]
    split: Annotated[Literal["text", "rows"], NOT_IN_ID_AT_DEFAULT] = "text"
    limit: Count | None
    encoding: Encoding

    def problems(self) -> Iterator[Problem]:
        if self.val_path is not None and self.split == "rows":
            yield ("val_path", "data.split=rows takes validation from data.path itself; set data.split=text")


class TokensSchema(DataSchema):
    choice: ClassVar[str] = "tokens"
    kind: ClassVar[str] = "labelled"
    n_sequences: CountFrom2
    vocab_size: CountFrom2
    min_length: Count
    max_length: Count
    classes: CountFrom2
    markers: Count
    marker_rate: Probability
    label_noise: Probability
    seed: Seed

    def problems(self) -> Iterator[Problem]:
        if self.min_length > self.max_length:
            yield "min_length", f"is more than data.max_length={self.max_length}"
        if self.vocab_size <= self.classes * self.markers + 1:
            yield (
                "vocab_size",
                f"{self.classes} classes with {self.markers} markers each, the padding and one filler token "
                f"need at least {self.classes * self.markers + 2}",
            )


PARTS = ("training part", "validation part", "test part")

DATA: dict[str, type[Node]] = {
    "rnnlab.data.Sine": SineSchema,
    "rnnlab.data.Series": SeriesSchema,
    "rnnlab.data.Chars": CharsSchema,
    "rnnlab.data.Tokens": TokensSchema,
}
