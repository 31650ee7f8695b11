"""The card of a zoo that is published as a data set: a README.md that begins with the fields that the Hub reads."""

import json
import re

from jaxzoo.formats.hub_facts import (
    FOR_THE_MAKER,
    PAPER,
    Facts,
    hyperparameter_rows,
    images_text,
    listed,
    versions_text,
)

# the names of licences that the Hub knows and that suit data; any other is "other", under a name of its own
LICENCES = (
    "apache-2.0 mit bsd bsd-2-clause bsd-3-clause cc cc0-1.0 cc-by-2.0 cc-by-2.5 cc-by-3.0 cc-by-4.0 cc-by-sa-3.0 "
    "cc-by-sa-4.0 cc-by-nc-2.0 cc-by-nc-3.0 cc-by-nc-4.0 cc-by-nd-4.0 cc-by-nc-nd-3.0 cc-by-nc-nd-4.0 cc-by-nc-sa-2.0 "
    "cc-by-nc-sa-3.0 cc-by-nc-sa-4.0 cdla-sharing-1.0 cdla-permissive-1.0 cdla-permissive-2.0 gpl gpl-2.0 gpl-3.0 "
    "lgpl-3.0 agpl-3.0 isc mpl-2.0 odc-by odbl pddl unlicense"
)
SIZES = ((10**3, "n<1K"), (10**4, "1K<n<10K"), (10**5, "10K<n<100K"), (10**6, "100K<n<1M"))
TAGS = ("model-zoo", "weight-space-learning", "jaxzoo", "jax", "safetensors")


def card(facts: Facts) -> str:
    """The text of README.md."""
    return "\n".join((_header(facts), _made(facts), _loading(facts), _terms(facts)))


def _header(facts: Facts) -> str:
    count = len(facts.members)
    lines = [
        f"pretty_name: {_quoted(facts.title)}",
        *_licence_lines(facts.licence),
        "tags:",
        *(f"- {tag}" for tag in TAGS),
        "task_categories:",
        "- other",
        "size_categories:",
        f"- {next((name for most, name in SIZES if count < most), '1M<n<10M')}",
        "configs:",
        "- config_name: members",
        "  data_files: data/members.parquet",
        "  default: true",
        "- config_name: metrics",
        "  data_files: data/metrics.parquet",
    ]
    return "\n".join(("---", *lines, "---", ""))


def _licence_lines(licence: str | None) -> list[str]:
    if licence is None:
        return ["license: unknown"]
    known = licence.lower()
    if known in LICENCES.split():
        return [f"license: {known}"]
    name = re.sub(r"[^a-z0-9.]+", "-", known).strip("-") or "own"
    return ["license: other", f"license_name: {_quoted(name)}"]


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)  # a string of JSON is one of YAML, too


def _made(facts: Facts) -> str:
    """What the zoo is, and how it came to be."""
    part = (
        "" if len(facts.members) == facts.whole else f" These are {len(facts.members):,} of its {facts.whole:,} models."
    )
    twin = ""
    if facts.twin is not None:
        method = facts.twin.method
        twin = f"\n\nEach is the sparse twin, by {method}, of a model of a dense zoo; epoch 0 is that model's last."
    return f"""# {facts.name}

{facts.title[0].upper()}{facts.title[1:]}, with {facts.parameters:,} parameters each. Weights are there of epoch \
{listed(facts.epochs)}, metrics of every epoch that the zoo has.{part}{twin}

## How it was made

{facts.origin}

| hyperparameter | values |
|---|---|
{hyperparameter_rows(facts)}

Images: {images_text(facts)}

{versions_text(facts)} Models that diverged are kept, with `finite` false in the metrics: at the last epoch \
{facts.diverged:,} of {len(facts.members):,}.
"""


def _loading(facts: Facts) -> str:
    last = f"weights/epoch_{facts.epochs[-1]:05d}.safetensors"
    return f"""## How to load it

Here `folder` is this data set: its name on the Hub, or for weights the folder that it was downloaded to.

```python
from datasets import load_dataset
members = load_dataset(folder, "members", split="train").to_pandas()  # a row per model
metrics = load_dataset(folder, "metrics", split="train").to_pandas()  # a row per (model, epoch)
```

```python
from safetensors.numpy import load_file
weights = load_file(f"{{folder}}/{last}")  # arrays (models, ...) by name, such as params/conv1/kernel
numbers = weights.pop("models")  # row i is of the model numbers[i], as in the column model of both tables
```

```python
import jaxzoo
zoo = jaxzoo.import_zoo(folder, "zoo", "hub")
zoo.weights(epoch={facts.epochs[-1]})  # (models, {facts.parameters}) float32
```

`croissant.json` describes the files for programs, `datasheet.md` for people; `zoo.json` has the shapes of parameters.
For the maker to fill in: what `datasheet.md` leaves open, and `creator`, `url` and `datePublished` of `croissant.json`.
"""


def _terms(facts: Facts) -> str:
    return f"""## Licence

{FOR_THE_MAKER + " None is stated." if facts.licence is None else facts.licence}

## Citation

The zoo:

```bibtex
{facts.citation}
```

The dataset whose design it follows:

```bibtex
{PAPER}
```
"""
