"""The global random generators of torch, NumPy and Python, for user-defined modules, data and callbacks that use them.

They are seeded from the run's seed. rnnlab's own parts do not draw from them, and a run with only these parts does not
touch them. training/generators.py keeps their states in checkpoints.
"""

import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import wraps
from typing import Any, cast

import numpy as np
import torch

from rnnlab import streams
from rnnlab.config.run_config import RunConfig
from rnnlab.runs import own_generators
from rnnlab.runs.sources import foreign_targets
from rnnlab.runs.unseeded import seeded

States = dict[str, Any]
# purposes of a seed; MADE + EPOCH (or VALIDATED, TESTED) is for making the loader of that part
BUILT, SET_UP, TRAINED, EPOCH, VALIDATED, TESTED, READ, MADE = range(8)


def may_draw(config: RunConfig) -> bool:
    """Whether a run has parts outside rnnlab, which may draw from the global generators."""
    targets = (str(config[part].get("_target_", "")) for part in ("model", "data"))
    return bool(foreign_targets(config)) or not all(target.startswith("rnnlab.") for target in targets)


def seed_all(seed: int, *place: int, devices: bool = True) -> None:
    """Seeds the global generators (with `devices` also those of GPUs) for a `place` in a run: at most two numbers."""
    words = streams.philox(seed, "user", *place).random_raw(3)
    (torch.manual_seed if devices else torch.default_generator.manual_seed)(int(words[0]) >> 1)
    np.random.seed(int(words[1]) & 0xFFFFFFFF)
    random.seed(int(words[2]))


def seed_built(seed: int, parts: Mapping[str, Any]) -> None:
    """Seeds the generators that parts of a run may use while they are built: the global ones, and their modules'.

    This imports the modules: from a stranger's config, pass only permitted parts.
    """
    seed_all(seed, BUILT)
    own_generators.begin(foreign_targets(parts), seed, BUILT)


def states() -> States:
    """The states of the global generators, in plain types and tensors."""
    name, key, *rest = cast(tuple[Any, ...], np.random.get_state(legacy=True))
    found: States = {
        "torch": torch.get_rng_state(),
        "numpy": [name, torch.from_numpy(key.astype(np.int64)), *map(float, rest)],
        "python": list(random.getstate()),
    }
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        found["cuda"] = torch.cuda.get_rng_state_all()
    return found


def restore(saved: States) -> None:
    torch.set_rng_state(saved["torch"])
    name, key, position, has_gauss, gauss = saved["numpy"]
    np.random.set_state((name, key.numpy().astype(np.uint32), int(position), int(has_gauss), gauss))
    version, words, gauss = saved["python"]
    random.setstate((version, tuple(words), gauss))
    here = torch.cuda.device_count()  # the run may have seen more GPUs on the machine where it began
    for device, state in enumerate(saved.get("cuda", [])[:here]):
        torch.cuda.set_rng_state(state, device)


@contextmanager
def left_alone() -> Iterator[None]:
    """Restores the states of the global generators at the end."""
    before = states()
    try:
        yield
    finally:
        restore(before)


@contextmanager
def drawn_by_run() -> Iterator[None]:
    """Inside, the global generators decide a user's random numbers; at the end their states are restored."""
    with left_alone(), seeded():
        yield


def seed_setup(data: Any, seed: int) -> None:
    """Makes each call of a data module's `setup` begin with the same random states: it is called for the training and
    for the test, and a random split must be the same in both. Generators that the module holds begin with their present
    states.
    """
    modules = [type(data).__module__]
    others = own_generators.of_modules(modules)
    known = set(map(id, others.values()))
    held = [
        (generator, own_generators.state(generator))
        for generator in (own_generators.own_generators(vars(data)) | others).values()
    ]

    def seeded(setup: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(setup)
        def begin(*args: Any, **options: Any) -> Any:
            with drawn_by_run():
                seed_all(seed, SET_UP)
                for generator, state in held:
                    own_generators.restore(generator, state)
                since = (g for g in own_generators.of_modules(modules).values() if id(g) not in known)
                own_generators.reset(since, seed, BUILT)  # an earlier call has imported these
                return setup(*args, **options)

        return begin

    data.setup = seeded(data.setup)
