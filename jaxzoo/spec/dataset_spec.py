"""An image dataset as one architecture sees it."""

from dataclasses import dataclass, field

from jaxzoo.errors import require
from jaxzoo.spec.fields import LATER, require_choices, require_name, settle_fields

SPLITS = ("train", "validation", "test")
FITS = ("resize", "crop")
GRAYS = ("luma", "mean")
NAME = r"\w[\w.-]*"
MOST_PIXELS, MOST_CLASSES, MOST_LETTERS = 10**6, 10**6, 1000  # of a spec that is meant


@dataclass(frozen=True, kw_only=True)
class DatasetSpec:
    """An image dataset as one architecture sees it.

    `train`, `validation` and `test` count examples. Images are brought to `size` x `size` pixels by `fit` ("resize" is
    bilinear with antialiasing, "crop" cuts out the centre) and to `channels`. One channel of a colour image is the
    `gray` that is asked for: its "luma", or the "mean" of its channels, rounded. Images are normalised with
    `mean` and `std`, one number per channel in units of 0..1; without them both are measured on the train split.

    The images come from TensorFlow Datasets under the name `tfds` ("name", "name/config", "name:1.0.0"; without it,
    under `name`), or from the .npz files in `folder`, relative to the data directory. Train and validation examples
    are drawn from the split `train_split`. Test examples are all of `test_split`; where the two splits are one, they
    are drawn from it, too.
    """

    name: str
    classes: int
    train: int
    validation: int
    test: int
    size: int
    channels: int
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    fit: str = "resize"
    tfds: str | None = None
    folder: str | None = None
    train_split: str = "train"
    test_split: str = "test"
    gray: str = field(default="luma", metadata=LATER)

    def __post_init__(self) -> None:
        settle_fields(self)
        require(2 <= self.classes <= MOST_CLASSES, "classes", self.classes, f"2 to {MOST_CLASSES}")
        for name, least in (("train", 1), ("validation", 0), ("test", 1)):
            count = getattr(self, name)
            require(count >= least, name, count, f"{least} or more examples")
        require(1 <= self.size <= MOST_PIXELS, "size", self.size, f"1 to {MOST_PIXELS} pixels")
        require(self.channels in (1, 3), "channels", self.channels, "1 or 3")
        require((self.mean is None) == (self.std is None), "mean", self.mean, "both mean and std, or neither")
        for name, values in (("mean", self.mean), ("std", self.std)):
            if values is not None:
                require(len(values) == self.channels, name, values, f"{self.channels} numbers, one per channel")
        require(self.std is None or min(self.std) > 0, "std", self.std, "numbers above 0")
        require_choices("fit", (self.fit,), FITS)
        require_choices("gray", (self.gray,), GRAYS)
        require(self.tfds is None or self.folder is None, "folder", self.folder, "either tfds or folder")
        for name in ("name", "train_split", "test_split"):
            require_name(name, getattr(self, name), NAME, "letters, digits, _, - and dots")
        for name in ("tfds", "folder"):
            text = getattr(self, name)
            known = text is None or (text != "" and text.isprintable() and len(text) <= MOST_LETTERS)
            require(known, name, text, f"a name of at most {MOST_LETTERS} letters")

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """The shape (H, W, C) of an image, as networks take it."""
        return self.size, self.size, self.channels


def same_name(dataset: str, given: str) -> bool:
    """Whether a dataset has the given name, where hyphens and underscores count as equal."""
    return dataset.replace("-", "_") == given.replace("-", "_")
