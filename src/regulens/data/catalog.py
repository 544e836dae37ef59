"""The named data sets: what they hold, where they are found, and the checksums that prove them."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from regulens.data.dataset import Dataset
from regulens.data.formats import read_idx
from regulens.errors import DataError, UserError, check_type, suggestion

SUFFIXES = ("", ".gz", ".xz", ".bz2")


@dataclass(frozen=True)
class SourceFile:
    """One file of a data set.

    ``sha256`` is that of the decompressed bytes, ``md5`` the published one of the ``.gz`` to download.
    """

    name: str
    shape: tuple[int, ...]
    sha256: str
    md5: str


@dataclass(frozen=True)
class DatasetInfo:
    """What is known of a data set without opening it."""

    name: str
    title: str
    images: int
    image_shape: tuple[int, int, int]
    class_names: tuple[str, ...]
    licence: str
    base_url: str
    torchvision_name: str
    files: tuple[SourceFile, ...]
    load: Callable[[DatasetInfo], Dataset]


@dataclass(frozen=True)
class Located:
    """Where a data set was found: the place in words, and one path per file."""

    place: str
    paths: tuple[Path, ...]


def dataset_info(name: str) -> DatasetInfo:
    """Return what the catalog knows of a data set.

    Raises:
        UserError: if there is none of that name.
    """
    check_type(name, str, "name", "that of a data set, a text")
    if name not in CATALOG:
        raise UserError(f'unknown data set "{name}"{suggestion(name, CATALOG)}')
    return CATALOG[name]


def load_dataset(name: str) -> Dataset:
    """Return a named data set, verified against its checksums; downloads it if it is nowhere on the machine.

    Raises:
        UserError: if there is none of that name.
        DataError: if it is absent and cannot be downloaded, or a file of it is damaged.
    """
    info = dataset_info(name)
    return info.load(info)


def is_here(name: str) -> bool:
    """Return whether a named data set is on this machine, so that nothing would be fetched.

    Raises:
        UserError: if there is none of that name.
    """
    return locate(dataset_info(name)) is not None


def locate(info: DatasetInfo) -> Located | None:
    """Return the first place that holds all files of the data set, without opening them."""
    if not info.files:
        return Located("part of scikit-learn", ())
    for place, folder in search_places(info):
        paths = tuple(_find(folder, file.name) for file in info.files)
        if all(paths):
            return Located(place, tuple(path for path in paths if path))
    return None


def search_places(info: DatasetInfo) -> list[tuple[str, Path]]:
    """Return the folders looked into for a data set, in order, each with its name in words."""
    places = []
    if os.environ.get("REGULENS_DATA"):
        places.append(("$REGULENS_DATA", Path(os.environ["REGULENS_DATA"]) / info.name))
    places.append(("regulens cache", cache_folder() / info.name))
    keras_home = Path(os.environ.get("KERAS_HOME") or Path.home() / ".keras")
    places.append(("Keras cache", keras_home / "datasets" / info.name))
    raw = Path(info.torchvision_name) / "raw"
    roots = (Path("data"), Path(), Path.home() / "data", Path.home() / ".cache" / "torchvision", Path.home())
    places += [("torchvision cache", root / raw) for root in roots]
    return places


def cache_folder() -> Path:
    """Return the package's own folder for downloaded data (``$REGULENS_CACHE`` moves it)."""
    import pooch

    return Path(os.environ.get("REGULENS_CACHE") or pooch.os_cache("regulens"))


def fetch(info: DatasetInfo) -> Located:
    """Return where the data set lies, downloading it into the package's cache if it is nowhere yet.

    Raises:
        DataError: if it is absent and cannot be downloaded.
    """
    return locate(info) or _download(info)


def verify(info: DatasetInfo) -> Located:
    """Verify every file of a data set that is on this machine; nothing is downloaded.

    Raises:
        DataError: if it is absent, or naming the file that is damaged and how.
    """
    located = locate(info)
    if located is None:
        raise _absent(info, "nothing was downloaded: `regulens data get` does that")
    if info.files:
        _read(info, located)
    else:
        info.load(info)
    return located


def _load_idx(info: DatasetInfo) -> Dataset:
    """Verify all files; the official training images are the data set (the lab never used the other 10,000)."""
    images, labels = _read(info, fetch(info))[:2]
    return Dataset(info.name, images[..., np.newaxis], labels, info.class_names)


def _read(info: DatasetInfo, located: Located) -> list[NDArray[np.uint8]]:
    pairs = zip(info.files, located.paths, strict=True)
    return [read_idx(path, file.shape, file.sha256) for file, path in pairs]


def _find(folder: Path, name: str) -> Path | None:
    return next((path for suffix in SUFFIXES if (path := folder / f"{name}{suffix}").is_file()), None)


def _download(info: DatasetInfo) -> Located:
    import pooch

    folder = cache_folder() / info.name
    if not sys.stderr.isatty():  # there our one line says it all; a person at a terminal wants to see it at work
        pooch.get_logger().setLevel("WARNING")
    try:
        paths = [
            pooch.retrieve(f"{info.base_url}/{file.name}.gz", f"md5:{file.md5}", f"{file.name}.gz", folder)
            for file in info.files
        ]
    except OSError as error:  # requests' errors are OSErrors too
        raise _absent(info, f"the download failed ({type(error).__name__})") from error
    except ValueError as error:  # pooch: the checksum differs; the file is not kept
        raise _absent(info, "what was downloaded does not have the published checksum") from error
    return Located("download", tuple(map(Path, paths)))


def _absent(info: DatasetInfo, why: str) -> DataError:
    """Return the error that says what to do, and below it where the files come from and where they were looked for."""
    places = search_places(info)
    looked = dict.fromkeys(
        f"{folder} ({place}{lacking})" if (lacking := _lacking(info, folder)) else place for place, folder in places
    )
    return DataError(
        f"{info.name} is not on this machine and {why}; put its {len(info.files)} files into "
        f"{cache_folder() / info.name}, or point REGULENS_DATA at the folder above {info.name}",
        f"files: {', '.join(f'{file.name}.gz' for file in info.files)} from {info.base_url}",
        f"looked in: {', '.join(looked)}; `regulens run quickstart` needs no download",
    )


def _lacking(info: DatasetInfo, folder: Path) -> str:
    """Say what is missing where some of the files lie; nothing where none does."""
    missing = [file.name for file in info.files if _find(folder, file.name) is None]
    return "" if len(missing) == len(info.files) else f": only {', '.join(missing)} missing"


def _load_digits(info: DatasetInfo) -> Dataset:
    from sklearn.datasets import load_digits

    bunch = load_digits()
    pixels = np.rint(bunch.images * (255 / 16)).astype(np.uint8)
    enlarged = np.pad(pixels.repeat(3, axis=1).repeat(3, axis=2), ((0, 0), (2, 2), (2, 2)))
    dataset = Dataset(info.name, enlarged[..., np.newaxis], bunch.target.astype(np.uint8), info.class_names)
    if dataset.digest != DIGITS_DIGEST:
        raise DataError("digits: the copy inside scikit-learn is not the published one; reinstall scikit-learn")
    return dataset


DIGITS_DIGEST = "0f2a70c64ad16a84a084dbe35b5d6ede19cdd35e4e01c6afb256996bda63fa89"

CATALOG = {
    info.name: info
    for info in (
        DatasetInfo(
            name="fashion-mnist",
            title="Fashion-MNIST, the 60,000 official training images (Zalando Research)",
            images=60_000,
            image_shape=(28, 28, 1),
            class_names=(
                "T-shirt/top",
                "Trouser",
                "Pullover",
                "Dress",
                "Coat",
                "Sandal",
                "Shirt",
                "Sneaker",
                "Bag",
                "Ankle boot",
            ),
            licence="MIT",
            base_url="http://fashion-mnist.s3-website.eu-central-1.amazonaws.com",
            torchvision_name="FashionMNIST",
            files=(
                SourceFile(
                    "train-images-idx3-ubyte",
                    (60_000, 28, 28),
                    "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
                    "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
                ),
                SourceFile(
                    "train-labels-idx1-ubyte",
                    (60_000,),
                    "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
                    "25c81989df183df01b3e8a0aad5dffbe",
                ),
                SourceFile(
                    "t10k-images-idx3-ubyte",
                    (10_000, 28, 28),
                    "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
                    "bef4ecab320f06d8554ea6380940ec79",
                ),
                SourceFile(
                    "t10k-labels-idx1-ubyte",
                    (10_000,),
                    "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
                    "bb300cfdad3c16e7a12a480ee83cd310",
                ),
            ),
            load=_load_idx,
        ),
        DatasetInfo(
            name="digits",
            title="Handwritten digits of scikit-learn (UCI), 8x8 enlarged to 28x28; part of scikit-learn",
            images=1_797,
            image_shape=(28, 28, 1),
            class_names=tuple("0123456789"),
            licence="CC BY 4.0",
            base_url="",
            torchvision_name="",
            files=(),
            load=_load_digits,
        ),
    )
}
