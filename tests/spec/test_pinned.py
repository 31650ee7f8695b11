"""What a zoo is stays what it is: the digest, the members and the drawn seeds of every zoo that comes with jaxzoo.

`pinned.json` holds them as they were when the zoos were first published. A change here changes zoos that lie on disks.
"""

import dataclasses
import hashlib
import json
from pathlib import Path

import pytest

from jaxzoo.spec.config import published_specs
from jaxzoo.spec.grid import HYPERPARAMETERS
from jaxzoo.spec.plan import plan_zoo

PINNED = json.loads((Path(__file__).parent / "pinned.json").read_text())


def members_hash(spec):
    """SHA-256 of every member's numbers and hyperparameters, in order; there must be no others, and no pairs."""
    rows = []
    for member in plan_zoo(spec).members:
        assert tuple(member.hyperparameters) == HYPERPARAMETERS
        assert member.pair is None
        rows.append((member.model, member.cohort, member.row, member.seed, *member.hyperparameters.values()))
    return hashlib.sha256(repr(rows).encode()).hexdigest()


def test_every_zoo_is_pinned():
    assert set(PINNED) == set(published_specs())


@pytest.mark.parametrize("name", PINNED)
def test_digest_and_members_are_the_pinned_ones(name):
    spec = published_specs()[name]
    few = dataclasses.replace(spec, models=48, epochs=3, cohort_size=7)
    got = {"digest": spec.digest, "members": members_hash(spec)}
    got |= {"digest_of_few": few.digest, "members_of_few": members_hash(few)}
    assert got == PINNED[name]
