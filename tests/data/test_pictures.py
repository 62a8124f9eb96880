"""Images: every mode is normalised, every damage has a reason, and no path leaves the folder."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from unfreeze.data.duplicates import near_images
from unfreeze.data.images import decode, probe
from unfreeze.data.manifest import ImageRef
from unfreeze.data.prepare import inputs_of, prepare
from unfreeze.data.sources import ReadOptions, read_source
from unfreeze.errors import DataError
from unfreeze.recipe import DataRecipe


def noise(seed: int, height: int = 40, width: int = 48) -> Image.Image:
    small = np.random.default_rng(seed).integers(0, 255, (6, 7, 3), dtype=np.uint8)
    return Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)


def ref(image: Image.Image, kind: str = "PNG", **options: object) -> ImageRef:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)  # type: ignore[arg-type]
    return ImageRef(data=buffer.getvalue())


def folders(root: Path, splits: tuple[str, ...] = ("",), count: int = 6) -> Path:
    seed = 0
    for split in splits:
        for label in ("cat", "dog"):
            place = root / split / label
            place.mkdir(parents=True)
            for i in range(count):
                noise(seed := seed + 1).save(place / f"{i}.png")
    return root


MAX = 64_000_000
grey16 = Image.fromarray((np.arange(400, dtype=np.uint16) * 160).reshape(20, 20))


@pytest.mark.parametrize(
    ("reference", "mode"),
    [
        (ref(noise(1)), "RGB"),
        (ref(noise(1).convert("L")), "L"),
        (ref(noise(1).convert("CMYK"), "JPEG"), "RGB"),
        (ref(noise(1).convert("P")), "RGB"),
        (ref(noise(1).convert("1")), "L"),
        (ref(noise(1).convert("RGBA")), "RGB"),
        (ref(noise(1).convert("LA")), "L"),
        (ref(grey16), "L"),
        (ref(Image.fromarray(np.random.default_rng(0).random((9, 9), dtype=np.float32)), "TIFF"), "L"),
        (ref(noise(1), "GIF", save_all=True, append_images=[noise(2)]), "RGB"),
        (ref(Image.new("RGB", (1, 1))), "RGB"),
    ],
    ids=[
        "rgb",
        "grey",
        "cmyk",
        "palette",
        "bilevel",
        "alpha",
        "grey-alpha",
        "16-bit",
        "float",
        "animated",
        "one-pixel",
    ],
)
def test_every_mode_becomes_rgb_or_grey(reference: ImageRef, mode: str) -> None:
    image = decode(reference, MAX)
    assert image.mode == mode
    facts = probe(reference, MAX)
    assert (facts.width, facts.height) == image.size


def test_sixteen_bits_are_scaled_not_clipped() -> None:
    values = np.asarray(decode(ref(grey16), MAX))
    assert values.max() == round(399 * 160 / 257)
    assert len(np.unique(values)) > 200


def test_transparency_lies_on_white() -> None:
    assert decode(ref(Image.new("RGBA", (4, 4), (0, 0, 0, 0))), MAX).getpixel((0, 0)) == (255, 255, 255)


def test_orientation_is_applied() -> None:
    exif = Image.Exif()
    exif[274] = 6
    assert decode(ref(noise(1), "JPEG", exif=exif), MAX).size == (40, 48)


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        (ImageRef(data=b""), "0 bytes"),
        (ImageRef(data=b"no image at all"), "no known image format"),
        (ImageRef(data=(ref(noise(1), "JPEG").data or b"")[:600]), "cannot be decoded"),
        (ImageRef(data=(ref(noise(1)).data or b"")[:600]), "cannot be decoded"),
        (ImageRef(path=Path("nowhere.png")), "cannot be read"),
    ],
    ids=["empty", "text", "truncated-jpeg", "truncated-png", "missing"],
)
def test_damage_has_a_reason(reference: ImageRef, message: str) -> None:
    for look in (decode, probe):
        with pytest.raises(DataError, match=message):
            look(reference, MAX)


def test_a_bomb_is_refused_before_it_is_decoded() -> None:
    huge = ref(Image.new("1", (6000, 6000)))
    for look in (decode, probe):
        with pytest.raises(DataError, match=r"more than data\.max_pixels=1000"):
            look(huge, 1000)


def test_one_picture_at_other_sizes_and_compressions_is_a_near_duplicate() -> None:
    same = [noise(1, 200, 240), noise(1, 200, 240).resize((120, 100))]
    others = [noise(seed, 200, 240) for seed in range(2, 12)]
    flat = [Image.new("RGB", (64, 64), (90 + i, 90, 90)) for i in range(2)]
    references = [ref(same[0]), ref(same[1], "JPEG", quality=70), *map(ref, others), *map(ref, flat)]
    assert near_images([probe(reference, MAX) for reference in references]).tolist() == [[0, 1]]


def test_class_folders(tmp_path: Path) -> None:
    (folders(tmp_path) / ".hidden").mkdir()
    noise(99).save(tmp_path / ".hidden" / "a.png")
    (tmp_path / "cat" / ".thumb.png").write_bytes(b"x")
    (tmp_path / "README.txt").write_text("about")
    reading = read_source(tmp_path, ReadOptions())
    assert reading.table.columns["label"] == ["cat"] * 6 + ["dog"] * 6
    assert reading.table.split is None
    assert [(f.kind, f.count) for f in reading.findings] == [("ignored_files", 1)]


def test_split_folders_and_metadata(tmp_path: Path) -> None:
    folders(tmp_path, ("train", "val", "test"))
    rows = [f"{p.relative_to(tmp_path)},p{i // 2}" for i, p in enumerate(sorted(tmp_path.rglob("*.png")))]
    (tmp_path / "metadata.csv").write_text("file,patient\n" + "\n".join(rows))
    table = read_source(tmp_path, ReadOptions()).table
    assert sorted(set(table.split or [])) == ["test", "train", "validation"]
    assert table.columns["patient"][0] == f"p{[r.split(',')[0] for r in rows].index(table.origin[0]) // 2}"


def test_links_that_leave_the_folder_are_refused(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    noise(50).save(outside / "secret.png")
    data = folders(tmp_path / "data")
    (data / "cat" / "link.png").symlink_to(outside / "secret.png")
    (data / "bird").symlink_to(outside)
    reading = read_source(data, ReadOptions())
    assert {row.origin for row in reading.quarantine} == {"cat/link.png", "bird"}
    assert len(reading.table) == 12


def test_a_folder_of_links_alone_says_that_they_were_put_aside(tmp_path: Path) -> None:
    outside = folders(tmp_path / "outside")
    (tmp_path / "data" / "cat").mkdir(parents=True)
    for path in sorted((outside / "cat").iterdir()):
        (tmp_path / "data" / "cat" / path.name).symlink_to(path)
    with pytest.raises(DataError, match=r"\d+ files put aside \(a link that leaves the data folder: cat/"):
        read_source(tmp_path / "data", ReadOptions())


def test_paths_in_a_table_stay_in_its_folder(tmp_path: Path) -> None:
    data = folders(tmp_path / "data")
    noise(50).save(tmp_path / "secret.png")
    rows = [f"{p.relative_to(data)},{p.parent.name}" for p in sorted(data.rglob("*.png"))]
    (data / "a.csv").write_text("image,label\n" + "\n".join([*rows, "../secret.png,cat", "http://x/y.png,dog"]))
    prepared = prepare(DataRecipe(path=str(data / "a.csv")), task=None, seed=0)
    assert sum(prepared.manifest.rows.values()) == 12
    assert "leaves the data folder" in prepared.quarantine[0].reason
    assert "is an address" in prepared.quarantine[1].reason


def test_unreadable_images_are_quarantined_or_fail(tmp_path: Path) -> None:
    folders(tmp_path)
    (tmp_path / "cat" / "zero.png").write_bytes(b"")
    (tmp_path / "dog" / "cut.png").write_bytes((ref(noise(77)).data or b"")[:300])
    prepared = prepare(DataRecipe(path=str(tmp_path)), task=None, seed=0)
    assert [row.origin for row in prepared.quarantine] == ["cat/zero.png", "dog/cut.png"]
    with pytest.raises(DataError, match="2 images cannot be read"):
        prepare(DataRecipe(path=str(tmp_path), unreadable="fail"), task=None, seed=0)


def test_a_folder_without_images_says_what_it_holds(tmp_path: Path) -> None:
    (tmp_path / "cats").mkdir()
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(DataError, match=r"neither images in class folders nor tables .* notes\.txt"):
        read_source(tmp_path, ReadOptions())


def test_new_images_are_read_from_a_file_a_folder_and_objects(tmp_path: Path) -> None:
    manifest = prepare(DataRecipe(path=str(folders(tmp_path / "data"))), task=None, seed=0).manifest
    place = tmp_path / "new"
    place.mkdir()
    noise(60).save(place / "a.png")
    (place / "b.png").write_bytes(b"broken")
    assert inputs_of(place / "a.png", manifest, DataRecipe()).inputs == [ImageRef(path=place / "a.png")]
    assert inputs_of(place, manifest, DataRecipe()).origin == ["a.png"]
    assert len(inputs_of([noise(61), np.asarray(noise(62))], manifest, DataRecipe())) == 2


def test_arrays_are_pictures() -> None:
    random = np.random.default_rng(0)
    data = {"image": random.random((30, 12, 10)), "label": [i % 2 for i in range(30)]}
    prepared = prepare(DataRecipe(), task=None, seed=0, objects=data)
    assert prepared.manifest.modality == "image"
    first = prepared.splits["train"].inputs[0]
    assert isinstance(first, ImageRef)
    assert decode(first, MAX).size == (10, 12)
