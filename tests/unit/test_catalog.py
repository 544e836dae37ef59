import gzip
import hashlib
import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pooch
import pytest
import requests
import sklearn.datasets
from numpy.typing import NDArray

from regulens.data.catalog import (
    CATALOG,
    DatasetInfo,
    SourceFile,
    dataset_info,
    load_dataset,
    locate,
    search_places,
    verify,
)
from regulens.data.dataset import Dataset
from regulens.errors import DataError, UserError

FASHION = "fashion-mnist"
SHA256 = {
    "train-images-idx3-ubyte": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    "train-labels-idx1-ubyte": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    "t10k-images-idx3-ubyte": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    "t10k-labels-idx1-ubyte": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
}
MD5 = {
    "train-images-idx3-ubyte": "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
    "train-labels-idx1-ubyte": "25c81989df183df01b3e8a0aad5dffbe",
    "t10k-images-idx3-ubyte": "bef4ecab320f06d8554ea6380940ec79",
    "t10k-labels-idx1-ubyte": "bb300cfdad3c16e7a12a480ee83cd310",
}
TRAIN_IMAGES, TRAIN_LABELS, *_ = SHA256
PIXELS: dict[str, NDArray[np.uint8]] = {
    "train-images-idx3-ubyte": np.arange(5 * 3 * 2, dtype=np.uint8).reshape(5, 3, 2),
    "train-labels-idx1-ubyte": np.array([3, 9, 0, 1, 3], np.uint8),
    "t10k-images-idx3-ubyte": np.arange(2 * 3 * 2, dtype=np.uint8).reshape(2, 3, 2),
    "t10k-labels-idx1-ubyte": np.array([2, 1], np.uint8),
}
PLACES = ["$REGULENS_DATA", "regulens cache", "Keras cache", "torchvision cache"]


def idx(pixels: NDArray[np.uint8]) -> bytes:
    header = struct.pack(">HBB", 0, 8, pixels.ndim) + struct.pack(f">{pixels.ndim}I", *pixels.shape)
    return header + pixels.tobytes()


def place_files(folder: Path, compress: Callable[[bytes], bytes] = gzip.compress, suffix: str = ".gz") -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, pixels in PIXELS.items():
        (folder / f"{name}{suffix}").write_bytes(compress(idx(pixels)))


@pytest.fixture(autouse=True)
def bare_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home and a working folder without any data, and no settings: the real machine is not looked at."""
    home = tmp_path / "home"
    (home / "work").mkdir(parents=True)
    for variable in ("REGULENS_DATA", "REGULENS_CACHE", "KERAS_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.chdir(home / "work")
    return home


@pytest.fixture
def folders(bare_machine: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The folder of each of PLACES, all of them looked into, all of them empty."""
    for variable in ("REGULENS_DATA", "REGULENS_CACHE", "KERAS_HOME"):
        monkeypatch.setenv(variable, str(bare_machine / variable))
    return [
        bare_machine / "REGULENS_DATA" / FASHION,
        bare_machine / "REGULENS_CACHE" / FASHION,
        bare_machine / "KERAS_HOME" / "datasets" / FASHION,
        Path("data/FashionMNIST/raw"),
    ]


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> DatasetInfo:
    """Fashion-MNIST with five tiny images, in the catalog for the time of one test."""
    files = tuple(
        SourceFile(name, pixels.shape, hashlib.sha256(idx(pixels)).hexdigest(), MD5[name])
        for name, pixels in PIXELS.items()
    )
    info = replace(CATALOG[FASHION], images=5, image_shape=(3, 2, 1), files=files)
    monkeypatch.setitem(CATALOG, FASHION, info)
    return info


@pytest.fixture
def downloads(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str | None]]:
    """The (address, checksum) of every file asked for; each is delivered as published."""
    asked: list[tuple[str, str | None]] = []

    def retrieve(url: str, known_hash: str | None, fname: str, path: Path) -> str:
        asked.append((url, known_hash))
        target = Path(path) / fname
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(gzip.compress(idx(PIXELS[fname.removesuffix(".gz")])))
        return str(target)

    monkeypatch.setattr(pooch, "retrieve", retrieve)
    return asked


def fail_to_download(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def retrieve(*args: object, **kwargs: object) -> str:
        raise error

    monkeypatch.setattr(pooch, "retrieve", retrieve)


def message_of(act: Callable[[], object]) -> str:
    with pytest.raises(DataError) as caught:
        act()
    lines = [str(caught.value), *caught.value.details]
    assert all("\n" not in line for line in lines)
    return "\n".join(lines)


def test_fashion_mnist_is_the_four_official_files() -> None:
    info = dataset_info(FASHION)
    assert {file.name: file.sha256 for file in info.files} == SHA256
    assert {file.name: file.md5 for file in info.files} == MD5
    assert [file.shape for file in info.files] == [(60_000, 28, 28), (60_000,), (10_000, 28, 28), (10_000,)]
    assert (info.images, info.image_shape, info.licence) == (60_000, (28, 28, 1), "MIT")
    assert info.class_names[:2] == ("T-shirt/top", "Trouser")
    assert len(set(info.class_names)) == 10


@pytest.mark.parametrize("name", CATALOG)
def test_every_entry_is_listed_under_its_own_name(name: str) -> None:
    info = CATALOG[name]
    assert info.name == name
    assert info.title
    assert info.licence


@pytest.mark.parametrize(("name", "nearest"), [("fashon-mnist", FASHION), ("digit", "digits"), ("mnist", FASHION)])
def test_an_unknown_data_set_is_named_with_the_nearest(name: str, nearest: str) -> None:
    with pytest.raises(UserError) as caught:
        load_dataset(name)
    assert str(caught.value) == f'unknown data set "{name}"; did you mean {nearest}?'


@pytest.mark.parametrize("first", range(len(PLACES)))
def test_the_first_place_with_all_files_is_taken(tiny: DatasetInfo, folders: list[Path], first: int) -> None:
    for folder in folders[first:]:
        place_files(folder)
    located = locate(tiny)
    assert located is not None
    assert located.place == PLACES[first]
    assert located.paths == tuple(folders[first] / f"{name}.gz" for name in PIXELS)


def test_without_settings_the_usual_folders_below_home_are_searched(tiny: DatasetInfo, bare_machine: Path) -> None:
    found = [(place, folder) for place, folder in search_places(tiny) if folder.is_absolute()]
    assert ("Keras cache", bare_machine / ".keras" / "datasets" / FASHION) in found
    assert ("torchvision cache", bare_machine / "data" / "FashionMNIST" / "raw") in found
    assert [place for place, folder in found if bare_machine not in folder.parents] == []
    assert "$REGULENS_DATA" not in dict(found)


def test_a_place_that_lacks_a_file_is_passed_over(tiny: DatasetInfo, folders: list[Path]) -> None:
    place_files(folders[0])
    (folders[0] / f"{TRAIN_LABELS}.gz").unlink()
    place_files(folders[2])
    located = locate(tiny)
    assert located is not None
    assert located.place == "Keras cache"


def test_a_data_set_that_is_nowhere_is_located_nowhere(tiny: DatasetInfo, folders: list[Path]) -> None:
    assert locate(tiny) is None


@pytest.mark.parametrize(("compress", "suffix"), [(bytes, ""), (gzip.compress, ".gz")], ids=["plain", "gzip"])
def test_the_official_training_images_are_the_data_set(
    tiny: DatasetInfo, folders: list[Path], compress: Callable[[bytes], bytes], suffix: str
) -> None:
    place_files(folders[0], compress, suffix)
    dataset = load_dataset(FASHION)
    np.testing.assert_array_equal(dataset.images, PIXELS[TRAIN_IMAGES][..., np.newaxis], strict=True)
    np.testing.assert_array_equal(dataset.labels, PIXELS[TRAIN_LABELS], strict=True)
    assert (dataset.name, dataset.class_names) == (FASHION, tiny.class_names)
    assert verify(tiny).place == "$REGULENS_DATA"


def test_data_at_hand_is_not_downloaded(
    tiny: DatasetInfo, folders: list[Path], downloads: list[tuple[str, str | None]]
) -> None:
    place_files(folders[3])
    assert len(load_dataset(FASHION).images) == 5
    assert downloads == []


def test_a_data_set_found_nowhere_is_downloaded_once_with_its_published_checksums(
    tiny: DatasetInfo, folders: list[Path], downloads: list[tuple[str, str | None]]
) -> None:
    first, second = load_dataset(FASHION), load_dataset(FASHION)
    assert downloads == [(f"{tiny.base_url}/{name}.gz", f"md5:{MD5[name]}") for name in PIXELS]
    assert first.digest == second.digest
    located = locate(tiny)
    assert located is not None
    assert located.place == "regulens cache"


@pytest.mark.parametrize(
    ("error", "why"),
    [
        (requests.exceptions.ConnectionError("no route\nto host"), "the download failed (ConnectionError)"),
        (TimeoutError("timed out"), "the download failed (TimeoutError)"),
        (PermissionError(13, "Permission denied"), "the download failed (PermissionError)"),
        (ValueError("MD5 hash of downloaded file does not match"), "does not have the published checksum"),
    ],
)
def test_a_failed_download_says_where_it_looked_and_how_to_place_the_files(
    tiny: DatasetInfo, folders: list[Path], monkeypatch: pytest.MonkeyPatch, error: Exception, why: str
) -> None:
    fail_to_download(monkeypatch, error)
    message = message_of(lambda: load_dataset(FASHION))
    assert message.startswith(f"{FASHION} is not on this machine")
    assert why in message
    assert [place for place in PLACES if place not in message] == []
    assert [name for name in PIXELS if f"{name}.gz" not in message] == []
    assert tiny.base_url in message
    assert f"into {folders[1]}, or point REGULENS_DATA at the folder above {FASHION}" in message
    assert "`regulens run quickstart` needs no download" in message


def test_a_place_with_some_of_the_files_is_told_what_it_lacks(
    tiny: DatasetInfo, folders: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    place_files(folders[0])
    (folders[0] / f"{TRAIN_LABELS}.gz").unlink()
    fail_to_download(monkeypatch, OSError())
    message = message_of(lambda: load_dataset(FASHION))
    assert f"{folders[0]} ($REGULENS_DATA: only {TRAIN_LABELS} missing)" in message
    assert message.count("missing") == 1


def test_verifying_downloads_nothing(
    tiny: DatasetInfo, folders: list[Path], downloads: list[tuple[str, str | None]]
) -> None:
    message = message_of(lambda: verify(tiny))
    assert "nothing was downloaded: `regulens data get` does that" in message
    assert downloads == []


@pytest.mark.parametrize("act", [load_dataset, lambda name: verify(CATALOG[name])], ids=["load", "verify"])
@pytest.mark.parametrize("name", PIXELS)
def test_a_damaged_file_is_named_even_if_its_images_are_not_used(
    tiny: DatasetInfo, folders: list[Path], name: str, act: Callable[[str], object]
) -> None:
    place_files(folders[0])
    path = folders[0] / f"{name}.gz"
    path.write_bytes(path.read_bytes()[:-9])
    assert message_of(lambda: act(FASHION)).startswith(f"{path}: cannot be decompressed")


@pytest.mark.parametrize("name", PIXELS)
def test_changed_pixels_are_caught_by_the_checksum(tiny: DatasetInfo, folders: list[Path], name: str) -> None:
    place_files(folders[0], bytes, "")
    path = folders[0] / name
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    assert message_of(lambda: load_dataset(FASHION)).startswith(f"{path}: checksum differs")


def test_another_data_set_in_its_place_is_refused(folders: list[Path]) -> None:
    place_files(folders[0])
    message = message_of(lambda: load_dataset(FASHION))
    assert str(folders[0] / f"{TRAIN_IMAGES}.gz") in message
    assert "expected (60000, 28, 28)" in message


@pytest.fixture(scope="module")
def own_digits() -> Dataset:
    return load_dataset("digits")


def test_digits_are_scikit_learns_enlarged_to_the_size_of_fashion_mnist(own_digits: Dataset) -> None:
    assert own_digits.images.shape == (1797, 28, 28, 1)
    assert own_digits.images.dtype == np.uint8
    assert (own_digits.images.min(), own_digits.images.max()) == (0, 255)
    assert own_digits.class_names == tuple("0123456789")
    np.testing.assert_array_equal(own_digits.labels, sklearn.datasets.load_digits().target)


def test_digits_are_blocks_of_three_by_three_in_a_border_of_two(own_digits: Dataset) -> None:
    pixels = own_digits.images[..., 0]
    blocks = pixels[:, 2:26, 2:26].reshape(-1, 8, 3, 8, 3)
    assert (blocks == blocks[:, :, :1, :, :1]).all()
    assert pixels[:, 2:26, 2:26].sum() == pixels.sum()
    original = sklearn.datasets.load_digits().images
    np.testing.assert_array_equal(np.rint(blocks[:, :, 0, :, 0] / 255 * 16), original)


def test_digits_have_the_published_digest(own_digits: Dataset) -> None:
    assert own_digits.digest == "0f2a70c64ad16a84a084dbe35b5d6ede19cdd35e4e01c6afb256996bda63fa89"


def test_digits_agree_with_their_entry(own_digits: Dataset) -> None:
    info = dataset_info("digits")
    assert (len(own_digits.images), own_digits.image_shape) == (info.images, info.image_shape)
    assert own_digits.class_names == info.class_names
    assert verify(info).place == "part of scikit-learn"


def test_digits_changed_inside_scikit_learn_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    bunch = sklearn.datasets.load_digits()
    images = bunch.images.copy()
    images[7, 3, 3] = (images[7, 3, 3] + 8) % 16
    monkeypatch.setattr(sklearn.datasets, "load_digits", lambda: SimpleNamespace(images=images, target=bunch.target))
    assert "reinstall scikit-learn" in message_of(lambda: verify(CATALOG["digits"]))


def test_the_arrays_of_named_data_sets_are_read_only(
    tiny: DatasetInfo, folders: list[Path], own_digits: Dataset
) -> None:
    place_files(folders[0])
    for dataset in (load_dataset(FASHION), own_digits):
        assert not dataset.images.flags.writeable
        assert not dataset.labels.flags.writeable
