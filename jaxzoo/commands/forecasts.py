"""What a zoo will take, as text for the screen."""

from jaxzoo.spec.form import form_word
from jaxzoo.spec.zoo_spec import ZooSpec
from jaxzoo.storage.retention import human_bytes
from jaxzoo.training.forecast import Forecast, Part


def forecast_text(spec: ZooSpec, found: Forecast, devices: int) -> str:
    """A few lines on cohorts, compilations, memory, disk and time."""
    disk = found.zoo.disk.total + (0 if found.twins is None else found.twins.disk.total)
    files = found.zoo.disk.files + (0 if found.twins is None else found.twins.disk.files)
    seconds = found.zoo.seconds + (0 if found.twins is None else found.twins.seconds)
    twins = "" if found.twins is None else f", {human_bytes(found.twins.disk.total)} of it of twins"
    lines = [
        f"zoo        {spec.name}: {found.models:,} models in {_count(found.cohorts, 'cohort')}",
        f"engine     {' or '.join(_way(*way) for way in found.ways)} on each of {_count(devices, 'device')}",
        f"form       {form_word(found.form)}",
        f"compiles   {_count(found.compilations, 'kind')} of cohorts, twins counted apart; kept for the next start",
        f"memory     {human_bytes(found.memory)} of {human_bytes(found.limit)} on each device",
        f"disk       {human_bytes(disk)} in about {files:,} files{twins}",
        f"time       {human_seconds(seconds)}, compiling and saving not counted",
        f"  zoo      {_part(found.zoo)}",
    ]
    if found.twins is not None:
        lines.append(f"  twins    {_part(found.twins)}")
    lines.append(f"           (rates measured here, just now, on cohorts of {found.measured}; others may differ)")
    return "\n".join(lines)


def _way(engine: str, lanes: int) -> str:
    return f"{engine}, {_count(lanes, 'lane')}"


def _part(part: Part) -> str:
    return f"{human_seconds(part.seconds)} at {part.rate:,.0f} training samples/s"


def _count(number: int, thing: str) -> str:
    return f"{number:,} {thing}{'' if number == 1 else 's'}"


def human_seconds(seconds: float) -> str:
    """
    A time in the unit that a person would use.

    >>> human_seconds(40), human_seconds(600), human_seconds(20_000), human_seconds(400_000)
    ('40 s', '10 min', '5.6 h', '4.6 days')
    """
    if seconds < 100:
        return f"{seconds:.0f} s"
    if seconds < 6000:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 48 * 3600 else f"{seconds / 86400:,.1f} days"
