"""`python -m jaxzoo.generate` is `jaxzoo generate`.

Python puts every imported submodule in the place of the name it has in its package. So `import jaxzoo.generate` puts
this module in the place of the function `jaxzoo.generate`, and the module can be called as the function can.
"""

import inspect
import sys
import types
from typing import Any

from jaxzoo.commands.generate import main
from jaxzoo.training.zoo import generate


class _CallableModule(types.ModuleType):
    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return generate(*args, **kwargs)


_module = sys.modules[__name__]
_module.__class__ = _CallableModule
_module.__doc__ = generate.__doc__
vars(_module)["__signature__"] = inspect.signature(generate)  # what `inspect.signature` and `help` show

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
