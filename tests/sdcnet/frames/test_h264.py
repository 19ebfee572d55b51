"""What the headers of H.264 say of references, and that damaged ones say nothing."""

import random
from pathlib import Path

import av
import pytest
from helpers.videos import write_video

from sdcnet.frames.h264 import ReferencesToPrevious

NUM_FRAMES, GROUP = 30, 12
ONE = {"g": str(GROUP), "bf": "0", "refs": "1"}


def read(path: Path) -> tuple[bytes | None, list[bytes]]:
    with av.open(str(path)) as container:
        extradata = container.streams.video[0].codec_context.extradata
        return extradata, [bytes(packet) for packet in container.demux(video=0) if packet.size]


def answers(extradata: bytes | None, packets: list[bytes]) -> list[bool]:
    references = ReferencesToPrevious(extradata)
    return [references.of(packet) for packet in packets]


@pytest.fixture(scope="module")
def mp4(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes | None, list[bytes]]:
    path = tmp_path_factory.mktemp("h264") / "a.mp4"
    write_video(path, "libx264", ONE, NUM_FRAMES)
    return read(path)


def test_both_forms_say_the_same(mp4: tuple[bytes | None, list[bytes]], tmp_path: Path) -> None:
    write_video(tmp_path / "a.h264", "libx264", ONE, NUM_FRAMES)
    assert answers(*mp4) == answers(*read(tmp_path / "a.h264")) == [False] + [True] * (NUM_FRAMES - 1)


def test_a_frame_that_is_no_reference_is_not_the_one_referred_to(mp4: tuple[bytes | None, list[bytes]]) -> None:
    extradata, packets = mp4
    packets = list(packets)
    packets[5] = packets[5][:4] + bytes([packets[5][4] & 0x9F]) + packets[5][5:]  # nal_ref_idc of its slice
    assert [n for n, leads in enumerate(answers(extradata, packets)) if not leads] == [0, 6]


def test_nothing_leads_to_the_one_before_once_frames_are_reordered(mp4: tuple[bytes | None, list[bytes]]) -> None:
    extradata, packets = mp4
    packets = list(packets)
    assert packets[5][5] & 0xFC == 0b10011000  # a slice's first macroblock, 0, and its type, 5: all are P
    packets[5] = packets[5][:5] + bytes([packets[5][5] | 0b100]) + packets[5][6:]  # 6: all are B
    assert [n for n, leads in enumerate(answers(extradata, packets)) if not leads] == [0, *range(5, GROUP)]


def test_without_parameters_nothing_is_known(mp4: tuple[bytes | None, list[bytes]]) -> None:
    _, packets = mp4
    assert answers(None, packets) == [False] * NUM_FRAMES


def test_damaged_bytes_never_raise(mp4: tuple[bytes | None, list[bytes]]) -> None:
    extradata, packets = mp4
    assert extradata is not None
    dice = random.Random(0)
    for _ in range(300):
        damaged = bytearray(extradata)
        for _ in range(dice.randrange(4)):
            damaged[dice.randrange(len(damaged))] = dice.randrange(256)
        some = [bytearray(packet[:200]) for packet in packets[:3]]
        for packet in some:
            packet[dice.randrange(min(12, len(packet)))] = dice.randrange(256)
        cut = dice.randrange(len(damaged) + 1)
        assert len(answers(bytes(damaged[:cut]), [bytes(packet) for packet in some])) == 3
    long = b"\0\0\0\1\x67\x64" + bytes(2**20)
    assert answers(long, [long]) == [False]
