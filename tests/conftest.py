"""Two CPU devices, as on a machine with two cores; and programs that one process compiled serve the others."""

import os
import tempfile
from pathlib import Path

# before JAX is imported, and for the command lines that tests start: not in the user's own cache
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(Path(tempfile.gettempdir()) / "jaxzoo-tests-compiled"))

import jax

jax.config.update("jax_num_cpu_devices", 2)
