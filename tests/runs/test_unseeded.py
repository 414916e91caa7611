"""`seeded` where two of them overlap without one being inside the other."""

import random
import threading

import numpy as np

from rnnlab.runs.unseeded import OTHERS, seeded
from waiting import PATIENCE


def test_two_threads_leave_nothing_behind():
    source, module = np.random.bit_generator, random
    before = source.randbits, module.Random.seed, module.seed
    first_in, second_in = threading.Event(), threading.Event()

    def first():
        with seeded():
            first_in.set()
            second_in.wait(PATIENCE)

    thread = threading.Thread(target=first)
    thread.start()
    first_in.wait(PATIENCE)
    with seeded():
        second_in.set()
        thread.join(PATIENCE)  # the one that came first has left
        random.seed(3)
        a = np.random.default_rng().random()
        random.seed(3)
        assert np.random.default_rng().random() == a
    assert (source.randbits, module.Random.seed, module.seed) == before
    random.seed(3)
    assert np.random.default_rng().random() != a


def test_trackers_names_of_runs_are_not_the_runs_to_decide():
    assert {"wandb", "mlflow", "comet_ml", "trackio", "aim", "sentry_sdk"} <= OTHERS


def test_code_without_the_name_of_a_module_is_seeded_too():
    drawn = []
    for name in (None, "mine"):
        space = {"__name__": name, "np": np, "random": random}
        exec("def draw():\n    return np.random.default_rng().random(), random.Random().random()", space)
        with seeded():
            random.seed(3)
            drawn.append(space["draw"]())
    assert drawn[0] == drawn[1]
