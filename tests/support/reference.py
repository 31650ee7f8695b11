"""Slow and obvious NumPy versions of one model's arithmetic, in float64."""

import numpy as np


def convolve(images_BHWC, kernel_KKCO):
    """Cross-correlation without padding."""
    K, _, _, outputs = kernel_KKCO.shape
    B, H, W, _ = images_BHWC.shape
    result = np.zeros((B, H - K + 1, W - K + 1, outputs))
    for row in range(H - K + 1):
        for column in range(W - K + 1):
            window = images_BHWC[:, row : row + K, column : column + K]
            result[:, row, column] = np.einsum("bijc,ijco->bo", window, kernel_KKCO)
    return result


def convolution_gradients(images_BHWC, kernel_KKCO, cotangent_BHWO):
    """Gradients of sum(convolve * cotangent) by images and kernel, position by position."""
    K = kernel_KKCO.shape[0]
    images, kernel = np.zeros_like(images_BHWC), np.zeros_like(kernel_KKCO)
    for row in range(cotangent_BHWO.shape[1]):
        for column in range(cotangent_BHWO.shape[2]):
            here = cotangent_BHWO[:, row, column]
            place = np.s_[:, row : row + K, column : column + K]
            images[place] += np.einsum("bo,ijco->bijc", here, kernel_KKCO)
            kernel += np.einsum("bijc,bo->ijco", images_BHWC[place], here)
    return images, kernel


def max_pool_and_gradient(values_HW, cotangent_HW):
    """2 x 2 maxima of one channel, and the gradient, sent to a window's first maximum in reading order."""
    maximum, gradient = np.zeros_like(cotangent_HW), np.zeros_like(values_HW)
    for row in range(cotangent_HW.shape[0]):
        for column in range(cotangent_HW.shape[1]):
            window = values_HW[2 * row : 2 * row + 2, 2 * column : 2 * column + 2]
            maximum[row, column] = window.max()
            first = np.unravel_index(window.argmax(), window.shape)
            gradient[2 * row + first[0], 2 * column + first[1]] = cotangent_HW[row, column]
    return maximum, gradient


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
