"""What a format is: how a zoo is written in it, how a zoo is read from it, and what may be asked of it."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from jaxzoo.formats.chosen import Chosen
from jaxzoo.models.networks import Variables
from jaxzoo.spec.architecture import Architecture
from jaxzoo.spec.layers import LAYERS, Layers

OnStates = Callable[[int], None]  # hears how many more states are done
OnNotice = Callable[[str], None]  # hears what a person should know


class Report(NamedTuple):
    """Whom an export or an import tells how far it is, and what a person should know."""

    states: OnStates = lambda count: None
    notice: OnNotice = lambda text: None


class ExportOptions(NamedTuple):
    """What is asked of some formats: each takes those that it names in `Format.options`.

    `final_step` is the number that the last epoch gets in its place. With `per_model` there is a file for each model.
    `sample` keeps that many models, spread over all. `licence` is what the card of a data set says.
    """

    final_step: int | None = None
    per_model: bool = False
    sample: int | None = None
    licence: str | None = None


class ImportOptions(NamedTuple):
    """What an import may do, and what it knows.

    With `skip_damaged` it leaves out members that are damaged, and says so. `sizes` has the heights of images that the
    caller's dataset has: not every network tells it.
    """

    skip_damaged: bool = False
    sizes: tuple[int, ...] = ()


class Network(NamedTuple):
    """The networks of a zoo that is imported: a name of LAYERS, the shape (H, W, C) of an image, and classes.

    `architectures` has those that LAYERS does not. Where models have several, the name is None, and each model's row
    has its own.
    """

    architecture: str | None
    image_shape: tuple[int, int, int]
    classes: int
    architectures: tuple[Architecture, ...] = ()

    @property
    def layers(self) -> Layers:
        """The layers of all models, which have one architecture."""
        assert self.architecture is not None
        own = {each.name: each.layers for each in self.architectures}
        return own[self.architecture] if own else LAYERS[self.architecture]


class Found(NamedTuple):
    """A zoo that lies in another format.

    `rows` has for each model its seed, the activation, the hyperparameters that are known, and whatever else is.
    `epochs` are those with weights. `metrics` has the columns model (the index in `rows`), epoch, losses and
    accuracies (NaN where they are not known), at every epoch that has metrics, and finite where that is said.
    `read` gives the variables of some models at an epoch, leaves (models, ...) float32. `method` is given where the
    models are sparse twins: by which method.
    """

    network: Network
    rows: Sequence[Mapping[str, Any]]
    epochs: tuple[int, ...]
    metrics: pd.DataFrame
    read: Callable[[int, Sequence[int]], Variables]
    batch_size: int | None = None
    method: str | None = None


Write = Callable[[Chosen, Path, ExportOptions, Report], Chosen]
Read = Callable[[Path, ImportOptions, Report], Found]


class Format(NamedTuple):
    """A format: `text` says in a line who reads it, `options` names what of `ExportOptions` it takes.

    `write` fills a new folder, and returns what it wrote: all that was chosen, or less. It raises InputError for a zoo
    that the format cannot hold. `read` is None where zoos cannot be imported from the format. `parts` shares the models
    out to several folders, by the end of their names. `mixtures` says whether models may have several architectures.
    """

    text: str
    write: Write
    read: Read | None = None
    options: tuple[str, ...] = ()
    parts: Callable[[Chosen], Mapping[str, Chosen]] = lambda chosen: {"": chosen}
    mixtures: bool = False
