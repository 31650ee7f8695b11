"""Random damage to what a stranger may hand over: zoo.json, members.msgpack, snapshots, command lines.

Whatever is handed over, jaxzoo gives its numbers, or InputError of one line, or a line about each thing that is wrong.
"""

import contextlib
import copy
import dataclasses
import importlib.util
import io
import json
import random
import shutil
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgpack
from populations import small_spec, store_zoo

from jaxzoo.__main__ import main
from jaxzoo.errors import InputError
from jaxzoo.formats.exporting import export_zoo
from jaxzoo.formats.formats import FORMATS
from jaxzoo.formats.importing import import_zoo
from jaxzoo.reading.verify import verify_zoo
from jaxzoo.reading.zoo import open_zoo
from jaxzoo.spec.architecture import Architecture

SPEC = small_spec(seeds=2, epochs=1, activation=("tanh", "relu"))
CHAIN = Architecture(
    name="chain",
    layers=[
        *({"conv": 2, "kernel": 3}, "activation", {"save": "a"}, {"conv": 3, "kernel": 1}),
        *({"add": "a", "channels": "common"}, "activation", "global_mean_pool", {"dense": "classes"}),
    ],
)
CHAINS = dataclasses.replace(SPEC, architecture=CHAIN)  # by its two activations an import has two architectures
OF_TORCH = ("modelzoo", "wildpark")
STRANGE = (
    *(None, True, -1, 0, 1, 2, 3, 10**6, 10**19, 10**400, 0.5, -0.0, float("nan"), float("inf"), 1e308),
    *("", "x", "..", "../../etc/passwd", "/etc/passwd", "a\nb", "\0", "\ud800", "ü" * 300, "__import__('os')", "tanh"),
    *([], {}, [[]], [None], {"": {}}, {"a": 1}, [1, "x", None], [0.1] * 50),
)


def changed(draws: random.Random, value: Any) -> Any:
    """The value with something in it replaced, removed, doubled or added."""
    value = copy.deepcopy(value)
    inner, holder = value, None
    while isinstance(inner, dict | list) and inner and (holder is None or draws.random() < 0.75):
        holder, where = inner, draws.choice(list(inner) if isinstance(inner, dict) else range(len(inner)))
        inner = inner[where]
    if holder is None:
        return draws.choice(STRANGE)
    what = draws.random()
    if what < 0.6:
        holder[where] = draws.choice(STRANGE)
    elif what < 0.8:
        del holder[where]
    elif isinstance(holder, list):
        holder.extend(holder[:3])
    else:
        holder[str(draws.choice(STRANGE))] = inner
    return value


def scrambled(draws: random.Random, data: bytes) -> bytes:
    """The bytes with some turned, cut out, doubled or made up."""
    found = bytearray(data)
    for _ in range(draws.choice((1, 1, 2, 8))):
        start = draws.randrange(len(found) + 1)
        stop = min(len(found), start + draws.choice((1, 1, 4, 64, 4096)))
        what = draws.random()
        if what < 0.5:
            found[start:stop] = draws.randbytes(stop - start)
        elif what < 0.7:
            del found[start:stop]
        elif what < 0.9:
            found[start:start] = found[start:stop]
        else:
            del found[start:]
    return bytes(found)


def change_json(draws: random.Random, zoo: Path) -> None:
    path = draws.choice(sorted(zoo.rglob("zoo.json")))
    if draws.random() < 0.3:
        path.write_bytes(scrambled(draws, path.read_bytes()))
        return
    table = changed(draws, json.loads(path.read_text()))
    path.write_text(json.dumps(changed(draws, table) if draws.random() < 0.3 else table))


def change_members(draws: random.Random, zoo: Path) -> None:
    path = draws.choice(sorted(zoo.rglob("members.msgpack")))
    if draws.random() < 0.5:
        path.write_bytes(scrambled(draws, path.read_bytes()))
        return
    with contextlib.suppress(OverflowError, UnicodeEncodeError, ValueError):  # not every value can be packed
        path.write_bytes(msgpack.packb(changed(draws, msgpack.unpackb(path.read_bytes()))))


def change_snapshots(draws: random.Random, zoo: Path) -> None:
    files = sorted(path for path in (zoo / "cohorts").rglob("*") if path.is_file() and path.name != ".lock")
    path, other = draws.choice(files), draws.choice(files)
    what = draws.random()
    if what < 0.6:
        path.write_bytes(scrambled(draws, path.read_bytes()))
    elif what < 0.7:
        path.write_bytes(other.read_bytes())
    elif what < 0.8:
        path.unlink()
    elif what < 0.85:
        path.unlink()
        path.mkdir()
    elif what < 0.9:
        shutil.rmtree(path.parent)
    else:
        path.with_name(draws.choice(("99", "0", "7.damaged", "x", "²"))).mkdir(exist_ok=True)


def use(zoo: Path) -> None:
    """Everything that reads a zoo, up to the first error of one line."""
    with contextlib.suppress(InputError):
        opened = open_zoo(zoo)
        for part in (opened, *opened.twins.values()):
            _ = part.epochs, part.metrics
            part.select(epochs=1, finite=True)
            for group in part.groups.values():
                _ = group.layout
                group.weights(1, models=group.numbers_of(None)[:1])
    with contextlib.suppress(InputError):
        for line in verify_zoo(zoo, deep=True):
            assert "\n" not in line, line


def change_export(draws: random.Random, zoo: Path) -> None:
    """Damages a zoo in a format of others, imports it, and damages what came of it."""
    exports = sorted((zoo.parent / "exports").iterdir())
    folder, target = zoo / draws.choice(exports).name, zoo / "imported"
    shutil.copytree(zoo.parent / "exports" / folder.name, folder)
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    for _ in range(draws.choice((1, 1, 2))):
        change_file(draws, draws.choice(files), draws.choice(files))
    with contextlib.suppress(InputError):
        import_zoo(folder, target, folder.name, skip_damaged=draws.random() < 0.3)
        use(target)
        change_json(draws, target)
        use(target)


def change_file(draws: random.Random, path: Path, other: Path) -> None:
    what = draws.random()
    if not path.is_file() or what > 0.9:
        path.unlink(missing_ok=True)
    elif what > 0.8:
        path.write_bytes(other.read_bytes() if other.is_file() else b"")
    elif path.suffix == ".json" and what > 0.3:
        with contextlib.suppress(ValueError):  # lines of JSON
            path.write_text(json.dumps(changed(draws, json.loads(path.read_text()))))
    elif path.suffix == ".csv" and what > 0.3:
        rows = [line.split(",") for line in path.read_text(errors="replace").splitlines() or [""]]
        row = draws.choice(rows)
        row[draws.randrange(len(row))] = str(draws.choice(STRANGE)).encode("ascii", "replace").decode()
        path.write_text("\n".join(map(",".join, rows)))
    else:
        path.write_bytes(scrambled(draws, path.read_bytes()))


WORDS = (
    *("generate", "twins", "probe", "report", "verify", "datasets", "export", "import", "list", "bench"),
    *("--format", "numpy", "modelzoo", "--where", "dropout == 0", "--final-step", "--per-model", "--sample"),
    *("--zoo", "svhn-seed", "svhn", "nothing", "--config", "--list", "--models", "--epochs", "--cohorts"),
    *("--keep-epochs", "--twins", "magnitude", "none", "--engine", "lanes", "--lanes", "--repair", "--deep"),
    *("--out", "--data-dir", "--help", "0", "-1", "1", "5", "1:2", "2:1", ":", "1,2", "0.5", "nan", "1e9"),
    *("\u0663", "²", "", "-", "--", "=", "a\nb", "\0x", "ü"),
)


def use_words(draws: random.Random, zoo: Path) -> None:
    """A command line that cannot begin anything: the images of its zoos are not at hand."""
    words = [draws.choice(WORDS[:10]), *draws.choices(WORDS, k=draws.randrange(6))]
    words += [draws.choice((str(zoo), "--data-dir=nowhere", str(zoo / "zoo.json")))] * draws.randrange(2)
    if "bench" in words or ("probe" in words and str(zoo) in words):
        words.append("--help")  # both would compute
    errors = io.StringIO()
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(errors):
        try:
            status = main(words)
        except SystemExit as ended:  # --help, --version
            status = ended.code
    assert status in (0, 1, 2), (words, status)
    said = errors.getvalue().strip()
    assert status != 2 or (said and "\n" not in said), (words, said)


KINDS: dict[str, tuple[Callable[[random.Random, Path], None], int]] = {
    "zoo.json": (change_json, 4),
    "members.msgpack": (change_members, 3),
    "snapshots": (change_snapshots, 2),
    "exports": (change_export, 3),
    "command lines": (use_words, 1),
}
FORBIDDEN = {"os.system", "os.exec", "os.posix_spawn", "os.fork", "subprocess.Popen", "pickle.find_class"}


@contextlib.contextmanager
def watched(root: Path) -> Iterator[list[str]]:
    """Collects what runs another program, unpickles, or opens a file outside of the root and of Python's."""
    seen: list[str] = []
    watching = [True]
    # JAX looks in /sys for devices, and in /proc
    own = (root, sys.prefix, sys.base_prefix, Path(__file__).parents[2], "/proc", "/sys", "/dev/null")
    allowed = tuple(map(str, own))

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        if not watching[0]:
            return
        outside = event == "open" and isinstance(arguments[0], str) and not arguments[0].startswith(allowed)
        if event in FORBIDDEN or (outside and Path(arguments[0]).is_absolute()):
            seen.append(f"{event} {arguments}")

    sys.addaudithook(watch)
    try:
        yield seen
    finally:
        watching[0] = False


def run_cases(root: Path, cases: int, seed: int) -> tuple[dict[str, int], list[str]]:
    """How many cases of each kind were run, and a text about each that went wrong."""
    whole = store_zoo(root / "whole", SPEC).path
    shutil.copytree(root / "whole", root / "whole/twins/magnitude")
    table = json.loads((whole / "zoo.json").read_text())
    twin = {"twin": {"method": "magnitude", "epochs": 1}, "parent": {"digest": table["digest"], "epoch": 1}}
    (whole / "twins/magnitude/zoo.json").write_text(json.dumps({**table, **twin}))
    park = store_zoo(root / "park", CHAINS).path
    for name, kind in FORMATS.items():
        if kind.read is not None and (name not in OF_TORCH or importlib.util.find_spec("torch")):
            export_zoo(park if kind.mixtures else whole, root / "exports" / name, name, twins=False)
    for beside in (root / "exports").glob("*-splits.json"):
        beside.unlink()
    counts, wrong = dict.fromkeys(KINDS, 0), []
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):
        warnings.simplefilter("ignore")
        use(whole)  # what is imported late is imported now, with the files that it opens
        main(["report", "--help"])
    with watched(root) as seen:
        for case in range(cases):
            draws = random.Random(seed * 10**9 + case)
            name = draws.choices(list(KINDS), [weight for _, weight in KINDS.values()])[0]
            zoo = root / "zoo"
            shutil.copytree(whole, zoo)
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    KINDS[name][0](draws, zoo)
                    use(zoo) if name != "command lines" else None
            except Exception:
                wrong.append(f"case {case}, {name}: {traceback.format_exc()[-1500:]}")
            counts[name] += 1
            wrong.extend(f"case {case}, {name}: {what}" for what in seen)
            seen.clear()
            shutil.rmtree(zoo)
    return counts, wrong
