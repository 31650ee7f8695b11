"""Two CPU devices, as on a machine with two cores; programs that one process compiled serve the others; no network."""

import os
import tempfile
from pathlib import Path

# before JAX is imported, and for the command lines that tests start: not in the user's own cache
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(Path(tempfile.gettempdir()) / "jaxzoo-tests-compiled"))
os.environ |= {name: "http://127.0.0.1:9" for name in ("http_proxy", "https_proxy")}  # nobody listens there

import jax

jax.config.update("jax_num_cpu_devices", 2)
