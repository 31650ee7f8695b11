"""What factors mean for one member: which of them concern its examples, and how many examples a share is."""

from collections.abc import Mapping, Sequence
from typing import Any

from jaxzoo.errors import InputError, require
from jaxzoo.spec.pairs import neutral_values

SHARES = ("train_fraction", "excluded", "label_noise", "trigger")  # of the training examples
LIMITING = ("train_fraction", "excluded", "excluded_class")  # with these a member sees fewer than all examples
RELABELLING = ("label_noise", "trigger")  # with these it sees other labels
FACTORS_OF_OPTIMIZERS = ("momentum", "beta1", "beta2", "epsilon")
OF_EXAMPLES = (*LIMITING, *RELABELLING, "subset")


def example_numbers(point: Mapping[str, Any], names: Sequence[str], train: int) -> dict[str, int]:
    """The factors of examples among `names` as whole numbers: a share of the `train` examples as their count."""
    wanted = [name for name in OF_EXAMPLES if name in names]
    return {name: round(point[name] * train) if name in SHARES else int(point[name]) for name in wanted}


def examples_seen(point: Mapping[str, Any], train: int, classes: int) -> int:
    """How many training examples a member sees, about: exactly, unless it is limited in more than one way."""
    seen = train * point.get("train_fraction", 1.0) * (1 - point.get("excluded", 0.0))
    return round(seen * (1 - 1 / classes) if point.get("excluded_class", -1) >= 0 else seen)


def check_factors(spec: Any) -> None:
    """Raises InputError for factors that a ZooSpec, which is being built, cannot have, or not together."""
    declared, classes = spec.declared, spec.dataset.classes
    train = min(dataset.train for dataset in spec.every_dataset)
    moved = [name for name in ("momentum", "beta1") if name in declared]
    if moved and spec.schedule.moves_momentum:
        raise _wrong(spec, moved[0], "is declared, expected none: a one-cycle schedule moves it")
    for name in FACTORS_OF_OPTIMIZERS:
        if name in declared and not any(name in optimizer.values for optimizer in spec.source.optimizers):
            raise _wrong(spec, name, "is declared, expected an optimizer that has it")
    if "subset" in declared and "excluded" not in declared:
        raise _wrong(spec, "subset", "is declared without excluded, expected both: it says which are excluded")
    for value in spec.values("excluded_class"):
        if value >= classes:
            raise _wrong(spec, "excluded_class", f"is {value}, expected -1 for none, or a class of 0..{classes - 1}")
    batch, least = max(batch_sizes(spec)), least_examples(spec)
    require(batch <= train, "batch_size", batch, f"at most the {train} training images")
    if least < batch:
        name = "train_fraction" if "train_fraction" in declared else "excluded"
        got = f"is {', '.join(map(str, spec.values(name)))} and may leave {max(least, 0)} examples"
        raise _wrong(spec, name, f"{got}, expected a batch of {batch} or more")
    _check_changes(spec)


def _wrong(spec: Any, name: str, what: str) -> InputError:
    """The error of a factor, whose path leads to where the spec has it."""
    source = next((each for each in ("grid", "draws", "points") if getattr(spec, each) is not None), "grid")
    return InputError(f"{name} {what}", (source, name) if name in spec.source.declared else ("vary",))


def least_examples(spec: Any) -> int:
    """The fewest examples that a member may see, apart from a class that is left out."""
    fraction, excluded = min(spec.values("train_fraction"), default=1.0), max(spec.values("excluded"), default=0.0)
    train = min(dataset.train for dataset in spec.every_dataset)
    return round(fraction * train) - round(excluded * train)


def batch_sizes(spec: Any) -> tuple[int, ...]:
    """The batch sizes that members may have."""
    sizes: tuple[int, ...] = spec.values("batch_size") or (spec.batch_size,)
    return sizes


def _check_changes(spec: Any) -> None:
    require(len({*spec.vary}) == len(spec.vary), "vary", f"{len(spec.vary)} changes", "no change twice")
    neutral = neutral_values(spec.vary, spec.source.declared)
    for change in spec.vary:
        require(change.from_epoch <= spec.epochs, "vary.from_epoch", change.from_epoch, f"1 to {spec.epochs}")
        if spec.grid is not None or change.factor in neutral:
            known = (neutral[change.factor],) if change.factor in neutral else spec.grid.values(change.factor)
            wanted = f"another value than those of the bases, {', '.join(map(str, known))}"
            require(change.typed_value not in known, "vary.value", change.typed_value, wanted)
