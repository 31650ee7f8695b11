"""The facts of a zoo that stand at the head of its page."""

import dataclasses
from collections.abc import Sequence
from typing import Any

from jaxzoo.reading.layout import layout_width
from jaxzoo.reading.zoo import Zoo
from jaxzoo.spec.form import form_word
from jaxzoo.spec.plan import hyperparameter_names
from jaxzoo.spec.zoo_spec import ZooSpec
from jaxzoo.storage.imported import ImportedRecord, Record

MOST_LISTED = 20  # values


def zoo_facts(zoo: Zoo) -> dict[str, str]:
    """What the zoo is and what it was made with, by name. Hyperparameters that are not known are left out."""
    spec, record = zoo.spec, zoo.record
    twin = {} if record.twin is None else dataclasses.asdict(record.twin.used)
    finished = zoo.epochs[-1] == max(record.weights_expected(record.epochs))
    last = "" if finished else f" of {record.epochs}: unfinished"
    known = [name for name in hyperparameter_names(zoo.members.columns) if zoo.members[name].notna().any()]
    known = [name for name in known if name not in ("architecture", "dataset")]  # which have facts of their own
    return {
        "models": f"{len(zoo.members):,}",
        "epochs": f"{zoo.epochs[0]} to {zoo.epochs[-1]}{last}",
        "architecture": _architecture(zoo),
        "images": _images(zoo),
        **{name: _listed(zoo.members[name].unique().tolist()) for name in known},
        **({} if "batch_size" in known else {"batch size": str(spec.batch_size or "not known")}),
        **({"twins": ", ".join(f"{name} {value}" for name, value in twin.items())} if twin else {}),
        "made with": _maker(record),
        **({"digest": spec.digest} if isinstance(spec, ZooSpec) else {}),
        **({"fingerprint of images": ", ".join(record.fingerprints.values())} if record.fingerprints else {}),
    }


def _architecture(zoo: Zoo) -> str:
    widths = sorted(layout_width(group.layout) for group in zoo.groups.values())
    parameters = f"{widths[0]:,}" if widths[0] == widths[-1] else f"{widths[0]:,} to {widths[-1]:,}"
    return f"{zoo.spec.architecture_label}, {parameters} parameters"


def _listed(values: Sequence[Any]) -> str:
    numbers = [value for value in values if isinstance(value, int | float)]
    if len(values) <= MOST_LISTED or len(numbers) < len(values):
        return ", ".join(map(str, values))
    return f"{len(values):,} from {min(numbers)} to {max(numbers)}"


def _images(zoo: Zoo) -> str:
    height, width, channels = zoo.image_shape
    spec = zoo.spec
    every = spec.every_dataset if isinstance(spec, ZooSpec) else () if spec.dataset is None else (spec.dataset,)
    counts = [f"{each.name}, {each.train:,} + {each.validation:,} + {each.test:,}" for each in every]
    known = f"{'; '.join(counts)} (train, validation, test)" if counts else "not known"
    return f"{known}, {height} x {width} x {channels}"


def _maker(record: Record) -> str:
    """What the zoo was made with; of an imported one, which format it came in."""
    versions = ", ".join(f"{name} {version}" for name, version in record.made.versions.items())
    if isinstance(record, ImportedRecord):
        return f"imported from the format {record.imported} by {versions}"
    ways = sorted({f"{way.engine} engine, {way.lanes} lanes, form {form_word(way.form)}" for way in record.cohorts})
    return "; ".join([*ways, *([record.made.device] if record.made.device else []), versions])
