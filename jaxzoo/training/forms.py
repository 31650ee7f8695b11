"""Which form the programs of a new zoo have: what compiling costs is set against what choosing for each model costs."""

import math
from collections.abc import Mapping
from typing import NamedTuple

from jax.sharding import Mesh

from jaxzoo.devices import platform_of
from jaxzoo.spec.arithmetic import training_flops
from jaxzoo.spec.form import FORMS, NO_FORM, Form, form_word, settled_form
from jaxzoo.spec.plan import Cohort, Plan, plan_zoo
from jaxzoo.training.checks import takes_forms
from jaxzoo.training.job import Job
from jaxzoo.training.tuning import OnNote


class Costs(NamedTuple):
    """Of a kind of device: seconds to compile what a kind of cohorts needs, and how fast it trains.

    `rates` are the operations/s of a device by lanes. `slower` is how much longer a step takes by the number of
    hyperparameters that stand side by side.
    """

    compiling: float
    rates: Mapping[int, float]
    slower: tuple[float, float, float]


# measured on two cores of an EPYC with CNN-s; a TPU by its compiler's estimate; a GPU's rates on an H200
COSTS = {
    "cpu": Costs(3.0, {16: 40e9}, (1.0, 1.25, 1.3)),
    "tpu": Costs(20.0, {1024: 1850e9, 128: 830e9}, (1.0, 1.02, 1.02)),
    "gpu": Costs(15.0, {256: 1800e9, 128: 1700e9}, (1.0, 1.1, 1.1)),
}
LEAST_SAVED = 15.0  # seconds: for less, members keep the bits that they have in a zoo of any size
TWIN_STEP = 2.4  # dense steps that a step of variational dropout takes


def with_form(job: Job, mesh: Mesh, on_note: OnNote) -> Job:
    """The job of a new zoo, planned with the form that takes the least time by these costs if that saves much.

    Nothing is chosen where a call says the form, or asks for some cohorts only: other machines count on the same ones.
    """
    return formed(job, platform_of(mesh), mesh.size, on_note)


def formed(job: Job, platform: str, devices: int, on_note: OnNote = lambda text: None) -> Job:
    """As `with_form`, for so many devices of a platform, which need not be here."""
    spec, cohorts = job.plan.spec, job.plan.cohorts
    kinds = len({cohort.key for cohort in cohorts})
    if job.form is not None or job.cohorts is not None or kinds == 1 or not takes_forms(spec, job.engine):
        return job
    forms = dict.fromkeys(settled_form(spec, form) for form in FORMS.values())
    plans = {form: job.plan if form == job.plan.form else plan_zoo(spec, form=form) for form in forms}
    seconds = {form: _seconds(job, plan, platform, devices) for form, plan in plans.items()}
    best = min(seconds, key=seconds.__getitem__)
    if seconds[()] - seconds[best] < LEAST_SAVED:
        return job
    on_note(_reason(best, kinds, plans[best], seconds))
    return job._replace(plan=plans[best])


def _reason(form: Form, kinds: int, plan: Plan, seconds: dict[Form, float]) -> str:
    programs = len({cohort.key for cohort in plan.cohorts})
    saved = seconds[()] - seconds[form]
    return (
        f"form {form_word(form)}: programs for {programs} of {kinds} kinds to compile, and fuller lanes: some "
        f"{saved:,.0f} s less than with form {NO_FORM}"
    )


def _seconds(job: Job, plan: Plan, platform: str, devices: int) -> float:
    """What compiling and training take."""
    costs = COSTS.get(platform, COSTS["gpu"])
    programs = len({cohort.key for cohort in plan.cohorts}) * (1 if job.twin is None else 2)
    rates = costs.rates if job.lanes is None else {job.lanes: max(costs.rates.values())}
    training = sum(
        min(_operations(job, cohort, lanes * devices) / (rate * devices) for lanes, rate in rates.items())
        for cohort in plan.cohorts
    )
    return programs * costs.compiling + training * costs.slower[len(plan.form)]


def _operations(job: Job, cohort: Cohort, width: int) -> float:
    """Those of a cohort and its twins, in slabs of so many models, with those of empty lanes."""
    key = cohort.key
    lanes = math.ceil(len(cohort.members) / width) * width
    epochs: float = job.plan.spec.epochs
    if job.twin is not None:
        epochs += job.twin.length * (TWIN_STEP if job.twin.method == "variational-dropout" else 1)
    return lanes * epochs * key.dataset.train * training_flops(key.layers, key.dataset)
