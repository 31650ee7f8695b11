"""What zoos take on given hardware, as text for the screen."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import pandas as pd

from jaxzoo.bench.device_rates import Found
from jaxzoo.bench.hardware import Hardware
from jaxzoo.bench.known_rates import ARITHMETIC, Source
from jaxzoo.bench.planning import Estimate, Layout, Seconds, best_of, estimate_of
from jaxzoo.commands.forecasts import human_seconds
from jaxzoo.commands.tables import MISSING
from jaxzoo.spec.twin_spec import TwinSpec
from jaxzoo.spec.zoo_spec import ZooSpec
from jaxzoo.storage.retention import human_bytes

HOUR = 3600
NOT_COUNTED = "not counted: starts, compiling, saving, copies of images; counted: evaluation, as a third of training"


class Planned(NamedTuple):
    """A zoo, its twins, the epochs that are kept, and its layouts (see `layouts_of`)."""

    spec: ZooSpec
    twin: TwinSpec | None
    kept: tuple[int, ...] | None
    layouts: Mapping[int, Layout]


def plan_text(zoos: Sequence[Planned], hardware: Hardware) -> str:
    """A row per zoo, one of all of them, what the rows mean, and where the rates come from."""
    estimates = [estimate_of(each.layouts, hardware, each.twin, each.kept) for each in zoos]
    sources = _sources(estimates)
    rows = [_row(each, found, hardware, sources) for each, found in zip(zoos, estimates, strict=True)]
    timed = [(each, found) for each, found in zip(zoos, estimates, strict=True) if found.seconds is not None]
    lines = [f"on {hardware.text}: an estimate; nothing was trained for it"]
    if len(timed) > 1:
        rows.append(_total(timed, len(zoos), hardware))
    lines += [pd.DataFrame(rows).to_string(index=False), *_notes(timed, hardware)]
    unknown = [each.spec.name for each, found in zip(zoos, estimates, strict=True) if found.seconds is None]
    if unknown:
        lines.append(f"no rate of {hardware.kind.name} is known for {', '.join(unknown)}: --rates takes measured ones")
    lines += _too_large(zoos, estimates, hardware)
    return "\n".join([*lines, *_source_lines(sources)])


def _row(zoo: Planned, found: Estimate, hardware: Hardware, sources: Mapping[Found, int]) -> dict[str, str]:
    layout = found.layout
    return {
        "zoo": zoo.spec.name,
        "models": f"{len(layout.plan.members):,}",
        "cohorts": f"{len(layout.plan.cohorts):,}",
        "cohort_on": _devices(layout.team),
        "memory": human_bytes(found.memory),
        **_times(found.seconds, found.work, zoo.twin is not None),
        "disk": human_bytes(found.disk),
        "files": f"{found.files:,}",
        "rates": ",".join(str(sources[each]) for each in dict.fromkeys(map(_key, layout.found))) or MISSING,
    }


def _times(seconds: Seconds | None, work: float, twins: bool) -> dict[str, str]:
    """The columns of times: all of it, the zoo, its twins, and the hours of all devices together."""
    if seconds is None:
        return dict.fromkeys(("time", "zoo_time", "twins_time", "device_hours"), MISSING)
    return {
        "time": human_seconds(seconds.both),
        "zoo_time": human_seconds(seconds.zoo),
        "twins_time": human_seconds(seconds.twins) if twins else MISSING,
        "device_hours": f"{work / HOUR:,.{1 if work < 100 * HOUR else 0}f}",
    }


def _total(timed: Sequence[tuple[Planned, Estimate]], zoos: int, hardware: Hardware) -> dict[str, str]:
    """The row of all zoos that have a rate, made at once: their cohorts are shared out over the hardware."""
    team, seconds = _at_once(timed, hardware)
    plans = [each.layouts[team].plan for each, _ in timed]
    work = sum(team * each.both for zoo, _ in timed for each in zoo.layouts[team].cohorts or ())
    return {
        "zoo": f"all {zoos}" if len(timed) == zoos else f"{len(timed)} of {zoos}",
        "models": f"{sum(len(plan.members) for plan in plans):,}",
        "cohorts": f"{sum(len(plan.cohorts) for plan in plans):,}",
        "cohort_on": _devices(team),
        "memory": human_bytes(max(found.memory for _, found in timed)),
        **_times(seconds, work, any(zoo.twin is not None for zoo, _ in timed)),
        "disk": human_bytes(sum(found.disk for _, found in timed)),
        "files": f"{sum(found.files for _, found in timed):,}",
        "rates": "",
    }


def _at_once(timed: Sequence[tuple[Planned, Estimate]], hardware: Hardware) -> tuple[int, Seconds | None]:
    layouts = {team: [zoo.layouts[team] for zoo, _ in timed] for team in hardware.layouts}
    return best_of(layouts, hardware)


def _notes(timed: Sequence[tuple[Planned, Estimate]], hardware: Hardware) -> list[str]:
    """What the times mean."""
    teams = {found.layout.team for _, found in timed}
    notes = [
        "a zoo has all of the hardware; its cohorts are shared out, the longest first, and the busiest device counts"
    ]
    if len(timed) > 1:
        after = sum(found.seconds.both for _, found in timed if found.seconds is not None)
        team, _ = _at_once(timed, hardware)
        teams.add(team)
        notes.append(
            f"the last row has the cohorts of all zoos at once; one zoo after another takes {human_seconds(after)}"
        )
    cohorts = sum(len(zoo.layouts[hardware.machine].plan.cohorts) for zoo, _ in timed)
    machines = hardware.devices // hardware.machine
    if 0 < cohorts < machines:
        notes.append(
            f"{machines - cohorts} of {machines} machines have no cohort: a config's smaller cohort_size makes more"
        )
    if hardware.machine > 1 and hardware.machine in teams:
        notes.append(f"cohort_on {_devices(hardware.machine)}: one process for each machine, lanes over its devices")
    if hardware.devices > 1 and 1 in teams:
        notes.append(f"cohort_on {_devices(1)}: one process for each device, which takes whole cohorts")
    return [*notes, NOT_COUNTED]


def _devices(team: int) -> str:
    return f"{team:,} device{'' if team == 1 else 's'}"


def _too_large(zoos: Sequence[Planned], estimates: Sequence[Estimate], hardware: Hardware) -> list[str]:
    """A line for each zoo whose cohorts a device does not hold; those of a CPU share a memory that is not known."""
    limit = hardware.kind.memory
    return [
        f"{zoo.spec.name}: {hardware.kind.name} has {human_bytes(limit)}: smaller cohorts than these will be made"
        for zoo, found in zip(zoos, estimates, strict=True)
        if limit is not None and found.memory > limit
    ]


def _sources(estimates: Sequence[Estimate]) -> dict[Found, int]:
    """The sources of all rates, numbered as they first come."""
    keys = dict.fromkeys(_key(each) for found in estimates for each in found.layout.found)
    return {key: number for number, key in enumerate(keys, 1)}


def _key(found: Found) -> Found:
    """Where a rate comes from, whatever it is."""
    return found._replace(samples_per_s=0.0)


def _source_lines(sources: Mapping[Found, int]) -> list[str]:
    """A line for each source, with the numbers of the rates that come from it."""
    by_source: dict[Source, list[str]] = {}
    for found, number in sources.items():
        how = f"{ARITHMETIC} from {found.name}" if found.basis == ARITHMETIC else f"of {found.name}"
        by_source.setdefault(found.source, []).append(f"{number} {how}")
    return [
        f"rates {', '.join(rates)}; {source.basis} {source.date}: {source.text}" for source, rates in by_source.items()
    ]
