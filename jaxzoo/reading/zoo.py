"""A zoo on disk, opened for reading."""

import functools
import warnings
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from jaxzoo.datasets import Images, images_at_hand
from jaxzoo.errors import InputError
from jaxzoo.models.modules import module_missing
from jaxzoo.models.networks import Network
from jaxzoo.models.stacks import Form
from jaxzoo.models.variables import network_shapes
from jaxzoo.reading.asking import Asking
from jaxzoo.reading.choices import Choice, is_one
from jaxzoo.reading.examples import TrainingSet, dataset_of, training_set
from jaxzoo.reading.groups import architectures_of, numbers_by_architecture, only_architecture
from jaxzoo.reading.layout import Layout, build_layout, flatten, unflatten
from jaxzoo.reading.pairs import pairs_of
from jaxzoo.reading.selecting import Conditions, kept_states
from jaxzoo.reading.selection import SHARES, Parts, Selection, split_models, with_gap
from jaxzoo.reading.stack import Stack, evaluate_stack, forms_of, stack_of_members
from jaxzoo.reading.stored import Step, StoredTimes, Time
from jaxzoo.reading.torch_state import member_entries, torch_state
from jaxzoo.reading.twins import Twins
from jaxzoo.spec.grid import INITIALIZATIONS
from jaxzoo.spec.imported_spec import AnySpec
from jaxzoo.spec.layers import Layers, module_of
from jaxzoo.spec.module import FlaxModule
from jaxzoo.spec.plan import Member
from jaxzoo.spec.zoo_spec import ZooSpec
from jaxzoo.storage.imported import Record, read_any_record
from jaxzoo.storage.modules import holding, with_module, with_network
from jaxzoo.storage.record import ZooRecord
from jaxzoo.storage.store_paths import AnyPath, zoo_path
from jaxzoo.storage.twins_folders import twins_folders
from jaxzoo.storage.zoo_folder import read_members

if TYPE_CHECKING:
    import torch  # importing jaxzoo imports no PyTorch


class Zoo:
    """A zoo on disk. Everything is read when it is asked for, as NumPy arrays and pandas tables.

    >>> zoo = open_zoo("zoos/digits")
    >>> zoo.weights(epoch=2).shape
    (8, 2464)
    """

    def __init__(self, path: AnyPath, record: Record, members: Sequence[Member], *, partial: bool = False) -> None:
        """The zoo of those of its members, in the order of their numbers: of all, or of one architecture."""
        self.path = path
        self.record = record
        self.partial = partial
        self._members = tuple(members)
        self._by_number = {member.model: member for member in members}
        self._stored = StoredTimes(path, record, self._members, partial=partial)
        self._asking = Asking(path, self._stored, self._members, partial=partial)

    def __repr__(self) -> str:
        return f"Zoo({str(self.path)!r}: {len(self._members)} models, {len(self.epochs)} epochs)"

    def __len__(self) -> int:
        """Raises InputError: it could be the number of models, or of epochs."""
        raise InputError(
            f"{self.path}: len(zoo) is of what? expected len(zoo.members), {len(self._members)} models, or "
            f"len(zoo.epochs), {len(self.epochs)} epochs"
        )

    def __bool__(self) -> bool:
        """True: a zoo has no length that would say it."""
        return True

    @property
    def spec(self) -> AnySpec:
        """The spec that the zoo was made from; of an imported zoo, what is known of its networks and images."""
        return self.record.spec

    @functools.cached_property
    def members(self) -> pd.DataFrame:
        """A row per model: its number, its cohort, its row in the cohort, its seed and its hyperparameters."""
        return pd.DataFrame([member.to_row() for member in self._members])

    @property
    def epochs(self) -> tuple[int, ...]:
        """The epochs whose weights all cohorts hold: fewer than the spec's while a zoo is being made, or where not all
        are kept. 0 is the untrained one. In a zoo that was opened as partial, the epochs that any cohort holds.
        """
        return self._stored.with_weights

    @property
    def steps(self) -> tuple[int, ...]:
        """The steps that the spec asks for and whose weights all cohorts hold; in a partial zoo, those that any holds.

        Steps count through the whole training, from 1 on. The last step of an epoch is that epoch's end.
        """
        return self._stored.with_steps

    def models_at(self, epoch: int | None = None, *, step: int | None = None) -> np.ndarray:
        """The numbers of the models whose weights are there at an epoch, or after a step, in ascending order.

        They are all models, but in a zoo that was opened as partial. Raises InputError for one that is not there.
        """
        return np.array(self._stored.models_at(self._asking.time(epoch, step)))

    @property
    def metrics(self) -> pd.DataFrame:
        """A row per (model, epoch): losses in nats, accuracies in 0..1, and whether the model is still finite.

        Twins also have `sparsity`, zero weights of all weights (biases do not count), and `sparsity_<layer>`. Epochs
        whose weights were let go have metrics, too. An epoch that cannot be read is left out, with a warning.
        """
        table, errors = self._stored.readable_metrics(self._stored.with_metrics)
        for error in errors:
            warnings.warn(f"the metrics of an epoch are left out: {error}", stacklevel=2)
        return table

    def metrics_at(self, epoch: int) -> pd.DataFrame:
        """The rows of `metrics` at one epoch. Raises InputError for an epoch that is not there, or not whole."""
        return self._stored.metrics(self._asking.epochs(epoch, self._stored.with_metrics))

    @property
    def step_metrics(self) -> pd.DataFrame:
        """A row per (model, step of `steps`): heldout_loss in nats, heldout_accuracy, and whether it is still finite.

        They are measured on a fixed part of the held-out images, which the spec's `snapshots` says. `epoch` is how many
        epochs of training a step is, 0.5 in the middle of the first one. Raises InputError where one cannot be read.
        """
        return self._stored.step_metrics(self.steps)

    def params(self, epoch: Choice = None, models: Choice = None, *, step: Choice = None) -> dict[str, Any]:
        """Parameters by layer and kind, leaves (models, ...): of the given `models`, in that order, or of all.

        They are those at the end of an epoch, or, with `step`, after a step of `steps`; one of the two is given. At
        several epochs leaves are (epochs, models, ...). Reads the given epochs alone. `models` may be numbers, or a
        mask such as `zoo.members["activation"] == "tanh"`; a single number is that model, whose axis stays. The same
        holds for epochs, but that a single one has no axis. Raises InputError for an epoch or a model that the zoo does
        not hold.
        """
        own = self.of_one(models)
        return own.unflatten(own.weights(epoch, models, step=step))

    def variables(self, epoch: Choice = None, models: Choice = None, *, step: Choice = None) -> dict[str, Any]:
        """Flax's collections, which a model's module applies: "params", as `params` gives them, and "batch_stats",
        the running means and variances of networks that normalise batches.

        >>> variables = zoo.variables(epoch=2, models=[0])
        >>> images = zoo.images().normalised("test", slice(5))
        >>> jax.vmap(zoo.network_of(0).apply, (0, None))(variables, images).shape
        (1, 5, 10)
        """
        own = self.of_one(models)
        return {
            collection: unflatten(layout, own._read(collection, layout, epoch, models, step))
            for collection, layout in own._layouts.items()
        }

    def weights(self, epoch: Choice = None, models: Choice = None, *, step: Choice = None) -> np.ndarray:
        """Flattened parameters, (models, D) float32, or (epochs, models, D) at several epochs.

        `layout` says which column is what; `params` says what epochs, models and steps may be. Raises InputError for an
        epoch or a model that the zoo does not hold.

        >>> zoo.weights(2, models=zoo.members["activation"] == "tanh").shape
        (3, 2464)
        """
        own = self.of_one(models)
        return own._read("params", own.layout, epoch, models, step)

    def optimizer(self, epoch: int | None = None, models: Choice = None, *, step: int | None = None) -> dict[str, Any]:
        """The optimizer's state at the end of an epoch, or after a step, leaves (models, ...), where it was kept.

        It has the names of Optax: count, mu and nu of Adam; trace of SGD; nu of RMSprop. Moments are by layer and kind,
        as `params`. Raises InputError where the spec keeps none, and for models that differ in their optimizer.
        """
        time = self._asking.time(epoch, step)
        numbers = self._asking.models_of_one_optimizer(self.record, time, models)
        return self._stored.optimizer(time, self._chosen(numbers))

    def outputs(self, epoch: int, split: str = "test", models: Choice = None) -> np.ndarray:
        """The outputs that the zoo keeps of some models, or all, on every example of a split, in the order of `images`.

        They are float16: logits (models, N, classes), or margins (models, N), as the spec's `outputs` says. Values that
        float16 does not hold are infinite; models that diverged have NaN. Raises InputError for an epoch, a split or a
        model whose outputs are not kept.
        """
        asked = self._asking.outputs(self.spec, split)
        (at,) = self._asking.epochs([epoch], self._stored.with_outputs)
        chosen = self._chosen(self._asking.models_with_outputs(at, models))
        assert dataset_of(self.path, self.spec, chosen)  # of several, outputs have different lengths
        return self._stored.outputs(at, asked.kind, split, chosen)

    @property
    def mixed(self) -> bool:
        """Whether its models have several architectures."""
        return len({*self._architectures.values()}) > 1

    @property
    def architecture(self) -> str:
        """The name of the architecture. Raises InputError where models have several."""
        return only_architecture(self.path, self._architectures.values())

    @property
    def layers(self) -> Layers:
        """The layers of every model's network. Raises InputError where models have several architectures."""
        assert self.architecture
        return self.spec.layers_of(self._members[0].hyperparameters)

    @functools.cached_property
    def groups(self) -> Mapping[str, "Zoo"]:
        """By architecture a zoo of the models that have it, under the numbers that they have here."""
        if not self.mixed:
            return {self.architecture: self}
        return {name: self.of_models(own) for name, own in numbers_by_architecture(self._architectures).items()}

    def of_models(self, models: Sequence[int]) -> "Zoo":
        """The zoo of whole cohorts, or of an architecture, whose models have these numbers: of the same files."""
        return Zoo(self.path, self.record, self._chosen(models), partial=self.partial)

    def of_one(self, models: Choice = None) -> "Zoo":
        """The zoo of the architecture that some models have, or all. Raises InputError where they have several."""
        if not self.mixed:
            return self
        return self.groups[only_architecture(self.path, map(self._architectures.__getitem__, self.numbers_of(models)))]

    @functools.cached_property
    def _architectures(self) -> dict[int, str]:
        return architectures_of(self.spec, self._members)

    @property
    def layout(self) -> Layout:
        """The columns of `weights`: layer by layer, kernel (or scale) before bias, each in row-major order."""
        return self._layouts["params"]

    def flatten(self, params: Mapping[str, Any]) -> Any:
        """Parameters with leaves (..., *shape) as rows (..., D), as `weights` are; NumPy or JAX. Raises InputError."""
        return flatten(self.layout, params)

    def unflatten(self, weights: Any) -> dict[str, Any]:
        """Rows (..., D) as parameters with leaves (..., *shape), as `params` are; NumPy or JAX. Raises InputError."""
        return unflatten(self.layout, weights)

    def select(
        self,
        *,
        epochs: Choice = None,
        steps: Choice = None,
        models: Choice = None,
        where: str | None = None,
        finite: bool = False,
        max_abs_weight: float | None = None,
    ) -> Selection:
        """Selects the states at some `epochs` (by default all) of some `models` (all) that meet every condition given.

        With `steps` the states are those after steps; the table then has `step` and the columns of `step_metrics`.
        Epochs, steps and models may be numbers or masks, as `params` takes them.
        `where` is a condition on the columns of `members` and `metrics`, and generalization_gap, such as
        "activation == 'tanh' and test_accuracy > 0.5". `finite` keeps models that are still finite. `max_abs_weight`
        keeps models whose parameters are all finite and at most so large; it reads the weights. Raises InputError,
        also where no state is left.
        """
        times = self._asking.times(self.epochs if epochs is None and steps is None else epochs, steps)
        conditions = Conditions(None if models is None else self.numbers_of(models), where, finite, max_abs_weight)
        table = self._states(times).merge(self.members.drop(columns=["cohort", "row"]), on="model")
        table = kept_states(table, conditions, self._selection)
        if table.empty:
            kinds = "epochs" if steps is None else "steps"
            raise InputError(f"{self.path}: no state is left, of {len(times)} {kinds} and {len(self._members)} models")
        return self._selection(table)

    def _states(self, times: Sequence[Time]) -> pd.DataFrame:
        """A row with metrics for each state that is there, at epochs or after steps."""
        steps = [time.number for time in times if isinstance(time, Step)]
        if steps:
            return self._stored.step_metrics(steps)
        table = with_gap(self._stored.metrics([time for time in times if isinstance(time, int)]))
        if self.partial:  # metrics may be there where weights were let go
            states = {(model, epoch) for epoch in times for model in self._stored.models_at(epoch)}
            table = table[[state in states for state in zip(table["model"], table["epoch"], strict=True)]]
        return table

    def _selection(self, table: pd.DataFrame) -> Selection:
        read = self._weights_at_step if "step" in table.columns else self.weights
        return Selection(table, self._layout_of, read, self._seeds)

    def _layout_of(self, models: Sequence[int]) -> Layout:
        return self.of_one(models).layout

    def _weights_at_step(self, step: int, models: Sequence[int]) -> np.ndarray:
        return self.weights(step=step, models=models)

    def split(
        self,
        train: float = SHARES[0],
        validation: float = SHARES[1],
        test: float = SHARES[2],
        *,
        seed: int = 42,
        by: str = "model",
    ) -> Parts:
        """Shuffles all model numbers and shares them out to `train`, `validation` and `test`.

        Models of one seed and initialisation begin as the same weights. With `by="seed"` all models of a seed go into
        the same part, so that no part knows the beginnings of another's. Raises InputError for fractions that do not
        sum to 1, and where models, or seeds, are too few for every part.
        """
        return split_models(self._seeds, train, validation, test, seed=seed, by=by)

    @property
    def _seeds(self) -> dict[int, int]:
        return {member.model: member.seed for member in self._members}

    @property
    def network(self) -> Any:
        """The Flax module of every model: `network.apply(variables, images)` on normalised images (B, H, W, C).

        Of a zoo of a module it is that which `open_zoo` was given. Raises InputError where none was, and where models
        differ in activation; `network_of(model)` gives each model's own.
        """
        if len({*self._forms.values()}) > 1:
            raise InputError(f"{self.path}: its models differ in activation, expected a call of network_of(model)")
        return self.network_of(self._members[0].model)

    def network_of(self, model: int) -> Any:
        """The Flax module of one model, a `Network`, or that which `open_zoo` was given."""
        own = module_of(self.form_of(model).layers)
        if own is not None and own.module is None:
            raise InputError(f"{self.path}: {module_missing(own)}")
        if own is not None:
            return own.module
        form, drawn = self.form_of(model), self.member(model).hyperparameters["initialization"]
        # an imported model may be drawn in a way of its own: only `init` reads it
        known = drawn if drawn in INITIALIZATIONS else Network.initialization
        return Network(form.layers, form.classes, form.activation, known, form.precision)

    def member(self, model: int) -> Member:
        """One model's number, seed and hyperparameters. Raises InputError for a model that the zoo does not hold."""
        (number,) = self.numbers_of([model])
        return self._by_number[number]

    def to_torch(self, model: int, epoch: int) -> "OrderedDict[str, torch.Tensor]":
        """The state dict of one model for PyTorch, with the names of the original zoos' code, or of torchvision.

        Dense weights of a chain of layers read pixels in PyTorch's order: channel, height, width. Raises InputError
        without PyTorch, too.
        """
        (number,), (at,) = self.numbers_of([model]), self._asking.epochs([epoch])
        dropout = self._by_number[number].hyperparameters["dropout"] or 0.0  # that of an imported one may not be known
        entries = member_entries(self.of_one([number]).layers, self.spec, dropout)
        own = None if self.spec.dataset is None else dataset_of(self.path, self.spec, [self._by_number[number]])
        return torch_state(self.record, own, entries, self.variables(at, [number]), at)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """The shape (H, W, C) of an image, as networks take it."""
        return self.spec.image_shape

    @functools.cached_property
    def _forms(self) -> dict[int, Form]:
        return forms_of(self.spec, self._members)

    def form_of(self, model: int) -> Form:
        """Everything about the network of one model but its variables."""
        (number,) = self.numbers_of([model])
        return self._forms[number]

    def stack(self, given: Any, models: Choice = None) -> Stack:
        """A stack of parameters as networks of this zoo (see `jaxzoo.predict_params`). Raises InputError."""
        if models is not None:
            axes = np.shape(models) if np.ndim(models) > 1 else (-1,)
            models = np.reshape(self.numbers_of(np.ravel(models) if np.ndim(models) > 1 else models), axes)
        elif isinstance(given, Selection):
            models = given.table["model"].to_numpy()
        own = self.of_one(None if models is None else models.ravel())
        return stack_of_members(own._forms, own.layout, given, models, str(self.path))

    def evaluate(
        self,
        weights: Any,
        split: str = "test",
        *,
        models: Choice = None,
        data_dir: str | Path | None = None,
        dataset: str | None = None,
    ) -> pd.DataFrame:
        """Mean cross-entropy in nats and accuracy of any stack of parameters, on a split of the zoo's images.

        The table has the columns loss and accuracy and a row per network, in the order of the stack; of a selection it
        has model and epoch, too, and step where the selection has. `weights` and `models` are those of
        `jaxzoo.predict_params`, `data_dir` and `dataset` those of `images`. It is computed by the kernels that train.
        Raises InputError for what does not fit.

        >>> zoo.evaluate(zoo.weights(2)).shape
        (8, 2)
        """
        table = evaluate_stack(self.stack(weights, models), self.images(data_dir, dataset=dataset), split)
        return table.join(weights.states) if isinstance(weights, Selection) else table

    def images(self, data_dir: str | Path | None = None, *, dataset: str | None = None) -> Images:
        """The images that the zoo was made of, as they lie prepared in `data_dir`.

        `dataset` is the name of one of its data sets, where its models were trained on several.

        A zoo may come from anybody: nothing is downloaded, nothing outside of `data_dir` is read, and without one only
        the datasets of jaxzoo's own zoos are looked for in the usual place; `jaxzoo.load_images(zoo.spec.dataset)`
        prepares them. Raises InputError where the images are not there, or are not those that the zoo was made of.
        """
        own = dataset_of(self.path, self.spec, self._members, dataset)
        images = images_at_hand(own, data_dir)
        if own.name in self.record.fingerprints:  # an imported zoo has none
            images.check_fingerprint(self.record.fingerprints[own.name], self.path)
        return images

    def training_set(
        self, models: Choice = None, *, epoch: int | None = None, data_dir: str | Path | None = None
    ) -> TrainingSet:
        """Which training images models saw in an epoch (by default the last), a bit each, and under which labels.

        Where that depends on labels, `data_dir` is where the images lie (see `images`). Raises InputError, also for an
        imported zoo.

        >>> zoo.training_set([0]).seen.shape
        (1, 158)
        """
        chosen = self._chosen(self.numbers_of(models))

        def labels(dataset: str) -> np.ndarray:
            return self.images(data_dir, dataset=dataset).train.labels

        return training_set(self.path, self.spec, chosen, epoch, labels)

    def pairs(self, change: str | None = None) -> pd.DataFrame:
        """The counterfactual pairs: columns base and partner (numbers of models), change and change_epoch.

        `change` names the hyperparameter that differs; None gives all. Raises InputError where there is no such pair.
        """
        return pairs_of(self.path, self._members, change)

    @property
    def twins(self) -> dict[str, "Zoo"]:
        """The sparse twins by method. Each is a zoo: model i is the twin of model i, epoch 0 is the parent's last.

        Of a zoo that got more epochs, twins that were made before are there by names such as "magnitude-of-epoch-5".
        Their `record.parent.epoch` says which epoch they begin from.
        """
        folders = twins_folders(self.path)
        network = self.spec.network if isinstance(self.spec, ZooSpec) else None
        zoos = {name: opened(folder, network, partial=self.partial) for name, folder in folders.items()}
        both = {name: [model for model in zoo._by_number if model in self._by_number] for name, zoo in zoos.items()}
        return Twins(self.path, {name: zoo.of_models(both[name]) for name, zoo in zoos.items()})

    def numbers_of(self, models: Choice) -> list[int]:
        """The numbers of some models, in the order given; of all for None. Raises InputError, as `params` does."""
        return self._asking.models(models)

    @property
    def cohorts(self) -> Mapping[int, Sequence[Member]]:
        """The members of every cohort, in the order of their rows."""
        return self._stored.cohorts

    @functools.cached_property
    def _layouts(self) -> dict[str, Layout]:
        """By collection: "params", and "batch_stats" where networks normalise batches."""
        shapes = network_shapes(self.layers, self.spec.classes, self.image_shape)
        return {collection: build_layout(tree) for collection, tree in shapes.items()}

    def _read(self, collection: str, layout: Layout, epoch: Choice, models: Choice, step: Choice) -> np.ndarray:
        """A collection flattened, (models, D) or (times, models, D)."""
        times = self._asking.times(epoch, step)
        chosen = self._chosen(self._asking.models_at(times, models))
        weights = self._stored.weights(collection, layout, times, chosen)
        return weights[0] if is_one(epoch if step is None else step) else np.stack(weights)

    def _chosen(self, numbers: Sequence[int]) -> list[Member]:
        return [self._by_number[number] for number in numbers]

    def numbers_at(self, epochs: Choice, models: Choice = None) -> list[int]:
        """The numbers of some models, or of all; each has weights at every one of the epochs. Raises InputError."""
        return self._asking.models_at(self._asking.epochs(epochs), models)


def open_zoo(path: str | Path, *, partial: bool = False, network: Any = None) -> Zoo:
    """Opens the zoo in a folder, finished or still being made. Raises InputError where there is none.

    Of a zoo that is still being made, the epochs are those that all cohorts hold. With `partial` they are those that
    any cohort holds, and `zoo.models_at(epoch)` says of which models.

    Where the networks are a Flax module, everything that is on disk can be read without it, and `network` is the module
    for whatever applies it. It is held to the zoo: to its name, settings and shapes, and to the logits that are kept.
    """
    folder = zoo_path(path)
    record = read_any_record(folder)
    if network is not None:
        if not isinstance(record, ZooRecord) or record.spec.network is None:
            raise InputError(
                f"{folder}: network is given, expected none: its networks are {record.spec.architecture_label}"
            )
        record = with_module(folder, record, with_network(record.spec, network).network)
    return Zoo(folder, record, read_members(folder, record), partial=partial)


def opened(path: AnyPath, network: FlaxModule | None, *, partial: bool = False) -> Zoo:
    """`open_zoo` with a module, or without, that was held to the zoo before."""
    record = read_any_record(path)
    if isinstance(record, ZooRecord):
        record = holding(record, network)
    return Zoo(path, record, read_members(path, record), partial=partial)
