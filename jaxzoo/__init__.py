"""jaxzoo trains populations of small neural networks ("model zoos") at once, in JAX.

Array names end in their shape: M models, B batch, N examples, H W C image, K kernel, I inputs, O outputs, D weights,
S steps, E epochs. The model axis is last while training, first on disk.
"""

from jaxzoo.analysis.interpolation import interpolate
from jaxzoo.analysis.predict import loss_and_gradient, predict_params
from jaxzoo.clusters.on_ray import generate_on_ray
from jaxzoo.compilation import use_compilation_cache
from jaxzoo.datasets import Images, load_images
from jaxzoo.devices import use_all_cores
from jaxzoo.errors import InputError
from jaxzoo.formats.exporting import export_zoo
from jaxzoo.formats.importing import import_zoo
from jaxzoo.formats.torch_module import torch_module
from jaxzoo.models.networks import Network, build_network
from jaxzoo.models.permutations import PermutationSpec, permutation_spec
from jaxzoo.models.permute import permute
from jaxzoo.reading.selection import Selection
from jaxzoo.reading.status import zoo_status
from jaxzoo.reading.verify import verify_zoo
from jaxzoo.reading.zoo import Zoo, open_zoo
from jaxzoo.spec.architecture import Architecture
from jaxzoo.spec.chains import ChainDraw
from jaxzoo.spec.config import load_spec, read_config, zoo_names
from jaxzoo.spec.dataset_spec import DatasetSpec
from jaxzoo.spec.distribution import Choice, Distribution, Integers, LogUniform, Uniform
from jaxzoo.spec.draws import Draws
from jaxzoo.spec.grid import Grid
from jaxzoo.spec.layers import (
    Activation,
    Add,
    BatchNorm,
    Conv,
    Dense,
    Dropout,
    Flatten,
    Layer,
    LayerNorm,
    Layers,
    MaxPool,
    MeanPool,
    Residual,
    Save,
)
from jaxzoo.spec.optimizer import Optimizer
from jaxzoo.spec.outputs import Outputs
from jaxzoo.spec.pairs import Vary
from jaxzoo.spec.plan import Cohort, CohortKey, Member, Plan, plan_zoo
from jaxzoo.spec.points import Points
from jaxzoo.spec.schedule import Schedule
from jaxzoo.spec.seeds import SeedDraw, SeedRange
from jaxzoo.spec.snapshots import Snapshots
from jaxzoo.spec.twin_spec import TwinSpec
from jaxzoo.spec.zoo_spec import ZooSpec
from jaxzoo.storage.packing import pack_zoo
from jaxzoo.training.events import EpochSaved, Event, Interrupted, Notice, Trained
from jaxzoo.training.zoo import generate, make_twins
from jaxzoo.version import __version__

__all__ = [
    "Activation",
    "Add",
    "Architecture",
    "BatchNorm",
    "ChainDraw",
    "Choice",
    "Cohort",
    "CohortKey",
    "Conv",
    "DatasetSpec",
    "Dense",
    "Distribution",
    "Draws",
    "Dropout",
    "EpochSaved",
    "Event",
    "Flatten",
    "Grid",
    "Images",
    "InputError",
    "Integers",
    "Interrupted",
    "Layer",
    "LayerNorm",
    "Layers",
    "LogUniform",
    "MaxPool",
    "MeanPool",
    "Member",
    "Network",
    "Notice",
    "Optimizer",
    "Outputs",
    "PermutationSpec",
    "Plan",
    "Points",
    "Residual",
    "Save",
    "Schedule",
    "SeedDraw",
    "SeedRange",
    "Selection",
    "Snapshots",
    "Trained",
    "TwinSpec",
    "Uniform",
    "Vary",
    "Zoo",
    "ZooSpec",
    "__version__",
    "build_network",
    "export_zoo",
    "generate",
    "generate_on_ray",
    "import_zoo",
    "interpolate",
    "load_images",
    "load_spec",
    "loss_and_gradient",
    "make_twins",
    "open_zoo",
    "pack_zoo",
    "permutation_spec",
    "permute",
    "plan_zoo",
    "predict_params",
    "read_config",
    "torch_module",
    "use_all_cores",
    "use_compilation_cache",
    "verify_zoo",
    "zoo_names",
    "zoo_status",
]
