"""One of several processes of two CPU devices that make a zoo together, by the command line or by a call.

host_process.py command ARGUMENTS...              `jaxzoo generate ARGUMENTS...`
host_process.py call CONFIG FOLDER PORT N I       jaxzoo.generate and jaxzoo.make_twins after jax.distributed

"""

import functools
import os
import sys

os.sched_getaffinity = lambda pid: {0, 1}  # however many cores there are

import jax  # noqa: E402

import jaxzoo  # noqa: E402
from jaxzoo.clusters.hosts import join_processes  # noqa: E402
from jaxzoo.commands import generate  # noqa: E402


def call(config, folder, port, processes, process_id):
    for name in ("http_proxy", "https_proxy"):  # JAX would ask them for its own processes
        os.environ.pop(name, None)
    jax.config.update("jax_num_cpu_devices", 2)
    jax.distributed.initialize(f"127.0.0.1:{port}", int(processes), int(process_id))
    (spec,) = jaxzoo.read_config(config)
    assert (len(jax.devices()), len(jax.local_devices())) == (4, 2)
    try:
        jaxzoo.generate(spec, folder, devices=jax.devices())
    except jaxzoo.InputError as error:
        print(error)
    jaxzoo.generate(spec, folder)
    jax.experimental.multihost_utils.sync_global_devices("the zoo is made")  # twins are made of a finished zoo
    jaxzoo.make_twins(folder, jaxzoo.TwinSpec(method="magnitude", epochs=2))


if __name__ == "__main__":
    how, *arguments = sys.argv[1:]
    if "HOSTS_PATIENCE" in os.environ:
        patience = float(os.environ["HOSTS_PATIENCE"])
        generate.join_processes = functools.partial(join_processes, patience=patience)
    sys.exit(generate.main(arguments) if how == "command" else call(*arguments))
