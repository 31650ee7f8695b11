"""`jaxzoo bench --tpu` and `--gpu`: what compilers say of training on devices that need not be there."""

import argparse
import dataclasses

import pandas as pd

from jaxzoo.bench import gpu, tpu
from jaxzoo.bench.contenders import SEED_ZOOS
from jaxzoo.commands.arguments import Parser, positive
from jaxzoo.models.engines import engines_for
from jaxzoo.spec.config import load_spec
from jaxzoo.spec.plan import CohortKey, plan_zoo
from jaxzoo.spec.zoo_spec import PRECISIONS
from jaxzoo.training.tuning import candidates_for

ESTIMATED_ZOOS = (SEED_ZOOS["cnn-s"], SEED_ZOOS["cnn-l"], "cifar10-resnet18")

WORDS = {
    "tpu": "the compiler's own estimate, not a measurement",
    "gpu": "an estimate, not a measurement: ns a sample by memory traffic alone and by XLA's model, which is off by a "
    "factor of two or three and leaves out library calls; kernels and library calls are of a training step",
}


def add_options(parser: Parser) -> None:
    """The options of estimates alone."""
    parser.add_argument("--precision", choices=PRECISIONS, default="float32", help="for estimates (float32)")
    parser.add_argument(
        "--candidates", type=positive, metavar="N", help="for estimates: so many of what --engine auto would try (all)"
    )
    parser.add_argument(
        "--lanes", type=_widths, metavar="N,...", help="lane widths for estimates (those that --engine auto would try)"
    )


def _widths(text: str) -> list[int]:
    return [positive(part) for part in text.split(",")]


def estimates(options: argparse.Namespace) -> pd.DataFrame:
    """A row for every program that the options ask for; the column `chip` names the device."""
    platform, device = ("tpu", options.tpu) if options.tpu else ("gpu", options.gpu)
    estimate = tpu.estimate if options.tpu else gpu.estimate
    rows = []
    for name in options.zoos or ESTIMATED_ZOOS:
        spec = dataclasses.replace(load_spec(name), precision=options.precision)
        key = plan_zoo(spec).cohorts[0].key
        rows += [
            {"zoo": name, **estimate(key, engine, lanes, device)} for engine, lanes in _ways(key, platform, options)
        ]
    print(f"{device}: {WORDS[platform]}")
    return pd.DataFrame(rows).assign(chip=device)


def _ways(key: CohortKey, platform: str, options: argparse.Namespace) -> list[tuple[str, int]]:
    """The engines and lanes that are asked for, else those that --engine auto would try."""
    engines = engines_for(key.layers, key.precision)
    asked = [(engine, lanes) for engine in engines for lanes in options.lanes or ()]
    return asked or list(candidates_for(key, platform)[: options.candidates])
