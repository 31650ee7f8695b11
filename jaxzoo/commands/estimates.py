"""`jaxzoo bench --tpu` and `--gpu`: what compilers say of training on devices that need not be there."""

import argparse
import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from jaxzoo.bench import gpu, tpu
from jaxzoo.bench.contenders import SEED_ZOOS
from jaxzoo.commands.arguments import Parser, positive
from jaxzoo.models.engines import engines_for
from jaxzoo.spec.config import load_spec
from jaxzoo.spec.plan import CohortKey, plan_zoo
from jaxzoo.spec.twin_spec import METHODS, TwinSpec
from jaxzoo.spec.zoo_spec import PRECISIONS
from jaxzoo.training.tuning import candidates_for

SOURCE = 60  # characters of where an operation comes from: the end says most
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
    parser.add_argument("--twins", choices=METHODS, help="for estimates: the training of sparse twins instead")
    parser.add_argument(
        "--kinds", action="store_true", help="for estimates: every kind of cohort of a zoo instead of its first one"
    )
    parser.add_argument(
        "--kernels", type=positive, metavar="N", help="for --tpu: print the N costliest operations of each program, too"
    )


def _widths(text: str) -> list[int]:
    return [positive(part) for part in text.split(",")]


def estimates(options: argparse.Namespace) -> pd.DataFrame:
    """A row for every program that the options ask for; the column `chip` names the device."""
    platform, device = ("tpu", options.tpu) if options.tpu else ("gpu", options.gpu)
    twin = TwinSpec(method=options.twins) if options.twins else None
    rows = []
    for name in options.zoos or ESTIMATED_ZOOS:
        spec = dataclasses.replace(load_spec(name), precision=options.precision)
        kinds = list(dict.fromkeys(cohort.key for cohort in plan_zoo(spec).cohorts))
        for key in kinds if options.kinds else kinds[:1]:
            program = {"zoo": name, "trained": _trained(key, options.twins)}
            for engine, lanes in _ways(key, platform, options):
                if platform == "gpu":
                    rows.append(program | gpu.estimate(key, engine, lanes, device, twin))
                    continue
                row, found = tpu.estimate(key, engine, lanes, device, twin)
                rows.append(program | row)
                if options.kernels:
                    _print_costliest(rows[-1], found, options.kernels)
    print(f"{device}: {WORDS[platform]}")
    return pd.DataFrame(rows).assign(chip=device)


def _trained(key: CohortKey, twins: str | None) -> str:
    """What a row trains: the kind of cohort, and whether it is twins of it."""
    return ", ".join([key.label, *(["dropout"] if key.dropout else []), *([twins] if twins else [])])


def _ways(key: CohortKey, platform: str, options: argparse.Namespace) -> list[tuple[str, int]]:
    """The engines and lanes that are asked for, else those that --engine auto would try."""
    engines = engines_for(key.layers, key.precision)
    asked = [(engine, lanes) for engine in engines for lanes in options.lanes or ()]
    return asked or list(candidates_for(key, platform)[: options.candidates])


def _print_costliest(row: Mapping[str, Any], found: Sequence[tpu.Operation], most: int) -> None:
    """The costliest operations of a program, with their cycles per training sample."""
    program = ", ".join(str(row[name]) for name in ("zoo", "trained", "engine", "lanes"))
    print(f"cycles per sample of the costliest operations of {program}")
    total = sum(each.cycles for each in found)
    for each in found[:most]:
        cycles = row["cycles_per_sample"] * each.cycles / total
        print(f"{cycles:10,.1f}  {each.name:40}  {each.result:36}  {each.source[-SOURCE:]}")
