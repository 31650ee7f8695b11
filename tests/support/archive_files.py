"""Small archives in their genuine formats, and the arrays in them, for the tests of datasets.

`write_archives(name)` gives the files of a dataset by their published names, and per split the raw images and labels
that are in them.
"""

import bz2
import gzip
import io
import json
import struct
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import scipy.io
from PIL import Image
from tensorflow_datasets.core.download import checksums, resource

from jaxzoo.datasets.builders import find_builder
from jaxzoo.datasets.load import find_origin, read_images

COUNTS = {"train": 60, "test": 20}
TRAIN, VALIDATION = 50, 10


def idx(array):
    header = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    return header + array.astype(np.uint8).tobytes()


def tar_gz(members):
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as archive:
        for name, data in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return file.getvalue()


def draw(shape, classes=10, seed=0):
    """Per split random images of that shape, and labels; one image stands in train twice."""
    draws = np.random.default_rng(seed)
    arrays = {
        split: (draws.integers(0, 256, (count, *shape), np.uint8), draws.integers(0, classes, count))
        for split, count in COUNTS.items()
    }
    images, labels = arrays["train"]
    images[7], labels[7] = images[3], labels[3]
    return arrays


def idx_archives():
    arrays = draw((28, 28, 1))
    files = {}
    for split, prefix in (("train", "train"), ("test", "t10k")):
        images, labels = arrays[split]
        files[f"{prefix}-images-idx3-ubyte.gz"] = gzip.compress(idx(images[..., 0]))
        files[f"{prefix}-labels-idx1-ubyte.gz"] = gzip.compress(idx(labels))
    return files, arrays


def svhn_archives():
    arrays = draw((32, 32, 3))
    files = {}
    for split, (images, labels) in arrays.items():
        file = io.BytesIO()
        tens = np.where(labels == 0, 10, labels).astype(np.uint8)[:, None]
        scipy.io.savemat(file, {"X": np.moveaxis(images, 0, -1), "y": tens}, do_compression=True)
        files[f"{split}_32x32.mat"] = file.getvalue()
    return files, arrays


def cifar_rows(images, *labels):
    planes = images.transpose(0, 3, 1, 2).reshape(len(images), -1)
    return np.concatenate([*(label.astype(np.uint8)[:, None] for label in labels), planes], axis=1)


def cifar10_archives():
    arrays = draw((32, 32, 3))
    folder = "cifar-10-batches-bin"
    members = {f"{folder}/batches.meta.txt": "\n".join(f"class{label}" for label in range(10)).encode() + b"\n\n"}
    for part, rows in enumerate(np.array_split(cifar_rows(*arrays["train"]), 5), start=1):
        members[f"{folder}/data_batch_{part}.bin"] = rows.tobytes()
    members[f"{folder}/test_batch.bin"] = cifar_rows(*arrays["test"]).tobytes()
    return {"cifar-10-binary.tar.gz": tar_gz(members)}, arrays


def cifar100_archives():
    arrays = draw((32, 32, 3), classes=100)
    folder = "cifar-100-binary"
    members = {
        f"{folder}/coarse_label_names.txt": "\n".join(f"coarse{label}" for label in range(20)).encode() + b"\n",
        f"{folder}/fine_label_names.txt": "\n".join(f"fine{label}" for label in range(100)).encode() + b"\n",
    }
    for split, (images, labels) in arrays.items():
        members[f"{folder}/{split}.bin"] = cifar_rows(images, labels // 5, labels).tobytes()
    return {"cifar-100-binary.tar.gz": tar_gz(members)}, arrays


def stl10_archives():
    arrays = draw((96, 96, 3))
    members = {}
    for split, (images, labels) in arrays.items():
        members[f"stl10_binary/{split}_X.bin"] = images.transpose(0, 3, 2, 1).tobytes()
        members[f"stl10_binary/{split}_y.bin"] = (labels + 1).astype(np.uint8).tobytes()
    members["stl10_binary/unlabeled_X.bin"] = bytes(3 * 96 * 96)
    members["stl10_binary/class_names.txt"] = "\n".join(f"class{label}" for label in range(10)).encode() + b"\n"
    return {"stl10_binary.tar.gz": tar_gz(members)}, arrays


def usps_archives():
    arrays = draw((16, 16, 1))
    files = {}
    for split, name in (("train", "usps.bz2"), ("test", "usps.t.bz2")):
        lines = []
        for image, label in zip(*arrays[split], strict=True):
            # a little above each byte's lower bound: the published values have few digits, the reader cuts off
            values = " ".join(
                f"{place}:{2 * (value + 0.01) / 255 - 1 if value < 255 else 1:.6f}"
                for place, value in enumerate(map(int, image.ravel()), start=1)
            )
            lines.append(f"{label + 1} {values} \n")
        files[name] = bz2.compress("".join(lines).encode())
    return files, arrays


def jpeg(image):
    file = io.BytesIO()
    Image.fromarray(image).save(file, "jpeg")
    return file.getvalue()


def decoded(data):
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


def tiny_imagenet_archives():
    """200 classes with one smooth image each in train, some gray; the labels are those of the sorted WordNet ids."""
    wnids = [f"n{10_000_000 + 7919 * place % 1_000_003}" for place in range(200)]
    ordered = sorted(wnids)
    y, x = np.mgrid[:64, :64]
    top = "tiny-imagenet-200"
    members, arrays = {}, {"train": ([], []), "test": ([], [])}
    for place, wnid in enumerate(wnids):
        gray = ((3 * y + place * x) % 256).astype(np.uint8)
        data = jpeg(gray if place % 50 == 0 else np.stack([gray, gray.T, 255 - gray], axis=-1))
        members[f"{top}/train/{wnid}/images/{wnid}_0.JPEG"] = data
        members[f"{top}/train/{wnid}/{wnid}_boxes.txt"] = b"0\t0\t63\t63\n"
        arrays["train"][0].append(decoded(data))
        arrays["train"][1].append(ordered.index(wnid))
    notes = []
    for place, wnid in enumerate(wnids[:20]):
        data = jpeg(np.stack([np.uint8((place * 12 + x) % 256)] * 3, axis=-1))
        members[f"{top}/val/images/val_{place}.JPEG"] = data
        notes.append(f"val_{place}.JPEG\t{wnid}\t0\t0\t62\t62\n")
        arrays["test"][0].append(decoded(data))
        arrays["test"][1].append(ordered.index(wnid))
    members[f"{top}/test/images/test_0.JPEG"] = data
    members[f"{top}/val/val_annotations.txt"] = "".join(notes).encode()
    members[f"{top}/wnids.txt"] = "\n".join(wnids).encode() + b"\n"
    words = [f"{wnid}\tthing {place}, object" for place, wnid in enumerate(wnids)]
    members[f"{top}/words.txt"] = "\n".join([*words, "n99999999\tnone of these"]).encode()
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.mkdir(top)
        for name, content in members.items():
            archive.writestr(name, content)
    splits = {split: (np.stack(images), np.array(labels)) for split, (images, labels) in arrays.items()}
    return {"tiny-imagenet-200.zip": file.getvalue()}, splits


ARCHIVES = {
    "mnist": idx_archives,
    "fashion_mnist": idx_archives,
    "svhn_cropped": svhn_archives,
    "cifar10": cifar10_archives,
    "cifar100": cifar100_archives,
    "stl10": stl10_archives,
    "usps": usps_archives,
    "tiny_imagenet": tiny_imagenet_archives,
}


def place_downloads(root: Path, name: str, files: dict[str, bytes]) -> None:
    """Puts the files where TensorFlow Datasets keeps what it has downloaded."""
    builder = find_builder(name, root, root / name)
    infos = builder.url_infos or {}
    for file, url in builder.shelf.addresses.items():
        info = infos.get(url)
        path = root / "downloads" / name / resource.get_dl_fname(url, info and info.checksum)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(files[file])
        info = info or checksums.UrlInfo(size=len(files[file]), checksum="0" * 64, filename=file)
        resource.write_info_file(url=url, path=path, dataset_name=name, original_fname=file, url_info=info)


def read_anew(dataset, root):
    """The images, read from their files and not from the cache, and the folder of those files."""
    origin = find_origin(dataset, root)
    return read_images(dataset, origin), origin


def spoil_json(path: Path, **changes) -> None:
    """Replaces entries of a JSON file."""
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
