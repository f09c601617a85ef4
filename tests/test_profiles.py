"""Inks and L*a*b* become sRGB; a profile is never attached to pixels that it is not for."""

import io
import struct
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import tifffile
from PIL import Image as Pil
from PIL import ImageCms

from upscale.media.reading.decode import open_file
from upscale.media.reading.profiles import cmyk_to_srgb, fitting, lab_to_srgb, space_of, srgb_profile

Pixels = npt.NDArray[Any]
INKS = np.array([[0, 0, 0, 0], [255, 0, 0, 0], [0, 255, 0, 0], [0, 0, 255, 0], [0, 0, 0, 255]], np.uint8)
SHOWN = np.array([[255, 255, 255], [180, 40, 60], [50, 140, 50], [70, 60, 160], [0, 0, 0]])
"""What the made-up printer below makes of no ink, cyan, magenta, yellow and black: nothing that one could guess."""


def tag(kind: bytes, data: bytes) -> bytes:
    return kind + b"\0\0\0\0" + data


def cmyk_profile() -> bytes:
    """An output profile (ICC.1:2001-04, lut8Type) for that printer."""
    colors = np.zeros((2, 2, 2, 2, 3))
    for c, m, y, k in np.ndindex(2, 2, 2, 2):
        light = np.ones(3)
        for on, shown in zip((c, m, y, k), SHOWN[1:], strict=True):
            light = light * shown / 255 if on else light
        colors[c, m, y, k] = light * 255
    srgb, lab = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
    transform = ImageCms.buildTransform(srgb, lab, "RGB", "LAB")
    flat = Pil.fromarray(np.rint(colors).astype(np.uint8).reshape(1, 16, 3))
    grid = np.frombuffer(ImageCms.applyTransform(flat, transform).tobytes(), np.uint8).reshape(16, 3).copy()
    grid[:, 1:] ^= 128  # Pillow's a* and b* are signed
    ramp = bytes(range(256))
    matrix = struct.pack(">9i", 65536, 0, 0, 0, 65536, 0, 0, 0, 65536)
    lut = tag(b"mft1", bytes((4, 3, 2, 0)) + matrix + ramp * 4 + grid.tobytes() + ramp * 3)
    white = tag(b"XYZ ", struct.pack(">3i", 63190, 65536, 54061))
    name = b"made up\0"
    description = tag(b"desc", struct.pack(">I", len(name)) + name + bytes(78))
    parts = {b"desc": description, b"cprt": tag(b"text", b"none\0"), b"wtpt": white, b"A2B0": lut, b"A2B1": lut}
    table, body, at = struct.pack(">I", len(parts)), b"", 128 + 4 + 12 * len(parts)
    for key, data in parts.items():
        data += b"\0" * (-len(data) % 4)
        table += key + struct.pack(">II", at + len(body), len(data))
        body += data
    head = struct.pack(">I4sI", at + len(body), b"none", 0x02400000) + b"prtrCMYKLab "
    head += struct.pack(">6H", 2000, 1, 1, 0, 0, 0) + b"acsp" + bytes(28)
    return head + struct.pack(">3i", 63190, 65536, 54061) + bytes(128 - len(head) - 12) + table + body


PROFILE = cmyk_profile()
INKED = np.repeat(np.repeat(INKS[None], 16, axis=0), 16, axis=1)
"""Five patches of 16 × 16."""


def patches(rgb: Pixels) -> Pixels:
    return rgb[8, 8::16].astype(float)


def read(path: Path) -> Pixels:
    (picture,) = open_file(path).pictures()
    return np.concatenate([band.rgb for band in picture.bands()])


@pytest.mark.parametrize("name", ["a.jpg", "a.tif", "lzw.tif"])
def test_row_17_cmyk_goes_through_its_profile_to_srgb(tmp_path: Path, name: str) -> None:
    options: dict[str, Any] = {"quality": 100, "subsampling": 0} if name == "a.jpg" else {}
    if name == "lzw.tif":
        options["compression"] = "tiff_lzw"
    Pil.fromarray(INKED, "CMYK").save(tmp_path / name, icc_profile=PROFILE, **options)
    source = open_file(tmp_path / name)
    assert source.warnings == ["CMYK becomes sRGB, through its profile"]
    assert space_of(source.header.color.icc) == "RGB", "a CMYK profile is never attached to RGB pixels"
    assert source.header.color.icc == srgb_profile()
    assert np.abs(patches(read(tmp_path / name)) - SHOWN).max() <= 6


@pytest.mark.parametrize("name", ["a.jpg", "a.tif"])
def test_cmyk_without_a_profile_is_converted_plainly_and_told(tmp_path: Path, name: str) -> None:
    Pil.fromarray(INKED, "CMYK").save(tmp_path / name)
    source = open_file(tmp_path / name)
    (warning,) = source.warnings
    assert "CMYK" in warning
    assert source.header.color.icc is None
    plain = np.array([[255, 255, 255], [0, 255, 255], [255, 0, 255], [255, 255, 0], [0, 0, 0]])
    assert np.abs(patches(read(tmp_path / name)) - plain).max() <= 3


def test_16_bit_cmyk(tmp_path: Path) -> None:
    deep = INKED.astype(np.uint16) * 257
    more: dict[str, Any] = {"photometric": "separated", "planarconfig": "contig", "metadata": None}
    tifffile.imwrite(tmp_path / "a.tif", deep, iccprofile=PROFILE, **more)
    source = open_file(tmp_path / "a.tif")
    assert source.header.dtype == np.uint16
    assert any("8 bits" in warning for warning in source.warnings)
    assert np.abs(patches(read(tmp_path / "a.tif")) / 257 - SHOWN).max() <= 6
    shades = np.zeros((1, 1000, 4), np.uint16)
    shades[..., 0] = np.arange(1000)
    assert len(np.unique(cmyk_to_srgb(shades, None)[..., 0])) == 1000, "without a profile every level is kept"


def test_plain_conversion_is_rounded() -> None:
    given = np.random.default_rng(0).integers(0, 256, (600, 5, 4)).astype(np.uint8)
    exact = (255.0 - given[..., :3]) * (255.0 - given[..., 3:]) / 255
    assert np.abs(cmyk_to_srgb(given, None) - exact).max() <= 0.5


def lab_patches() -> Pixels:
    """8-bit sRGB colors, and the same as Pillow's L*a*b* (a* and b* signed)."""
    rgb = np.random.default_rng(1).integers(30, 226, (8, 40, 3)).astype(np.uint8)
    transform = ImageCms.buildTransform(ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), "RGB", "LAB")
    picture: Any = ImageCms.applyTransform(Pil.fromarray(rgb), transform)
    return np.stack((rgb, np.frombuffer(picture.tobytes(), np.uint8).reshape(rgb.shape)))


def test_lab_formulas_agree_with_littlecms() -> None:
    rgb, lab = lab_patches()
    values = np.dstack((lab[..., :1] / 2.55, lab[..., 1:].view(np.int8))).astype(np.float32)
    found = lab_to_srgb(values, np.uint8).astype(int)
    assert np.abs(found - rgb).max() <= 4, "8-bit L*a*b* is coarse"
    assert abs((found - rgb).mean()) < 0.3


@pytest.mark.parametrize("photometric", [8, 9])
@pytest.mark.parametrize("bits", [8, 16])
def test_row_17_lab_tiffs_become_srgb(tmp_path: Path, photometric: int, bits: int) -> None:
    rgb, lab = lab_patches()
    lightness, around = lab[..., :1].astype(float), lab[..., 1:].view(np.int8).astype(float)
    if bits == 8:
        stored = np.dstack((lightness, around % 256 if photometric == 8 else around + 128)).astype(np.uint8)
    else:
        dark = lightness * (65535 / 255 if photometric == 8 else 256)
        stored = np.rint(np.dstack((dark, around * 256 % 65536 if photometric == 8 else (around + 128) * 256)))
        stored = stored.astype(np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", stored, photometric=photometric, planarconfig="contig", metadata=None)
    source = open_file(tmp_path / "a.tif")
    assert source.header.color.icc == srgb_profile()
    assert source.header.dtype == stored.dtype
    assert source.warnings
    found = read(tmp_path / "a.tif") / (257 if bits == 16 else 1)
    assert np.abs(found - rgb).max() <= 4


def test_the_srgb_profile_is_one_and_the_same_always() -> None:
    assert space_of(srgb_profile()) == "RGB"
    opened = ImageCms.getOpenProfile(io.BytesIO(srgb_profile()))
    assert "sRGB" in ImageCms.getProfileDescription(opened)
    assert srgb_profile()[24:36] == struct.pack(">6H", 2000, 1, 1, 0, 0, 0), "no time of day in it"


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.tif"])
@pytest.mark.parametrize(("mode", "space"), [("RGB", "CMYK"), ("L", "RGB"), ("RGB", "GRAY")])
def test_row_17_a_profile_for_other_pixels_is_not_attached(tmp_path: Path, name: str, mode: str, space: str) -> None:
    profile = bytearray(srgb_profile())
    profile[16:20] = space.ljust(4).encode()
    pixels = np.full((16, 16) if mode == "L" else (16, 16, 3), 77, np.uint8)
    Pil.fromarray(pixels).save(tmp_path / name, icc_profile=PROFILE if space == "CMYK" else bytes(profile))
    source = open_file(tmp_path / name)
    assert source.header.color.icc is None
    (warning,) = source.warnings
    assert space in warning
    assert np.abs(read(tmp_path / name).astype(int) - 77).max() <= 1


def test_wide_gamut_profiles_are_carried_and_pixels_untouched(tmp_path: Path) -> None:
    wide = bytearray(srgb_profile())
    wide[80:84] = b"WIDE"
    pixels = np.random.default_rng(0).integers(0, 256, (16, 16, 3)).astype(np.uint8)
    for name in ("a.png", "a.tif"):
        Pil.fromarray(pixels).save(tmp_path / name, icc_profile=bytes(wide))
        assert open_file(tmp_path / name).header.color.icc == bytes(wide)
        assert np.array_equal(read(tmp_path / name), pixels)


def test_what_is_no_profile_is_dropped_and_told() -> None:
    cut = srgb_profile()[:200]
    for nonsense in (b"", b"x" * 300, cut):
        found, warnings = fitting(nonsense, False)
        assert found is None
        assert len(warnings) == 1
    assert fitting(None, True) == (None, [])
