"""jaxzoo trains populations of small neural networks ("model zoos") at once, in JAX.

Array names end in their shape: M models, B batch, N examples, H W C image, K kernel, I inputs, O outputs, D weights,
S steps, E epochs. The model axis is last while training, first on disk.
"""

from jaxzoo.datasets import Images, load_images
from jaxzoo.devices import use_all_cores, use_compilation_cache
from jaxzoo.errors import InputError
from jaxzoo.reading.zoo import Zoo, open_zoo
from jaxzoo.spec.config import load_spec, read_config, zoo_names
from jaxzoo.spec.plan import plan_zoo
from jaxzoo.spec.zoo_spec import TwinSpec, ZooSpec
from jaxzoo.training.zoo import generate, make_twins

__all__ = [
    "Images",
    "InputError",
    "TwinSpec",
    "Zoo",
    "ZooSpec",
    "generate",
    "load_images",
    "load_spec",
    "make_twins",
    "open_zoo",
    "plan_zoo",
    "read_config",
    "use_all_cores",
    "use_compilation_cache",
    "zoo_names",
]
