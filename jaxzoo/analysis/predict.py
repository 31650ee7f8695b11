"""What models say of images, and how to change their weights: all at once, by the kernels that trained them."""

from typing import Any

import numpy as np

from jaxzoo.compilation import compilation_cached
from jaxzoo.errors import InputError, require
from jaxzoo.models.networks import Network
from jaxzoo.models.stacks import logits_of, loss_and_gradients
from jaxzoo.reading.choices import Choice, is_one
from jaxzoo.reading.selection import held_states
from jaxzoo.reading.stack import Stack, check_images, check_labels, flattened, rows_by_form, stack_of_network
from jaxzoo.reading.zoo import Zoo
from jaxzoo.settings import pinned_settings

NO_CLASS = -1


@compilation_cached()
@pinned_settings()
def predict_logits(zoo: Zoo, images: np.ndarray, epoch: int, models: Choice = None) -> np.ndarray:
    """Logits (models, N, classes) float32 on normalised images (N, H, W, C), in evaluation mode.

    They are those of all models at an epoch, or of the given `models`, in that order, and are computed on all of JAX's
    default devices. Raises InputError for images of another shape or that are not normalised, and for an epoch or a
    model that the zoo lacks.
    """
    images = check_images(images, zoo.image_shape)
    require(is_one(epoch), "epoch", epoch, "one epoch")
    numbers = zoo.numbers_at(epoch, models)
    logits = np.empty((len(numbers), len(images), zoo.spec.classes), np.float32)
    for form, rows in rows_by_form([zoo.form_of(number) for number in numbers]):
        portion = held_states(zoo.of_one([numbers[rows[0]]]).layout)
        for first in range(0, len(rows), portion):  # of weights 1 GB at a time
            read = rows[first : first + portion]
            variables = zoo.variables(epoch, [numbers[row] for row in read])
            logits[read] = logits_of(form, variables, images)
    return logits


def predict_classes(zoo: Zoo, images: np.ndarray, epoch: int, models: Choice = None) -> np.ndarray:
    """The class of the largest logit, (models, N); -1 where a logit is not finite. Arguments as `predict_logits`."""
    return classes_of(predict_logits(zoo, images, epoch, models))


def classes_of(logits: np.ndarray) -> np.ndarray:
    """The class of the largest logit (..., classes); -1 where one of them is not finite: such a model says nothing."""
    finite = np.isfinite(logits).all(axis=-1)
    return np.where(finite, np.nan_to_num(logits).argmax(axis=-1), NO_CLASS)


@compilation_cached()
@pinned_settings()
def predict_params(
    zoo_or_network: Zoo | Network, params_or_weights: Any, images: np.ndarray, *, models: Choice = None
) -> np.ndarray:
    """Logits (..., N, classes) float32 of any stack of parameters, on normalised images (N, H, W, C).

    The stack is weights (..., D), parameters or variables with leaves (..., *shape), or a selection of states. In a zoo
    whose models differ in activation, `models` says whose networks the weights are: a number, or numbers that broadcast
    to the stack's axes; a selection and a stack of as many weights as the zoo has models need none. It is computed by
    the kernels that train, on all of JAX's default devices. Raises InputError for what does not fit.

    >>> images = zoo.images().normalised("test", slice(5))
    >>> noisy = zoo.weights(2) + 0.01
    >>> predict_params(zoo, noisy, images).shape
    (8, 5, 10)
    """
    images, stack = _brought(zoo_or_network, params_or_weights, images, models)
    logits = np.empty((len(stack.forms), len(images), stack.forms[0].classes), np.float32)
    for form, rows, variables in stack.by_form():
        logits[rows] = logits_of(form, variables, images)
    return logits.reshape(*stack.axes, *logits.shape[1:])


@compilation_cached()
@pinned_settings()
def loss_and_gradient(
    zoo_or_network: Zoo | Network, weights: Any, images: np.ndarray, labels: np.ndarray, *, models: Choice = None
) -> tuple[np.ndarray, np.ndarray]:
    """The mean cross-entropy in nats, (...), and its gradient by the weights, (..., D), both float32.

    They are those of evaluation, over normalised images (N, H, W, C) with labels (N,): without dropout, and with the
    running statistics of batch normalisation. The other arguments are those of `predict_params`.

    >>> images = zoo.images()
    >>> some = slice(0, 20)
    >>> loss, gradient = loss_and_gradient(
    ...     zoo, zoo.weights(2), images.normalised("train", some), images.train.labels[some]
    ... )
    >>> loss.shape, gradient.shape
    ((8,), (8, 2464))
    """
    images, stack = _brought(zoo_or_network, weights, images, models)
    labels = check_labels(labels, images, stack.forms[0].classes)
    loss, gradient = np.empty(len(stack.forms), np.float32), np.empty_like(flattened(stack, stack.variables["params"]))
    for form, rows, variables in stack.by_form():
        loss[rows], gradients = loss_and_gradients(form, variables, images, labels)
        gradient[rows] = flattened(stack, gradients)
    return loss.reshape(stack.axes), gradient.reshape(*stack.axes, -1)


def _brought(zoo_or_network: Zoo | Network, given: Any, images: Any, models: Choice) -> tuple[np.ndarray, Stack]:
    """The images and the stack, checked against each other."""
    if isinstance(zoo_or_network, Zoo):
        return check_images(images, zoo_or_network.image_shape), zoo_or_network.stack(given, models)
    if not isinstance(zoo_or_network, Network):
        raise InputError(f"got a {type(zoo_or_network).__name__}, expected a zoo, or a network of build_network")
    if models is not None:
        raise InputError(f"models is {models!r}, expected none: a network is that of every weight")
    images = check_images(images, (None, None, None))
    return images, stack_of_network(zoo_or_network, given, images)
