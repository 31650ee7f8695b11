"""Training programs are compiled in threads of their own, while what comes before them trains."""

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType

from jaxzoo.devices import cores_here
from jaxzoo.settings import pinned_settings
from jaxzoo.training.memory import Kind, compile_training
from jaxzoo.training.programs import build_program

MOST_AHEAD = 3  # kinds; each program that waits takes some 100 MB of memory


class Ahead:
    """Compiles the training programs of a call in the order in which they are needed, a few kinds ahead.

    A context manager: what is not begun when it is left is not compiled.
    """

    def __init__(self, kinds: Sequence[Kind]) -> None:
        """`kinds` are those of the call in the order in which they train; some may come again."""
        self._kinds = list(dict.fromkeys(kinds))
        self._begun: dict[Kind, Future[None]] = {}
        # compilers and training share the cores of a CPU
        workers = max(1, min(MOST_AHEAD, cores_here() // 2))
        self._threads = ThreadPoolExecutor(workers, thread_name_prefix="jaxzoo-compiler")

    def __enter__(self) -> "Ahead":
        """Begins with the first kinds."""
        self._begin(0)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Lets go of what is not begun."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def wait(self, kind: Kind) -> None:
        """Waits until the training program of a kind is compiled, and begins with those after it.

        Raises InputError where a compiler finds that a device has too little memory. A kind that the call did not name
        is compiled by its first step.
        """
        if kind in self._kinds:
            self._begin(self._kinds.index(kind))
            self._begun[kind].result()

    def _begin(self, first: int) -> None:
        for kind in self._kinds[first : first + 1 + MOST_AHEAD]:
            if kind not in self._begun:
                self._begun[kind] = self._threads.submit(_compile, kind)


@pinned_settings()
def _compile(kind: Kind) -> None:
    """JAX keeps the program with the function that was compiled, and a call of it finds it."""
    compile_training(build_program(*kind))
