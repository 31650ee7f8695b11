#!/usr/bin/env bash
# The oldest versions that pyproject.toml states, in short: specs, models, storage, reading, formats, a zoo with twins.
set -euo pipefail
bin=$1/bin

"$bin/pip" list --format=freeze | grep -iE '^(jax|jaxlib|flax|optax|orbax-checkpoint|tensorstore|numpy|pandas)=='
# that TensorStore does not say why a bucket cannot be listed
"$bin/pytest" -n 2 -q tests/spec tests/models/test_networks.py tests/reading tests/storage/test_store.py \
    tests/storage/test_leases.py tests/storage/test_packing.py tests/storage/test_buckets.py tests/formats \
    -k "not no_zoo_is_one_line and not without_credentials"
zoo=$(mktemp -d)
trap 'rm -rf "$zoo"' EXIT
"$bin/jaxzoo" generate --zoo digits --models 1 --epochs 1 --engine lanes --lanes 4 --out "$zoo"
"$bin/jaxzoo" verify "$zoo/digits" --deep
"$bin/python" -P - "$zoo/digits" <<'CHECK'
import sys

import jaxzoo

zoo = jaxzoo.open_zoo(sys.argv[1])
assert zoo.weights(1).shape[0] == len(zoo.metrics) // 2 == 1
twins = zoo.twins["variational-dropout"]
assert twins.weights(twins.epochs[-1]).shape == zoo.weights(1).shape
CHECK
