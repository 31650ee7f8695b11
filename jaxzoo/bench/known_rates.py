"""The rates that a plan begins from: training samples/s of one device, each with where it comes from.

A rate is of the network, the images, the batch size and the augmentation of a published zoo. docs/performance.md and
docs/resnets.md say how each was found; a figure that changes there changes here.
"""

from collections.abc import Sequence
from typing import NamedTuple

from jaxzoo.bench.tpu import CHIPS

DENSE = "dense"  # training of a zoo of one kind of members
MIXED = "mixed"  # training of a zoo of all kinds of a published grid, on average
VARIATIONAL, MAGNITUDE = "variational-dropout", "magnitude"  # training of twins

MEASURED, ESTIMATED, ARITHMETIC = "measured", "estimated", "by arithmetic"


class Source(NamedTuple):
    """Where a rate comes from: `basis` says whether it was measured or estimated, `date` when."""

    basis: str
    date: str
    text: str


class KnownRate(NamedTuple):
    """Training samples/s of one device, over all of its models, with its `lanes` full.

    `trained` says what of the `zoo` was trained: DENSE, MIXED, or twins by a method.
    """

    zoo: str
    trained: str
    engine: str
    lanes: int
    samples_per_s: float
    source: Source
    precision: str = "float32"


XEON = Source(MEASURED, "2026-11", "jaxzoo bench on two cores of an AVX-512 Xeon (virtual, shared), half of it a core")
EPYC = Source(MEASURED, "2026-11", "CPU time of one of two cores of an AMD EPYC (virtual, shared), batches of 256")
H200 = Source(MEASURED, "2026-11", "one NVIDIA H200, JAX 0.11.2, float32, nothing else on the card")
H100 = Source(
    ESTIMATED, "2026-11", "as measured on one NVIDIA H200, which has the same cores and 1.4 times the bandwidth"
)
V5E = Source(ESTIMATED, "2026-11", "cycles that the TPU's compiler estimates (jax 0.10.2, libtpu 0.0.42), at 1.5 GHz")

GRAY, COLOUR, LARGE, RESNET = "mnist-seed", "stl10-small-seed", "stl10-large-seed", "cifar10-resnet18"


def _on_gpu(source: Source) -> tuple[KnownRate, ...]:
    rows = (
        (GRAY, DENSE, 128, 1_820_281),
        (GRAY, DENSE, 256, 1_934_024),
        (GRAY, DENSE, 512, 1_875_583),
        (GRAY, DENSE, 1024, 1_792_473),
        (GRAY, VARIATIONAL, 1024, 886_281),
        (GRAY, MAGNITUDE, 1024, 1_792_067),
        (LARGE, DENSE, 128, 103_000),
        (LARGE, DENSE, 512, 126_081),
        (LARGE, DENSE, 1024, 140_382),
        (LARGE, VARIATIONAL, 512, 62_555),
    )
    return (
        *(KnownRate(zoo, trained, "lanes", lanes, rate, source) for zoo, trained, lanes, rate in rows),
        KnownRate(RESNET, DENSE, "vmap", 1, 6_124, source),
        KnownRate(RESNET, DENSE, "vmap", 1, 56_949, source, "bfloat16"),
    )


def _on_v5e() -> tuple[KnownRate, ...]:
    hertz = CHIPS["v5e"].clock * 1e9
    cycles = (
        (GRAY, DENSE, "lanes", 1024, 751, "float32"),
        (GRAY, DENSE, "lanes", 256, 1_366, "float32"),
        (GRAY, DENSE, "lanes", 128, 1_672, "float32"),
        (GRAY, VARIATIONAL, "lanes", 1024, 1_603, "float32"),
        (GRAY, VARIATIONAL, "lanes", 128, 4_194, "float32"),
        (LARGE, DENSE, "lanes", 1024, 4_254, "float32"),
        (LARGE, DENSE, "lanes", 128, 6_666, "float32"),
        (LARGE, VARIATIONAL, "lanes", 1024, 8_814, "float32"),
        (LARGE, VARIATIONAL, "lanes", 128, 16_086, "float32"),
        (RESNET, DENSE, "vmap", 1, 204_049, "float32"),
        (RESNET, DENSE, "vmap", 1, 57_828, "bfloat16"),
        ("cifar100-resnet18", DENSE, "vmap", 1, 52_036, "bfloat16"),
        ("tiny-imagenet-resnet18", DENSE, "vmap", 1, 227_926, "bfloat16"),
    )
    return tuple(
        KnownRate(zoo, trained, engine, lanes, hertz / each, V5E, precision)
        for zoo, trained, engine, lanes, each, precision in cycles
    )


def _on_cpu() -> tuple[KnownRate, ...]:
    rows = (  # of two cores
        (GRAY, DENSE, 93_478),
        (GRAY, MIXED, 87_231),
        (GRAY, VARIATIONAL, 32_925),
        (GRAY, MAGNITUDE, 94_334),
        (LARGE, DENSE, 19_734),
        (LARGE, MIXED, 18_340),
        (LARGE, VARIATIONAL, 7_061),
        (LARGE, MAGNITUDE, 19_686),
    )
    return (
        *(KnownRate(zoo, trained, "lanes", 16, rate / 2, XEON) for zoo, trained, rate in rows),
        KnownRate(RESNET, DENSE, "vmap", 1, 29.2, EPYC),
    )


KNOWN: dict[str, Sequence[KnownRate]] = {
    "v5e": _on_v5e(),
    "h100": _on_gpu(H100),
    "h200": _on_gpu(H200),
    "cpu": _on_cpu(),
}
