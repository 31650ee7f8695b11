"""Images: embedded, prepared by others, a user's own; the cache; and prepared data that is not what it says."""

import dataclasses
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from archive_files import COUNTS, draw, idx_archives, place_downloads, read_anew, spoil_json

import jaxzoo
from jaxzoo.datasets import load, load_images
from jaxzoo.datasets.cache import cache_folder
from jaxzoo.datasets.preprocessing import preprocess
from jaxzoo.errors import InputError
from jaxzoo.spec.dataset_spec import DatasetSpec

DIGITS = jaxzoo.load_spec("digits").dataset
STOCK = Path(__file__).parent / "stock"
SVHN = DatasetSpec(
    name="svhn", tfds="svhn_cropped", classes=10, train=10, validation=2, test=6, size=32, channels=3, fit="crop"
)
MINE = DatasetSpec(name="mine", folder="mine", classes=10, train=50, validation=10, test=20, size=28, channels=1)
MNIST = dataclasses.replace(MINE, name="mnist", folder=None)


def test_digits_are_whole_resized_and_measured():
    images = load_images(DIGITS)
    assert images.train.pixels.shape == (1257, 28, 28, 1)
    everything = np.concatenate([images.train.labels, images.validation.labels, images.test.labels])
    assert np.bincount(everything).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    assert 200 < images.train.pixels.max() <= 255
    normalised = (images.train.pixels / 255 - images.mean) / images.std
    assert abs(normalised.mean()) < 1e-9
    assert abs(normalised.std() - 1) < 1e-9
    assert load_images(DIGITS).fingerprint == images.fingerprint
    with pytest.raises(InputError, match="dataset 'digits': holds 1797 images, expected 1798"):
        load_images(dataclasses.replace(DIGITS, test=361))


def stock_image(place):
    y, x, channel = np.ogrid[:32, :32, :3]
    return ((3 * y + 5 * x * (place % 3) + 40 * channel + 7 * place) % 256).astype(np.uint8)


@pytest.fixture
def stock(tmp_path):
    """A data directory with a copy that stock TensorFlow Datasets prepared, as tfrecord."""
    shutil.copytree(STOCK, tmp_path / "data")
    return tmp_path / "data"


@pytest.fixture
def mine(tmp_path):
    """A data directory with a folder of .npz files, and the arrays in them."""
    arrays = draw((28, 28))
    folder = tmp_path / "mine"
    folder.mkdir()
    images, labels = arrays["train"]
    np.savez(folder / "train-0.npz", images=images[:25], labels=labels[:25])
    np.savez_compressed(folder / "train-1.npz", images=images[25:], labels=labels[25:])
    np.savez(folder / "test.npz", images=arrays["test"][0], labels=arrays["test"][1].astype(np.uint8))
    return tmp_path, arrays


@pytest.fixture
def prepared(tmp_path):
    """A data directory with a small prepared MNIST."""
    files, _ = idx_archives()
    place_downloads(tmp_path, "mnist", files)
    _, folder = read_anew(MNIST, tmp_path)
    return tmp_path, folder


def test_a_copy_that_stock_tfds_prepared_is_read_as_it_is(stock):
    images = load_images(SVHN, stock)
    wanted = {stock_image(place).tobytes(): place % 10 for place in range(12, 18)}
    assert {image.tobytes(): label for image, label in zip(*images.test, strict=True)} == wanted
    both = np.concatenate([images.train.pixels, images.validation.pixels])
    assert {image.tobytes() for image in both} == {stock_image(place).tobytes() for place in range(12)}


def test_any_prepared_dataset_is_found_by_its_name(stock):
    folder = stock / "birds" / "1.2.0"
    shutil.copytree(stock / "svhn_cropped" / "3.1.0", folder)
    for path in folder.glob("svhn_cropped-*"):
        path.rename(path.with_name(path.name.replace("svhn_cropped", "birds")))
    spoil_json(folder / "dataset_info.json", name="birds", version="1.2.0")
    birds = dataclasses.replace(SVHN, name="my_birds", tfds="birds")
    assert load_images(birds, stock).fingerprint == load_images(SVHN, stock).fingerprint
    one = dataclasses.replace(birds, tfds="birds:1.2.0", train=6, validation=2, test=4, test_split="train")
    drawn = load_images(one, stock)
    every = np.concatenate([drawn.train.pixels, drawn.validation.pixels, drawn.test.pixels])
    assert {image.tobytes() for image in every} == {stock_image(place).tobytes() for place in range(12)}
    with pytest.raises(InputError, match=r"dataset 'my_birds': TensorFlow Datasets has no 'birds:9.9.9', nor has "):
        load_images(dataclasses.replace(birds, tfds="birds:9.9.9"), stock)


def test_a_folder_of_npz_files_is_read(mine):
    root, arrays = mine
    images = load_images(MINE, root)
    assert sorted(images.test.labels) == sorted(arrays["test"][1])
    assert images.train.pixels.shape == (50, 28, 28, 1)
    colored = load_images(dataclasses.replace(MINE, channels=3, size=20, fit="crop"), root)
    np.testing.assert_array_equal(colored.train.pixels[..., 1:2], images.train.pixels[:, 4:24, 4:24])
    np.testing.assert_allclose(images.mean, images.train.pixels.mean() / 255)


def test_a_second_start_reads_the_cache_alone(mine, monkeypatch):
    root, _ = mine
    first = load_images(MINE, root)
    monkeypatch.setattr(load, "find_origin", None)
    again = load_images(MINE, root)
    assert isinstance(again.train.pixels, np.memmap)
    for one, other in zip(first, again, strict=True):
        for a, b in zip(one, other, strict=True):
            np.testing.assert_array_equal(a, b)


def test_a_start_from_the_cache_does_without_tensorflow_datasets(prepared):
    root, folder = prepared
    load_images(MNIST, root)
    shutil.rmtree(folder)  # not needed any more
    code = (
        "import sys, jaxzoo; from jaxzoo.spec.zoo_spec import DatasetSpec;"
        f"jaxzoo.load_images({MNIST!r}, sys.argv[1]); print('tensorflow_datasets' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code, root], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False"]


def test_what_has_changed_since_is_read_anew(mine):
    root, arrays = mine
    before = load_images(MINE, root).fingerprint
    images = arrays["test"][0].copy()
    images[0, 0, 0] ^= 1
    np.savez(root / "mine" / "test.npz", images=images, labels=arrays["test"][1])
    after = load_images(MINE, root).fingerprint
    assert after != before
    assert load_images(MINE, root).fingerprint == after
    assert load_images(dataclasses.replace(MINE, mean=(0.2,), std=(1.0,)), root).fingerprint != after


def test_changes_are_noticed_through_symbolic_links(mine, tmp_path_factory):
    root, arrays = mine
    elsewhere = tmp_path_factory.mktemp("disk") / "a" / "b"
    elsewhere.mkdir(parents=True)
    (root / "jaxzoo").symlink_to(elsewhere)
    (elsewhere / "link").symlink_to(root)
    absolute = dataclasses.replace(MINE, name="absolute", folder=str(root / "mine"))
    starts = [(MINE, root), (absolute, elsewhere / "link")]
    before = [load_images(*start).fingerprint for start in starts]
    np.savez(root / "mine" / "test.npz", images=arrays["test"][0] ^ 1, labels=arrays["test"][1])
    after = [load_images(*start).fingerprint for start in starts]
    assert not set(before) & set(after)


def test_a_source_that_changes_while_it_is_read_is_read_again(mine, monkeypatch):
    root, arrays = mine
    read_folder = load.read_folder

    def change_behind(*arguments, **options):
        splits = read_folder(*arguments, **options)
        np.savez(root / "mine" / "test.npz", images=arrays["test"][0] ^ 1, labels=arrays["test"][1])
        return splits

    monkeypatch.setattr(load, "read_folder", change_behind)
    before = load_images(MINE, root).fingerprint
    monkeypatch.setattr(load, "read_folder", read_folder)
    assert load_images(MINE, root).fingerprint != before


DAMAGES = {
    "cut pixels": lambda folder: (folder / "pixels.npy").write_bytes((folder / "pixels.npy").read_bytes()[:-100]),
    "fewer labels": lambda folder: np.save(folder / "labels.npy", np.zeros(3, np.int32)),
    "empty labels": lambda folder: (folder / "labels.npy").write_bytes(b""),
    "no json": lambda folder: (folder / "images.json").unlink(),
    "half a json": lambda folder: (folder / "images.json").write_text('{"train": 50'),
    "another json": lambda folder: (folder / "images.json").write_text("[]"),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_cache_that_is_not_whole_is_made_again(mine, damage):
    root, _ = mine
    before = load_images(MINE, root)
    damage(cache_folder(root, MINE))
    load_images(MINE, root)
    again = load_images(MINE, root)
    assert isinstance(again.train.pixels, np.memmap)
    for one, other in zip(before[:3], again[:3], strict=True):
        np.testing.assert_array_equal(one.pixels, other.pixels)
        np.testing.assert_array_equal(one.labels, other.labels)


def test_the_data_directory_defaults_to_that_of_tfds(mine, monkeypatch):
    root, _ = mine
    monkeypatch.setenv("TFDS_DATA_DIR", str(root))
    assert load_images(MINE).train.pixels.shape == (50, 28, 28, 1)


def test_where_the_cache_cannot_be_written_images_are_read_all_the_same(mine):
    root, _ = mine
    (root / "jaxzoo").write_text("in the way")
    notes = []
    assert load_images(MINE, root, on_note=notes.append).train.pixels.shape == (50, 28, 28, 1)
    (note,) = notes
    assert note.endswith("cannot be written (File exists); the images will be read anew at every start")


def run_limited(code, root, limit):
    """Runs the code where no file may grow beyond the limit, as on a disk that fills up."""
    lower = f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))"
    names = f"import jaxzoo, pathlib; from jaxzoo.spec.zoo_spec import DatasetSpec; root = pathlib.Path({str(root)!r})"
    return subprocess.run([sys.executable, "-c", f"{lower}; {names}; {code}"], capture_output=True, text=True)


def test_a_full_disk_leaves_no_cache(mine):
    root, _ = mine
    done = run_limited(f"jaxzoo.load_images({MINE!r}, root, on_note=print)", root, 40_000)
    assert done.returncode == 0, done.stderr
    assert "the images will be read anew at every start" in done.stdout
    assert list((root / "jaxzoo").iterdir()) == []


def test_a_full_disk_leaves_no_prepared_dataset(tmp_path):
    files, _ = idx_archives()
    place_downloads(tmp_path, "mnist", files)
    done = run_limited(f"jaxzoo.load_images({MNIST!r}, root)", tmp_path, 20_000)
    assert "InputError: " in done.stderr.splitlines()[-1], done.stderr
    assert "dataset 'mnist' cannot be prepared there: " in done.stderr.splitlines()[-1]
    assert not list(tmp_path.glob("mnist/*"))
    assert load_images(MNIST, tmp_path).train.pixels.shape == (50, 28, 28, 1)


def test_a_data_directory_that_cannot_be_written_is_one_line(tmp_path):
    files, _ = idx_archives()
    place_downloads(tmp_path, "mnist", files)
    (tmp_path / "jaxzoo").write_text("in the way")
    with pytest.raises(InputError, match=r"cannot be written \(.*\), and dataset 'mnist' is not prepared there"):
        load_images(MNIST, tmp_path)


def shorten_record_file(folder):
    (path,) = folder.glob("*-train.array_record-*")
    path.write_bytes(path.read_bytes()[:-70_000])


def flip_in_record_file(folder):
    (path,) = folder.glob("*-train.array_record-*")
    data = bytearray(path.read_bytes())
    for place in range(2_000, 12_000, 100):
        data[place] ^= 255
    path.write_bytes(data)


def say_more_rows(folder):
    text = (folder / "dataset_info.json").read_text()
    (folder / "dataset_info.json").write_text(text.replace('"60"', '"61"'))


def say_another_feature(folder):
    text = (folder / "features.json").read_text()
    (folder / "features.json").write_text(text.replace('"numClasses": "10"', '"numClasses": "7"'))


PREPARED = {
    "record file cut": (shorten_record_file, MNIST, "its split 'train' is damaged|cannot be read"),
    "record file flipped": (flip_in_record_file, MNIST, "its split 'train' is damaged"),
    "record file gone": (lambda folder: next(folder.glob("*-test.array_*")).unlink(), MNIST, "split 'test' is damaged"),
    "fewer rows than it says": (
        say_more_rows,
        dataclasses.replace(MNIST, train=51),
        "its split 'train' (is damaged|holds 60 images, expected 61 as it says)",
    ),
    "fewer rows than the spec": (
        lambda folder: None,
        dataclasses.replace(MNIST, train=51),
        "its split 'train' holds 60 images, expected 61",
    ),
    "another label": (say_another_feature, MNIST, r"its 'label' is ClassLabel.*, expected a label of 10 classes"),
    "no features": (lambda folder: (folder / "features.json").unlink(), MNIST, "cannot be read: "),
    "no info": (lambda folder: (folder / "dataset_info.json").unlink(), MNIST, "cannot be read: "),
    "half an info": (lambda folder: (folder / "dataset_info.json").write_text('{"name"'), MNIST, "cannot be opened: "),
    "no such split": (
        lambda folder: None,
        dataclasses.replace(MNIST, test_split="valid"),
        "has no split 'valid', expected one of: test, train",
    ),
}


@pytest.mark.parametrize(("damage", "spec", "message"), PREPARED.values(), ids=PREPARED)
def test_a_prepared_dataset_that_is_not_what_it_says_is_one_line(prepared, damage, spec, message):
    root, folder = prepared
    damage(folder)
    with pytest.raises(InputError, match=message) as error:
        load_images(spec, root)
    assert "\n" not in str(error.value)
    assert str(error.value).startswith("dataset 'mnist' in ")
    assert not list(root.glob("jaxzoo/*-*"))


def test_a_tfrecord_file_that_ends_too_soon_is_one_line(stock):
    (path,) = (stock / "svhn_cropped" / "3.1.0").glob("*-train.tfrecord-*")
    whole = path.read_bytes()
    path.write_bytes(whole[:-3])
    with pytest.raises(InputError, match=r"train\.tfrecord-00000-of-00001: ends within a record"):
        load_images(SVHN, stock)
    path.write_bytes(whole[:30] + bytes([whole[30] ^ 1]) + whole[31:])
    with pytest.raises(InputError, match=r"00001: a record does not fit its checksum"):
        load_images(SVHN, stock)
    first = 12 + struct.unpack("<Q", whole[:8])[0] + 4
    path.write_bytes(whole[first:])
    with pytest.raises(InputError, match="its split 'train' holds 11 images, expected 12 as it says"):
        load_images(SVHN, stock)


FOLDERS = {
    "two ways": (
        lambda folder: shutil.copy(folder / "test.npz", folder / "test-1.npz"),
        r"holds both test\.npz and test-1\.npz, expected one or the other",
    ),
    "empty images": (
        lambda folder: np.savez(folder / "test.npz", images=np.zeros((20, 28, 0), np.uint8), labels=np.zeros(20, int)),
        r"an image is uint8\(28, 0, 1\), expected uint8",
    ),
    "an array": (
        lambda folder: [np.save(folder / "test.npy", np.zeros(3)), (folder / "test.npy").rename(folder / "test.npz")],
        r"test\.npz: ",
    ),
    "constant": (
        lambda folder: [
            np.savez(
                folder / f"train-{part}.npz", images=np.zeros((count, 28, 28), np.uint8), labels=np.zeros(count, int)
            )
            for part, count in ((0, 25), (1, 35))
        ],
        "a channel of train is constant, expected mean and std in the spec",
    ),
    "no file": (lambda folder: (folder / "test.npz").unlink(), r"holds no test\.npz, nor test-\*\.npz"),
    "no npz": (lambda folder: (folder / "test.npz").write_bytes(b"x" * 100), r"test\.npz: cannot be read"),
    "cut": (
        lambda folder: (folder / "test.npz").write_bytes((folder / "test.npz").read_bytes()[:-100]),
        r"test\.npz: ",
    ),
    "no labels": (lambda folder: np.savez(folder / "test.npz", images=np.zeros((20, 28, 28), np.uint8)), "labels"),
    "pickled": (
        lambda folder: np.savez(folder / "test.npz", images=np.array([{}] * 20), labels=np.zeros(20, int)),
        "Object arrays cannot be loaded",
    ),
    "other pixels": (
        lambda folder: np.savez(folder / "test.npz", images=np.zeros((20, 28, 28)), labels=np.zeros(20, int)),
        r"images are float64\(20, 28, 28\), labels \(20,\), expected uint8",
    ),
    "other labels": (
        lambda folder: np.savez(folder / "test.npz", images=np.zeros((20, 28, 28), np.uint8), labels=np.zeros(20)),
        "labels are float64, expected whole numbers",
    ),
    "label out of range": (
        lambda folder: np.savez(folder / "test.npz", images=np.zeros((20, 28, 28), np.uint8), labels=np.arange(20)),
        r"its split 'test' has the label 10, expected 0\.\.9",
    ),
    "fewer": (
        lambda folder: np.savez(folder / "test.npz", images=np.zeros((19, 28, 28), np.uint8), labels=np.zeros(19, int)),
        "its split 'test' holds 19 images, expected 20",
    ),
    "two channels": (
        lambda folder: np.savez(
            folder / "test.npz", images=np.zeros((20, 28, 28, 2), np.uint8), labels=np.zeros(20, int)
        ),
        r"an image is uint8\(28, 28, 2\), expected uint8 \(height, width, 1 or 3\)",
    ),
}


@pytest.mark.parametrize(("damage", "message"), FOLDERS.values(), ids=FOLDERS)
def test_a_bad_folder_is_one_line(mine, damage, message):
    root, _ = mine
    damage(root / "mine")
    with pytest.raises(InputError, match=message) as error:
        load_images(MINE, root)
    assert "\n" not in str(error.value)
    assert not list(root.glob("jaxzoo/*-*"))


def test_an_image_too_small_to_crop_is_one_line():
    spec = dataclasses.replace(MINE, fit="crop")
    with pytest.raises(InputError, match="an image is 20 x 30, expected 28 or more to crop"):
        preprocess(spec, np.zeros((20, 30, 1), np.uint8))


def test_more_images_than_memory_holds_is_one_line(mine):
    root, _ = mine
    for change in ({"train": 10**13}, {"train": 10**18}, {"size": 10**6}):
        with pytest.raises(InputError, match=r"are more than memory holds|holds 60 images"):
            load_images(dataclasses.replace(MINE, **change), root)


def test_a_data_directory_that_is_a_file_is_one_line(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match="file: is a file, expected the folder of the datasets"):
        load_images(MNIST, tmp_path / "file")


def test_a_home_directory_may_be_written_as_a_tilde(mine, monkeypatch):
    root, _ = mine
    monkeypatch.setenv("HOME", str(root.parent))
    monkeypatch.setenv("TFDS_DATA_DIR", f"~/{root.name}")
    assert load_images(MINE).train.pixels.shape == (50, 28, 28, 1)


def test_an_unknown_dataset_and_one_that_needs_tensorflow_are_one_line(tmp_path):
    with pytest.raises(InputError, match="TensorFlow Datasets has no 'mnits'") as error:
        load_images(dataclasses.replace(MNIST, tfds="mnits"), tmp_path)
    assert "\n" not in str(error.value)
    with pytest.raises(InputError, match=r"'kmnist' is not prepared in .*, and preparing it needs TensorFlow"):
        load_images(dataclasses.replace(MNIST, tfds="kmnist"), tmp_path)
    assert not list(tmp_path.iterdir())


def run(*arguments):
    command = [sys.executable, "-m", "jaxzoo", "datasets", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


def write_config(path):
    path.write_text(
        """
[dataset]
name = "mine"
folder = "mine"
classes = 10
train = 50
validation = 10
test = 20
size = 28
channels = 1

[zoos.mine-seed]
architecture = "cnn-s"
batch_size = 10
epochs = 1
seeds = { first = 1, last = 2 }

[zoos.mine-seed.grid]
activation = ["tanh"]
initialization = ["kaiming_uniform"]
optimizer = ["adam"]
learning_rate = [1e-3]
"""
    )
    return path


def test_the_command_line_lists_prepares_and_checks(mine):
    root, _ = mine
    options = ("--data-dir", root, "--config", write_config(root / "mine.toml"))
    listed = run("--list", *options).stdout
    assert "mine 28x28x1" in listed
    assert listed.split()[-1] == "-"
    assert run("--check", "mine", *options).returncode == 2
    made = run("--prepare", "mine", *options)
    assert "mine 28x28x1: 50 train, 10 validation, 20 test; fingerprint" in made.stdout, made.stderr
    assert run("--list", *options).stdout.split()[-1] == "kB"
    checked = run("--check", "mine", *options)
    assert checked.returncode == 0, checked.stderr
    assert f"as in {root / 'mine'}" in checked.stdout
    pixels = cache_folder(root, MINE) / "pixels.npy"
    data = bytearray(pixels.read_bytes())
    data[-1] ^= 1
    pixels.write_bytes(data)
    checked = run("--check", "mine", *options)
    assert checked.returncode == 2
    assert "is damaged; delete it, and it is made again" in checked.stderr
    (root / "mine" / "test.npz").touch()
    assert "has changed since; --prepare makes it again" in run("--check", "mine", *options).stderr
    unknown = run("--prepare", "mien", *options)
    assert unknown.stderr == "jaxzoo datasets: there is no dataset 'mien'; nearest: mine\n"
    assert "cifar10 28x28x3" in run("--list", "--data-dir", root).stdout


def test_a_zoo_is_made_of_ones_own_images(mine, tmp_path):
    root, _ = mine
    (spec,) = jaxzoo.read_config(write_config(root / "mine.toml"))
    zoo = jaxzoo.generate(spec, tmp_path / "zoo", data_dir=root)
    assert len(zoo.members) == 2
    assert COUNTS["test"] == spec.dataset.test


def test_a_home_that_does_not_exist_is_one_line(tmp_path):
    with pytest.raises(InputError, match=r"~nobody-of-that-name/x: .*home.*, expected a path that can be found"):
        load_images(dataclasses.replace(MINE, folder="~nobody-of-that-name/x"), tmp_path)
    with pytest.raises(InputError, match=r"~nobody-of-that-name: .*home.*, expected a path"):
        load_images(MINE, "~nobody-of-that-name")
