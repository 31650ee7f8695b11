"""Two CPU devices for all tests, as the command line has on two cores."""

import jax

jax.config.update("jax_num_cpu_devices", 2)
