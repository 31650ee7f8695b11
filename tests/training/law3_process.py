"""Prints a digest of trained weights, from a process with as many CPU devices as the argument says."""

import hashlib
import sys

import jax

jax.config.update("jax_num_cpu_devices", int(sys.argv[1]))

from test_train import end_of, mixed_spec  # noqa: E402

from jaxzoo.devices import model_mesh  # noqa: E402

assert model_mesh().size == int(sys.argv[1])
digest = hashlib.sha256()
for leaves in end_of(mixed_spec(), range(64), model_mesh()).values():
    for leaf in leaves:
        digest.update(leaf.tobytes())
print(digest.hexdigest())
