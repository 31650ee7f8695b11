"""Slow and obvious NumPy versions of one model's arithmetic, in float64."""

import numpy as np


def padded(images_BHWC, padding):
    """The images with zeros on all four sides."""
    return np.pad(images_BHWC, ((0, 0), (padding, padding), (padding, padding), (0, 0)))


def convolve(images_BHWC, kernel_KKCO, stride=1, padding=0):
    """Cross-correlation."""
    images = padded(images_BHWC, padding)
    K, _, _, outputs = kernel_KKCO.shape
    B, H, W, _ = images.shape
    result = np.zeros((B, (H - K) // stride + 1, (W - K) // stride + 1, outputs))
    for row, column in np.ndindex(result.shape[1:3]):
        window = images[:, row * stride : row * stride + K, column * stride : column * stride + K]
        result[:, row, column] = np.einsum("bijc,ijco->bo", window, kernel_KKCO)
    return result


def convolution_gradients(images_BHWC, kernel_KKCO, cotangent_BHWO, stride=1, padding=0):
    """Gradients of sum(convolve * cotangent) by images and kernel, position by position."""
    K, (_, H, W, _) = kernel_KKCO.shape[0], images_BHWC.shape
    images = padded(images_BHWC, padding)
    by_images, kernel = np.zeros_like(images), np.zeros_like(kernel_KKCO)
    for row, column in np.ndindex(cotangent_BHWO.shape[1:3]):
        here = cotangent_BHWO[:, row, column]
        place = np.s_[:, row * stride : row * stride + K, column * stride : column * stride + K]
        by_images[place] += np.einsum("bo,ijco->bijc", here, kernel_KKCO)
        kernel += np.einsum("bijc,bo->ijco", images[place], here)
    return by_images[:, padding : padding + H, padding : padding + W], kernel


def max_pool_and_gradient(values_HW, cotangent_HW, size=2, stride=2):
    """Maxima of one channel's windows, and the gradient, sent to a window's first maximum in reading order."""
    maximum, gradient = np.zeros_like(cotangent_HW), np.zeros_like(values_HW)
    for row, column in np.ndindex(cotangent_HW.shape):
        window = values_HW[row * stride : row * stride + size, column * stride : column * stride + size]
        maximum[row, column] = window.max()
        first = np.unravel_index(window.argmax(), window.shape)
        gradient[row * stride + first[0], column * stride + first[1]] += cotangent_HW[row, column]
    return maximum, gradient


def mean_pool_and_gradient(values_HW, cotangent_HW, size, stride):
    """Means of one channel's windows, and the gradient, which all of a window's positions share."""
    mean, gradient = np.zeros_like(cotangent_HW), np.zeros_like(values_HW)
    for row, column in np.ndindex(cotangent_HW.shape):
        place = np.s_[row * stride : row * stride + size, column * stride : column * stride + size]
        mean[row, column] = values_HW[place].mean()
        gradient[place] += cotangent_HW[row, column] / size**2
    return mean, gradient


def optimize(optimizer, weight, gradients, rate, decay, momentum=0.9):
    """The weight after a step for each gradient, by the update rules of PyTorch, and of the papers for nadam and lion.

    `optimizer` is an Optimizer, and `momentum` that of an sgd without its own.
    """
    name, own = optimizer.name, optimizer.values
    first, second = 0.0, 0.0
    for step, raw in enumerate(gradients, start=1):
        gradient = raw if name in ("adamw", "lion") else raw + decay * weight
        if name == "sgd":
            coefficient = momentum if own["momentum"] is None else own["momentum"]
            first = coefficient * first + gradient
            move = gradient + coefficient * first if own["nesterov"] else first
        elif name == "rms_prop":
            second = own["decay"] * second + (1 - own["decay"]) * gradient**2
            move = gradient / (np.sqrt(second) + own["epsilon"])
        elif name == "lion":
            move = np.sign(own["beta1"] * first + (1 - own["beta1"]) * gradient)
            first = own["beta2"] * first + (1 - own["beta2"]) * gradient
        else:
            beta1, beta2 = own["beta1"], own["beta2"]
            first = beta1 * first + (1 - beta1) * gradient
            second = beta2 * second + (1 - beta2) * gradient**2
            mean = first / (1 - beta1**step)
            if name == "nadam":  # the mean as it will be after a step of the same gradient
                mean = beta1 * first / (1 - beta1 ** (step + 1)) + (1 - beta1) * gradient / (1 - beta1**step)
            move = mean / (np.sqrt(second / (1 - beta2**step)) + own["epsilon"])
        decoupled = decay * weight if name in ("adamw", "lion") else 0.0
        weight = weight - rate * (move + decoupled)
    return weight
