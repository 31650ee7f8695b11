"""The rate of a kind of cohorts on a kind of device: as it is known of that very network, else by arithmetic."""

import dataclasses
import functools
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from jaxzoo.bench.contenders import LANES, SEED_ZOOS, typical_cohort
from jaxzoo.bench.hardware import Hardware
from jaxzoo.bench.known_rates import (
    ARITHMETIC,
    DENSE,
    ESTIMATED,
    KNOWN,
    MAGNITUDE,
    MEASURED,
    MIXED,
    VARIATIONAL,
    Source,
)
from jaxzoo.bench.rates import MIXED as MIXED_CONTENDER
from jaxzoo.errors import InputError, require
from jaxzoo.models.engines import engines_for
from jaxzoo.spec.arithmetic import training_flops
from jaxzoo.spec.config import load_spec
from jaxzoo.spec.layers import module_of, norm_layers
from jaxzoo.spec.plan import CohortKey
from jaxzoo.spec.zoo_spec import ZooSpec

Way = tuple[str, int]  # an engine, and the lanes of a device
Named = Callable[[str], ZooSpec]

# dense steps that a step of twins takes where no twins have a rate: variational dropout computes two convolutions for
# one, the mean and the variance of what it draws; pruning computes as much as a dense step
TWIN_STEPS = {VARIATIONAL: 2.0, MAGNITUDE: 1.0}


class Rate(NamedTuple):
    """Training samples/s of one device on the network, images and batches of a key, which is that of a zoo or bench."""

    key: CohortKey
    name: str
    trained: str
    way: Way
    samples_per_s: float
    source: Source


class Found(NamedTuple):
    """The rate of a kind of cohorts: its basis, whose rate it comes from, and where that comes from."""

    samples_per_s: float
    basis: str
    name: str
    source: Source


def known_rates(hardware: Hardware) -> list[Rate]:
    """The rates of a kind of device that jaxzoo brings along."""
    return [
        Rate(
            reference_key(row.zoo)._replace(precision=row.precision),
            row.zoo,
            row.trained,
            (row.engine, row.lanes),
            row.samples_per_s,
            row.source,
        )
        for row in KNOWN[hardware.word]
    ]


@functools.lru_cache(maxsize=64)
def reference_key(zoo: str) -> CohortKey:
    """The typical kind of cohorts of a zoo that jaxzoo brings along."""
    return typical_cohort(load_spec(zoo)).key


def dense_rates(key: CohortKey, rates: Sequence[Rate], *, mixed: bool = False) -> dict[Way, Found]:
    """By engine and lanes, what is known of training such cohorts; where it is nothing, by arithmetic.

    `mixed` prefers the rate of a whole grid where one is known. Arithmetic takes the rate of the network with the most
    similar number of operations that is trained by the same engine in the same precision. Empty where there is none.
    """
    dense = [rate for rate in rates if rate.trained == DENSE]
    found = {rate.way: _as_it_is(rate) for rate in dense if trains_alike(rate.key, key)}
    if mixed:
        found |= {rate.way: _as_it_is(rate) for rate in rates if rate.trained == MIXED and trains_alike(rate.key, key)}
    if found:
        return found
    similar = [rate for rate in dense if _comparable(rate.key, key)]
    if not similar:
        return {}
    nearest = min(similar, key=lambda rate: _distance(rate.key, key)).key
    return {
        rate.way: Found(
            rate.samples_per_s * _operations(nearest) / _operations(key), ARITHMETIC, rate.name, rate.source
        )
        for rate in similar
        if rate.key == nearest
    }


def twin_rate(key: CohortKey, way: Way, dense: Found, method: str, rates: Sequence[Rate]) -> Found:
    """The rate of training twins of such cohorts, which have a rate themselves.

    Where twins of that very network have none in these lanes, a step is taken to cost as many dense ones as it does in
    other lanes, else for another network, else by `TWIN_STEPS`.
    """
    ratios = []
    for twins in rates:
        of_dense = [rate for rate in rates if (rate.trained, rate.key, rate.way) == (DENSE, twins.key, twins.way)]
        if twins.trained == method and of_dense and _comparable(twins.key, key):
            ratios.append((_rank(twins, key, way), of_dense[0].samples_per_s / twins.samples_per_s, twins))
    if not ratios:
        steps = TWIN_STEPS[method]
        return Found(dense.samples_per_s / steps, ARITHMETIC, f"{steps:g} dense steps", dense.source)
    _, steps, twins = min(ratios, key=lambda each: each[0])
    if trains_alike(twins.key, key) and twins.way == way:
        return _as_it_is(twins)
    return Found(dense.samples_per_s / steps, ARITHMETIC, twins.name, twins.source)


def _rank(rate: Rate, key: CohortKey, way: Way) -> tuple[bool, float, float]:
    """How far a rate is from what is asked for; the network counts more than the lanes."""
    return not trains_alike(rate.key, key), _distance(rate.key, key), abs(math.log(rate.way[1] / way[1]))


def _as_it_is(rate: Rate) -> Found:
    return Found(rate.samples_per_s, rate.source.basis, rate.name, rate.source)


def trains_alike(one: CohortKey, other: CohortKey) -> bool:
    """Whether both kinds of cohorts have the same network, images, batches and precision."""
    return _work(one) == _work(other)


def _work(key: CohortKey) -> tuple[Any, ...]:
    shape, classes = key.dataset.image_shape, key.dataset.classes
    return key.layers, shape, classes, key.batch_size, key.augmentation, key.precision


def _comparable(one: CohortKey, other: CohortKey) -> bool:
    """Whether arithmetic may lead from one rate to the other: the same engine, in the same precision."""
    if module_of(one.layers) is not None or module_of(other.layers) is not None:
        return False  # nobody counts the operations of a module
    return _kind_of(one) == _kind_of(other)


def _kind_of(key: CohortKey) -> tuple[Any, ...]:
    return engines_for(key.layers, key.precision)[0], key.precision, bool(norm_layers(key.layers))


def _operations(key: CohortKey) -> float:
    return float(max(1, training_flops(key.layers, key.dataset)))


def _distance(one: CohortKey, other: CohortKey) -> float:
    return abs(math.log(_operations(one) / _operations(other)))


def document_rates(documents: Mapping[str, Mapping[str, Any]], hardware: Hardware, named: Named) -> list[Rate]:
    """The rates that documents of `jaxzoo bench` hold for a kind of device, by the files' names.

    `named` gives the spec of a zoo that a bench was asked for. Raises InputError where a document holds none.
    """
    rates: list[Rate] = []
    for name, document in documents.items():
        of_machine = _measured_rows(name, document, named) if _is_of(document, hardware) else []
        own = [*of_machine, *_estimated_rows(name, document, hardware, named)]
        if not own:
            machine, platform = document["machine"], hardware.kind.platform
            got = f"{name}: holds no rates of a {hardware.kind.name} (it is of a {machine['platform']})"
            raise InputError(f"{got}, expected those of a {platform}, or estimates for a {hardware.word}")
        rates += own
    return rates


def _is_of(document: Mapping[str, Any], hardware: Hardware) -> bool:
    return document["machine"]["platform"] == hardware.kind.platform


def _measured_rows(name: str, document: Mapping[str, Any], named: Named) -> Iterable[Rate]:
    machine = document["machine"]
    devices = _above_zero(f"{name}: machine.devices", machine["devices"])
    text = f"{name}: {machine['device']}, {devices} devices; {document['command']}"
    source = Source(MEASURED, str(document["date"])[:10], text)
    for row in document["rates"]:
        if row["samples_per_s"] is None:
            continue  # a candidate that failed
        rate = _above_zero(f"{name}: samples_per_s", row["samples_per_s"]) / devices
        key = _key_of(row["architecture"], document, named)
        done = _trained(row["contender"], key)
        if done is not None:
            trained, way = done
            yield Rate(key, row["architecture"], trained, way, rate, source)


def _trained(contender: str, key: CohortKey) -> tuple[str, Way] | None:
    """What a contender of the bench trains, and how; None for the ways that are not jaxzoo's."""
    lanes = 1 if norm_layers(key.layers) else LANES
    engine = engines_for(key.layers, key.precision)[0]
    if contender == MIXED_CONTENDER:
        return MIXED, ("lanes", lanes)
    if contender.startswith("twins, "):
        return contender.removeprefix("twins, "), (engine, lanes)
    found = re.fullmatch(r"(lanes|vmap)(?:, ([1-9][\d,]{0,12}) wide)?, seed zoo", contender)
    if found is None:
        return None
    return DENSE, (found[1], int(found[2].replace(",", "")) if found[2] else lanes)


def _estimated_rows(name: str, document: Mapping[str, Any], hardware: Hardware, named: Named) -> Iterable[Rate]:
    source = Source(ESTIMATED, str(document["date"])[:10], f"{name}: by a compiler; {document['command']}")
    for row in document["estimates"]:
        if row["chip"] != hardware.word or row["samples_per_s"] is None:
            continue
        rate = _above_zero(f"{name}: samples_per_s", row["samples_per_s"])
        key = _key_of(row["zoo"], document, named)._replace(precision=row.get("precision", "float32"))
        trained = document["options"].get("twins") or DENSE
        way = row["engine"], math.ceil(_above_zero(f"{name}: lanes", row["lanes"]))
        yield Rate(key, row["zoo"], trained, way, rate, source)


def _above_zero(where: str, value: Any) -> float:
    number = isinstance(value, int | float) and math.isfinite(value) and value > 0
    require(number, where, value, "a number above 0")
    return float(value)


def _key_of(name: str, document: Mapping[str, Any], named: Named) -> CohortKey:
    """The kind of cohorts that a row of a document is of: an architecture of the published zoos, or a zoo."""
    spec = load_spec(SEED_ZOOS[name]) if name in SEED_ZOOS else named(name)
    batch_size = document["options"].get("batch_size")
    spec = spec if batch_size is None else dataclasses.replace(spec, batch_size=batch_size)
    return typical_cohort(spec).key
