"""How much faster several CPU devices train than one: .venv/bin/python .ci/devices.py [--zoo NAME] [--devices N]

Needs a machine with as many idle cores. Both ways train in one process, in turn; a turn trains one slab on each device.
The rate by CPU time, of all cores together, depends less on what else the machine does.
"""

import argparse
import time
from collections.abc import Callable

import jax
import numpy as np

from jaxzoo import load_spec
from jaxzoo.bench.candidates import training_runner
from jaxzoo.bench.contenders import random_images, typical_cohort
from jaxzoo.devices import cores_here, model_mesh, some_devices, use_all_cores
from jaxzoo.models.engines import engines_for, usual_lanes
from jaxzoo.settings import pinned_settings
from jaxzoo.training.maker import cpu_model
from jaxzoo.training.memory import compile_to_fit
from jaxzoo.training.population import put_images
from jaxzoo.training.programs import build_program


@pinned_settings()
def main() -> None:
    """Prints the rates of both ways and their ratios turn by turn: medians, lowest, highest."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--zoo", default="mnist-seed")
    parser.add_argument("--devices", type=int, default=cores_here())
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=4)
    options = parser.parse_args()
    use_all_cores()
    spec = load_spec(options.zoo)
    cohort = typical_cohort(spec)
    key = cohort.key
    runs = {}
    for count in (1, options.devices):
        mesh = model_mesh(some_devices(count))
        program = build_program(key, engines_for(key.layers)[0], usual_lanes(key.layers, "cpu"), mesh)
        compiled, _ = compile_to_fit(program)
        runs[count] = training_runner(program, compiled, cohort, put_images(random_images(key.dataset), mesh))
    turns = np.array([[timed(run, options.seconds) for run in runs.values()] for _ in range(options.rounds)])
    print(f"{cpu_model()}, {cores_here()} cores, JAX {jax.__version__}; {options.zoo}; {options.rounds} turns")
    for column, what in enumerate(("second", "second of CPU time")):
        rates = turns[:, :, column]
        for count, own in zip(runs, rates.T, strict=True):
            print(f"{count} devices: {spread(own)} samples a {what}")
        print(f"ratio by {what}: {spread(rates[:, 1] / rates[:, 0])}")


def timed(run: Callable[[float], float], seconds: float) -> tuple[float, float]:
    """The samples of a turn by second, and by second of CPU time."""
    begin, used = time.monotonic(), time.process_time()
    rate = run(seconds)
    return rate, rate * (time.monotonic() - begin) / (time.process_time() - used)


def spread(values: np.ndarray) -> str:
    """The median, the lowest and the highest."""
    return f"{np.median(values):,.3g} ({values.min():,.3g} to {values.max():,.3g})"


if __name__ == "__main__":
    main()
