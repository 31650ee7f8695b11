"""Every published archive in its genuine format, through TensorFlow Datasets, to the arrays; and what can go wrong."""

import dataclasses
import gzip
import hashlib
import http.server
import sys
import threading

import numpy as np
import pytest
from archive_files import ARCHIVES, cifar_rows, place_downloads, read_anew, tar_gz
from PIL import Image

import jaxzoo
from jaxzoo.datasets import load_images
from jaxzoo.datasets.sources import SOURCES
from jaxzoo.errors import InputError
from jaxzoo.spec.config import published_specs
from jaxzoo.spec.dataset_spec import DatasetSpec
from jaxzoo.spec.zoo_spec import dataset_specs

PUBLISHED = [dataset for dataset in dataset_specs(published_specs().values()) if dataset.name != "digits"]


def small(dataset: DatasetSpec, arrays) -> DatasetSpec:
    """The published spec with the counts of a small archive, a sixth of train for validation."""
    counts = {split: len(labels) for split, (_, labels) in arrays.items()}
    validation = counts["train"] // 6
    return dataclasses.replace(dataset, train=counts["train"] - validation, validation=validation, test=counts["test"])


def spec_for(name, arrays) -> DatasetSpec:
    """The spec of a dataset with its raw images left as they are."""
    shape = arrays["train"][0].shape
    classes = {"cifar100": 100, "tiny_imagenet": 200}.get(name, 10)
    spec = DatasetSpec(name=name, classes=classes, train=1, validation=0, test=1, size=shape[1], channels=shape[3])
    return small(spec, arrays)


@pytest.fixture
def make(monkeypatch):
    """Small archives of a dataset, known to jaxzoo by their checksums where TensorFlow Datasets has none."""

    def make(name):
        files, arrays = ARCHIVES[name]()
        source = SOURCES[name]
        for url in source.own.md5 if source.own else ():
            monkeypatch.setitem(source.own.md5, url, hashlib.md5(files[url.rpartition("/")[2]]).hexdigest())
        for file in source.unpacked:
            monkeypatch.setitem(source.unpacked, file, hashlib.sha256(gzip.decompress(files[f"{file}.gz"])).hexdigest())
        return files, arrays

    return make


def rows(pixels, labels):
    return sorted((image.tobytes(), int(label)) for image, label in zip(pixels, labels, strict=True))


@pytest.mark.parametrize("name", ARCHIVES)
def test_an_archive_comes_whole_through_tfds(name, make, tmp_path):
    files, arrays = make(name)
    place_downloads(tmp_path, name, files)
    images, folder = read_anew(spec_for(name, arrays), tmp_path)
    both = [np.concatenate(parts) for parts in zip(images.train, images.validation, strict=True)]
    assert rows(*both) == rows(*arrays["train"])
    assert rows(*images.test) == rows(*arrays["test"])
    assert list(folder.glob("*.array_record-*"))
    assert "tensorflow" not in sys.modules


NAMES = {
    "cifar10": ("label", "class3", 3),
    "cifar100": ("coarse_label", "coarse7", 7),
    "stl10": ("label", "class9", 9),
    "tiny_imagenet": ("label", "n10000000 thing 0, object", 0),
    "fashion_mnist": ("label", "Ankle boot", 9),
}


@pytest.mark.parametrize("name", NAMES)
def test_classes_keep_their_names(name, make, tmp_path):
    files, arrays = make(name)
    place_downloads(tmp_path, name, files)
    _, folder = read_anew(spec_for(name, arrays), tmp_path)
    feature, word, place = NAMES[name]
    assert (folder / f"{feature}.labels.txt").read_text().splitlines()[place] == word


def preprocessed(dataset, image):
    """What the published preprocessing makes of a raw image, by Pillow's and NumPy's own means."""
    if dataset.name == "svhn":
        red, green, blue = np.moveaxis(image[2:30, 2:30].astype(float), -1, 0)
        return np.floor(0.2989 * red + 0.587 * green + 0.114 * blue + 0.5 + 1e-9)[..., None]
    picture = Image.fromarray(image.squeeze())
    return np.asarray(picture.resize((dataset.size, dataset.size), Image.Resampling.BILINEAR)).reshape(
        dataset.size, dataset.size, -1
    )


@pytest.mark.parametrize("dataset", PUBLISHED, ids=lambda dataset: f"{dataset.name}-{dataset.size}-{dataset.train}")
def test_published_preprocessing(dataset, make, tmp_path):
    name = dataset.tfds or dataset.name
    files, arrays = make(name)
    place_downloads(tmp_path, name, files)
    images = load_images(small(dataset, arrays), tmp_path)
    wanted = np.stack([preprocessed(dataset, image) for image in arrays["test"][0]]).astype(np.uint8)
    assert rows(*images.test) == rows(wanted, arrays["test"][1])


def test_the_split_is_that_of_seed_42_over_a_hash_of_contents(make, tmp_path):
    files, arrays = make("mnist")
    place_downloads(tmp_path, "mnist", files)
    images, _ = read_anew(spec_for("mnist", arrays), tmp_path)
    pixels, labels = arrays["train"]
    hashes = [
        hashlib.blake2b(image.tobytes() + str(label).encode(), digest_size=16).digest()
        for image, label in zip(pixels, labels, strict=True)
    ]
    order = np.argsort(np.array([int.from_bytes(digest, "big") for digest in hashes], object), kind="stable")
    chosen = order[np.random.RandomState(42).permutation(60)]
    np.testing.assert_array_equal(images.train.pixels, pixels[chosen[:50]])
    np.testing.assert_array_equal(images.validation.labels, labels[chosen[50:]])


def test_another_order_of_preparation_gives_the_same_split_and_fingerprint(make, tmp_path, monkeypatch):
    files, arrays = make("cifar10")
    spec = spec_for("cifar10", arrays)
    place_downloads(tmp_path / "a", "cifar10", files)
    images, _ = read_anew(spec, tmp_path / "a")
    other = np.random.default_rng(1)
    shuffled = {
        split: (pixels[order], labels[order])
        for split, (pixels, labels) in arrays.items()
        for order in [other.permutation(len(labels))]
    }
    monkeypatch.setattr("archive_files.draw", lambda shape: shuffled)
    files, _ = make("cifar10")
    place_downloads(tmp_path / "b", "cifar10", files)
    again, _ = read_anew(spec, tmp_path / "b")
    assert again.fingerprint == images.fingerprint
    np.testing.assert_array_equal(again.train.pixels, images.train.pixels)


def test_every_architecture_has_the_same_examples_in_its_splits(make, tmp_path):
    files, arrays = make("stl10")
    place_downloads(tmp_path, "stl10", files)
    small_one, large_one = (small(dataset, arrays) for dataset in PUBLISHED if dataset.name == "stl10")
    a, b = load_images(small_one, tmp_path), load_images(large_one, tmp_path)
    assert a.train.pixels.shape[1:] == (28, 28, 3)
    assert b.train.pixels.shape[1:] == (32, 32, 3)
    np.testing.assert_array_equal(a.train.labels, b.train.labels)
    np.testing.assert_array_equal(a.validation.labels, b.validation.labels)


def by_hand(folder, files):
    folder.mkdir(parents=True)
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return folder


@pytest.mark.parametrize("name", ["mnist", "tiny_imagenet"])
def test_archives_put_there_by_hand_are_taken(name, make, tmp_path):
    files, arrays = make(name)
    folder = by_hand(tmp_path / name, files)
    if name == "mnist":  # already gunzipped, and compressed anew
        (folder / "train-images-idx3-ubyte.gz").unlink()
        (folder / "train-images-idx3-ubyte").write_bytes(gzip.decompress(files["train-images-idx3-ubyte.gz"]))
        images = gzip.decompress(files["t10k-images-idx3-ubyte.gz"])
        (folder / "t10k-images-idx3-ubyte.gz").write_bytes(gzip.compress(images, compresslevel=1))
    images, _ = read_anew(spec_for(name, arrays), tmp_path)
    assert rows(*images.test) == rows(*arrays["test"])


def cut(data):
    return data[: len(data) // 2]


WRONG = {
    "mnist": ("t10k-images-idx3-ubyte.gz", cut, r"t10k-images-idx3-ubyte\.gz: cannot be read: "),
    "fashion_mnist": ("t10k-labels-idx1-ubyte.gz", lambda data: gzip.compress(b"x"), "its sha256 sum is 2d711642"),
    "svhn_cropped": ("train_32x32.mat", cut, r"train_32x32\.mat: its sha256 sum is [0-9a-f]{64}, expected 435e94d"),
    "cifar10": ("cifar-10-binary.tar.gz", cut, "its sha256 sum is"),
    "usps": ("usps.t.bz2", cut, "its md5 sum is"),
    "tiny_imagenet": ("tiny-imagenet-200.zip", cut, "its md5 sum is"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_archive_by_hand_is_one_line_and_nothing_is_written(name, make, tmp_path):
    files, arrays = make(name)
    file, damage, message = WRONG[name]
    folder = by_hand(tmp_path / name, files)
    (folder / file).write_bytes(damage(files[file]))
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(InputError, match=message) as error:
        load_images(spec_for(name, arrays), tmp_path)
    assert "\n" not in str(error.value)
    assert sorted(tmp_path.rglob("*")) == before


DAMAGED = {
    "mnist": ("train-labels-idx1-ubyte.gz", lambda data: gzip.compress(gzip.decompress(data)[:-1]), "expected 68 for"),
    "fashion_mnist": ("train-labels-idx1-ubyte.gz", lambda data: data[:-9], "cannot be read"),
    "svhn_cropped": ("train_32x32.mat", cut, r"\.mat: cannot be read"),
    "cifar10": ("cifar-10-binary.tar.gz", cut, r"\.tar\.gz: cannot be read"),
    "cifar100": ("cifar-100-binary.tar.gz", lambda data: ARCHIVES["stl10"]()[0].popitem()[1], "holds none of"),
    "stl10": ("stl10_binary.tar.gz", cut, r"\.tar\.gz: cannot be read"),
    "usps": ("usps.bz2", cut, r"\.bz2: cannot be read"),
    "tiny_imagenet": ("tiny-imagenet-200.zip", cut, r"\.zip: cannot be read"),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_a_damaged_download_is_one_line_and_leaves_no_dataset(name, make, tmp_path, monkeypatch):
    files, arrays = make(name)
    file, damage, message = DAMAGED[name]
    if SOURCES[name].own:  # what its checksum would have caught
        url = next(url for url in SOURCES[name].own.md5 if url.endswith(f"/{file}"))
        monkeypatch.setitem(SOURCES[name].own.md5, url, hashlib.md5(damage(files[file])).hexdigest())
    place_downloads(tmp_path, name, files | {file: damage(files[file])})
    spec = spec_for(name, arrays)
    with pytest.raises(InputError, match=message) as error:
        load_images(spec, tmp_path)
    assert "\n" not in str(error.value)
    assert not list(tmp_path.glob(f"{name}/*"))
    assert not list(tmp_path.glob("jaxzoo/*-*"))
    if not SOURCES[name].own:
        place_downloads(tmp_path, name, files)
        assert rows(*load_images(spec, tmp_path).test) == rows(*arrays["test"])


def flipped(data):
    """One bit of the middle."""
    return data[: len(data) // 2] + bytes([data[len(data) // 2] ^ 16]) + data[len(data) // 2 + 1 :]


@pytest.mark.parametrize("name", ["mnist", "svhn_cropped", "cifar10", "cifar100", "stl10", "usps", "tiny_imagenet"])
def test_a_flipped_bit_in_a_download_is_noticed(name, make, tmp_path, monkeypatch):
    files, arrays = make(name)
    file = next(iter(files))
    for url in SOURCES[name].own.md5 if SOURCES[name].own else ():
        data = files[url.rpartition("/")[2]]
        monkeypatch.setitem(SOURCES[name].own.md5, url, hashlib.md5(flipped(data)).hexdigest())
    place_downloads(tmp_path, name, {file: flipped(data) for file, data in files.items()})
    with pytest.raises(InputError, match=r"cannot be read|expected|cannot be prepared") as error:
        load_images(spec_for(name, arrays), tmp_path)
    assert file
    assert "\n" not in str(error.value)


def test_what_makes_no_sense_in_an_archive_is_one_line(make, tmp_path):
    files, arrays = make("cifar10")
    rows = cifar_rows(arrays["train"][0], np.full(60, 11)).tobytes()
    members = {"batches.meta.txt": b"\n".join(b"class%d" % label for label in range(10)), "data_batch_1.bin": rows}
    place_downloads(tmp_path, "cifar10", {"cifar-10-binary.tar.gz": tar_gz(members)})
    with pytest.raises(InputError, match="dataset 'cifar10' cannot be prepared there: ") as error:
        load_images(spec_for("cifar10", arrays), tmp_path)
    assert "\n" not in str(error.value)
    members["batches.meta.txt"] = b"\xff\xfe"
    place_downloads(tmp_path, "cifar10", {"cifar-10-binary.tar.gz": tar_gz(members)})
    with pytest.raises(InputError, match=r"tar\.gz: cannot be read: 'utf-8' codec"):
        load_images(spec_for("cifar10", arrays), tmp_path)
    assert files


class Proxy(http.server.BaseHTTPRequestHandler):
    """Answers for every host, with the files of the server by their names."""

    def do_HEAD(self):
        self.send_response(200)
        self.end_headers()

    def do_GET(self):
        data, sent = self.server.files[self.path.rpartition("/")[2]]
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data[:sent])

    def log_message(self, *arguments):
        pass


@pytest.fixture
def network(monkeypatch):
    """A network of one machine that has every address: a proxy. Returns where to put its files."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Proxy) as server:
        server.files = {}
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{server.server_port}")
        monkeypatch.delenv("no_proxy", raising=False)
        yield server.files
        server.shutdown()


def test_an_archive_is_downloaded_once_and_an_interrupted_download_begins_anew(make, tmp_path, network):
    files, arrays = make("tiny_imagenet")
    ((file, data),) = files.items()
    network[file] = data, len(data) // 2
    spec = spec_for("tiny_imagenet", arrays)
    with pytest.raises(InputError, match="dataset 'tiny_imagenet': the download failed") as error:
        load_images(spec, tmp_path)
    assert "\n" not in str(error.value)
    network[file] = data, len(data)
    assert rows(*load_images(spec, tmp_path).test) == rows(*arrays["test"])
    network.clear()
    again, _ = read_anew(spec, tmp_path)
    assert rows(*again.test) == rows(*arrays["test"])


def test_a_download_that_only_jaxzoo_can_check_is_fetched_anew_when_wrong(make, tmp_path, network):
    files, arrays = make("tiny_imagenet")
    ((file, data),) = files.items()
    network[file] = data + b"x", len(data) + 1
    spec = spec_for("tiny_imagenet", arrays)
    with pytest.raises(InputError, match=r"\.zip: its md5 sum is"):
        load_images(spec, tmp_path)
    network[file] = data, len(data)
    assert rows(*load_images(spec, tmp_path).test) == rows(*arrays["test"])


def test_a_download_with_another_checksum_is_one_line(make, tmp_path, network):
    files, arrays = make("svhn_cropped")
    network |= {file: (data, len(data)) for file, data in files.items()}
    spec = dataclasses.replace(spec_for("svhn_cropped", arrays), name="svhn", tfds="svhn_cropped")
    with pytest.raises(
        InputError, match=r"dataset 'svhn': a download has the wrong checksum: .*train_32x32|test_32x32"
    ):
        load_images(spec, tmp_path)
    assert set(network) == {"train_32x32.mat", "test_32x32.mat"}  # extra_32x32.mat was not asked for
    assert not list(tmp_path.glob("svhn_cropped/*"))


def test_without_a_network_it_says_what_to_fetch_and_where_to_put_it(tmp_path):
    with pytest.raises(
        InputError, match=r"http://ufldl.stanford.edu/housenumbers/train_32x32\.mat and .*test_32x32\.mat"
    ):
        load_images(jaxzoo.load_spec("svhn-seed").dataset, tmp_path)
    assert not list(tmp_path.iterdir())
