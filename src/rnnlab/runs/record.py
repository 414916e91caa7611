"""The schemas of run.json, manifest.json and config.yaml. A file with other content is refused."""

from functools import cache
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, ConfigDict, Field, Strict, TypeAdapter, ValidationError
from pydantic_core import PydanticCustomError
from typing_extensions import TypedDict

LONG = 100_000  # the most characters of a text, except a diff
LONG_KEY = 200  # the most characters of a key, and of a reason in a message

Status = Literal["queued", "running", "finished", "stopped early", "stopped", "pruned", "failed", "skipped"]
EARLY: Final = "stopped early"  # before its limit, by a callback that set `trainer.should_stop`
ENDED: Final = ("finished", EARLY)  # the training has ended and was scored
Text = Annotated[str, Strict(), Field(max_length=LONG)]
Number = Annotated[float, Strict()]  # may be inf or NaN, as a loss may be
Step = Annotated[int, Strict(), Field(ge=0, lt=2**63)]  # the range of TensorBoard's event files
Flag = Annotated[bool, Strict()]
Scores = dict[str, Number]
OTHERS = ConfigDict(extra="allow")  # later versions may add keys


class Scored(TypedDict, total=False):
    """The best or the last validation; {} where there is none yet."""

    __pydantic_config__ = OTHERS  # type: ignore[misc]
    value: Number
    step: Step
    epoch: Step
    monitor: Text
    metrics: Scores


def _whole(scored: Scored) -> Scored:
    if scored and not {"step", "metrics"} <= scored.keys():
        raise PydanticCustomError("half", "has no step or no metrics")
    return scored


WholeScored = Annotated[Scored, AfterValidator(_whole)]


class Facts(TypedDict, total=False):
    __pydantic_config__ = OTHERS  # type: ignore[misc]
    realised_noise: Number


class Results(TypedDict, total=False):
    """The results of a run."""

    __pydantic_config__ = OTHERS  # type: ignore[misc]
    steps: Step
    parameters: Step
    multiplications: Step
    best: WholeScored
    last: WholeScored
    train: Scores
    test: Scores
    baselines: dict[str, dict[str, Scores]]
    floor: dict[str, Scores]
    facts: dict[str, Facts]


class Record(TypedDict, total=False):
    """run.json."""

    __pydantic_config__ = OTHERS  # type: ignore[misc]
    id: Text
    group: Text  # shared by the runs that differ only in their seed
    label: Text  # the differences to the experiment, without the seed
    experiment: Text
    status: Status
    created: Text
    started: Text
    ended: Text
    why: Text
    parent: Text
    traceback: Text
    can_go_on: Any
    seconds: Number
    engine: dict[str, Text]
    loggers: dict[str, Any]  # by which loggers outside rnnlab continue their output
    results: Results


class Code(TypedDict, total=False):
    __pydantic_config__ = OTHERS  # type: ignore[misc]
    rnnlab: str
    commit: str | None
    clean: Flag
    diff: str


class Machine(TypedDict, total=False):
    __pydantic_config__ = OTHERS  # type: ignore[misc]
    cpu: str
    platform: str
    cores: Annotated[int, Strict()] | None
    cpu_capability: str
    cpu_flags: list[str]
    gpus: list[str]


class Manifest(TypedDict, total=False):
    """manifest.json."""

    __pydantic_config__ = OTHERS  # type: ignore[misc]
    command: list[Text]
    engine: dict[str, Text]
    data_hash: str | None
    code: Code
    sources: dict[str, str]
    syntax: dict[str, str]
    imports: dict[str, str]
    files: dict[str, str]
    versions: dict[str, str]
    machine: Machine
    threads: Scores
    environment: dict[str, str]
    determinism: dict[str, Any]
    changed_on_the_way: list[str]
    kept_sources: dict[str, str]
    not_reproducible: list[Text]


class ConfigFile(TypedDict, total=False):
    """config.yaml, only its sections: the config's schema checks the rest."""

    __pydantic_config__ = OTHERS  # type: ignore[misc]
    model: dict[str, Any]
    data: dict[str, Any]
    optimizer: dict[str, Any]
    scheduler: dict[str, Any]
    trainer: dict[str, Any]
    callbacks: dict[str, Any]
    logger: dict[str, Any]
    paths: dict[str, Any]
    name: Text
    monitor: Text
    mode: Text


Overrides = list[str | int | float | None]


@cache
def _adapter(shape: Any) -> TypeAdapter[Any]:
    return TypeAdapter(shape)


def misfit(content: Any, shape: Any) -> str:
    """Why a file's content does not have its `shape`, in a few words with the key; "" where it has."""
    try:
        _adapter(shape).validate_python(content)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        at = ".".join(str(part)[:LONG_KEY] for part in first["loc"])
        return f"{at or 'it'}: {first['msg'][:LONG_KEY]}"
    return ""
