"""The training epoch of CNN-s compiles for all chips of a v5e 2x4 slice, and no chip waits for another in it.

Needs jaxzoo[tpu] in an environment of its own, and no TPU.
"""

import os
import re
import sys

# or libtpu would look for a TPU
os.environ |= {"TPU_SKIP_MDS_QUERY": "1", "TPU_WORKER_HOSTNAMES": "localhost"}

import jax
import numpy as np
from jax.experimental import topologies
from jax.sharding import Mesh

import jaxzoo
from jaxzoo.bench.hlo import compile_for
from jaxzoo.devices import AXIS
from jaxzoo.settings import pinned_settings

COLLECTIVES = re.compile(r"all-reduce|all-gather|all-to-all|collective-permute|reduce-scatter")


@pinned_settings()
def main() -> int:
    """Prints what was compiled, and returns 1 where chips wait for each other."""
    jax.config.update("jax_platforms", "cpu")
    chips = topologies.get_topology_desc(platform="tpu", topology_name="v5e:2x4").devices
    key = jaxzoo.plan_zoo(jaxzoo.load_spec("svhn-seed")).cohorts[0].key
    compiled = compile_for(key, "lanes", 128, Mesh(np.array(chips), (AXIS,)))
    found = sorted({*COLLECTIVES.findall(compiled.text)})
    print(f"{len(chips)} chips, 128 lanes each: compiled in {compiled.seconds:.0f} s; collectives: {found or 'none'}")
    return int(len(chips) != 8 or bool(found))


if __name__ == "__main__":
    sys.exit(main())
