"""Scenes, sequences and cameras are read from the names that cameras give."""

from __future__ import annotations

import re

import pytest

from weakseg.errors import DataError
from weakseg.importers.names import Place, compile_pattern, place_by_pattern, place_of

RISE = "0-7-2019-06-24-3504-1067-4125-1688-180-180-9722-1561410615-1561410790"


@pytest.mark.parametrize(
    ("name", "scene", "sequence", "camera"),
    [
        (
            "JPEGImages/20200813_Ranch2Fire_wilson-e-mobo-c__1597356352_+00359.jpg",
            "wilson-e-mobo-c",
            "20200813_Ranch2Fire_wilson-e-mobo-c",
            "wilson-e-mobo-c",
        ),
        (
            "20171207_Lilac_rm-s-mobo__1512675364_+01380.jpg",
            "rm-s-mobo",
            "20171207_Lilac_rm-s-mobo",
            "rm-s-mobo",
        ),
        (
            "20180718_FIRE_syp-w-mobo-c/1531938169_-02400.jpg",
            "syp-w-mobo-c",
            "20180718_FIRE_syp-w-mobo-c",
            "syp-w-mobo-c",
        ),
        (
            "20171026_FIRE_smer-tcs8-mobo-c__1509047095_+01020.jpg",
            "smer-tcs8-mobo-c",
            "20171026_FIRE_smer-tcs8-mobo-c",
            "smer-tcs8-mobo-c",
        ),
        (
            "20200829_inside-Mexico_cp-s-mobo-c__1598724860_+01044.jpg",
            "cp-s-mobo-c",
            "20200829_inside-Mexico_cp-s-mobo-c",
            "cp-s-mobo-c",
        ),
        ("train/img/1528757586_+00180.jpg", "ignition-1528757406", "ignition-1528757406", ""),
        ("1531938169_-02400.png", "ignition-1531940569", "ignition-1531940569", ""),
        (
            "images/kooks_2__2024-09-01T10-22-36Z_frame_562_jpg.rf.4dc8_crop_2.jpg",
            "kooks_2",
            "kooks_2_2024-09-01",
            "kooks_2",
        ),
        (
            "69bravo-e-mobo-c__2019-08-13T14;22;07-07;00.jpg",
            "69bravo-e-mobo-c",
            "69bravo-e-mobo-c_2019-08-13",
            "69bravo-e-mobo-c",
        ),
        (f"{RISE}/00003.jpg", "rise-0-7", RISE, "rise-0"),
        ("train/img/1_1013.png", "", "", ""),
        ("image_00012.jpg", "", "", ""),
        ("fire_rgb_0.jpg", "", "", ""),
    ],
)
def test_known_names(name: str, scene: str, sequence: str, camera: str) -> None:
    assert place_of(name) == Place(scene, sequence, camera)


def test_frames_of_one_sequence_share_its_ignition() -> None:
    # Three frames of SMOKE5K's train/gt and one of its test/gt.
    names = ("1528757586_+00180", "1528757766_+00360", "1528758306_+00900", "1528758126_+00720")
    assert {place_of(name).sequence for name in names} == {"ignition-1528757406"}


def test_a_pattern_names_the_scene_or_all_three() -> None:
    assert place_by_pattern("a/cam7/3.jpg", re.compile(r"(cam\d+)")) == Place("cam7")
    pattern = compile_pattern(r"(?P<sequence>(?P<scene>(?P<camera>cam\d)_v\d)_\w+)/")
    assert place_by_pattern("cam1_v2_noon/9.jpg", pattern) == Place(
        "cam1_v2", "cam1_v2_noon", "cam1"
    )


def test_a_name_without_a_scene_is_named() -> None:
    with pytest.raises(DataError, match=r"finds no scene in b/x\.jpg"):
        place_by_pattern("b/x.jpg", re.compile(r"(cam\d+)"))


@pytest.mark.parametrize(("text", "words"), [("(", "no regular expression"), ("cam", "a group")])
def test_patterns_that_cannot_be_are_refused(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        compile_pattern(text)
