"""Which frames those of an H.264 stream refer to, as its headers say. Reference: ITU-T H.264, 7.3.2 and 7.3.3."""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

_SLICE, _PARTITIONS, _IDR, _SPS, _PPS = 1, (2, 3, 4), 5, 7, 8  # types of units
_P, _B, _SP = 0, 1, 3  # types of slices, modulo 5
_WITH_CHROMA_FORMAT = (100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135)  # profiles
_HEADER_BYTES = 96  # of a slice: more than what is read of it can take
_SET_BYTES = 4096  # the same of a parameter set
_UNPARSED = (ValueError, IndexError, KeyError)  # what bytes that are no H.264 come to


class ReferencesToPrevious:
    """Follows the packets of a stream, in their order, and says of each whether its blocks lead to the frame before.

    They do where there is nothing else to lead to: its slices have one reference each, in the default order, or the
    stream keeps no more than one; the packet before is a reference; no B-slice came since the last IDR frame; frames
    are coded whole, not as fields. What cannot be parsed does not lead there. Explicit marking of references
    (memory management) is not looked at: encoders that keep one reference have no use for it.
    """

    def __init__(self, extradata: bytes | None) -> None:
        """extradata: the stream's, as MP4 keeps it (avcC), or as a sequence of units with start codes, or none."""
        self._sequences: dict[int, _Sequence] = {}
        self._pictures: dict[int, _Picture] = {}
        self._length_size: int | None = None  # None: start codes
        self._follows_reference = self._reordered = False
        with suppress(*_UNPARSED):  # slices that need what is not there do not lead to the frame before
            if extradata and extradata[0] == 1:
                self._length_size = (extradata[4] & 3) + 1
                for unit in _units_of_avcc(extradata):
                    self._learn(unit)
            elif extradata:
                for unit in _units_after_start_codes(extradata):
                    self._learn(unit)

    def of(self, packet: bytes) -> bool:
        """Whether the vectors of this packet's frame lead to the frame of the packet before."""
        try:
            units = [unit for unit in self._units(packet) if unit]
            for unit in units:
                self._learn(unit)
            slices = [unit for unit in units if _type(unit) in (_SLICE, _IDR)]
            if not slices or any(_type(unit) in _PARTITIONS for unit in units):
                raise ValueError("no slices that are known")
            if _type(slices[0]) == _IDR:
                self._reordered = False
            num_single = sum(self._has_one_reference(unit) for unit in slices)  # looks at them all
        except _UNPARSED:
            self._follows_reference = False
            return False
        leads = num_single == len(slices) and self._follows_reference and not self._reordered
        self._follows_reference = any(unit[0] >> 5 & 3 for unit in slices)
        return leads

    def _units(self, packet: bytes) -> Iterator[bytes]:
        if self._length_size is None:
            yield from _units_after_start_codes(packet)
            return
        start = 0
        while start + self._length_size < len(packet):
            body = start + self._length_size
            start = body + int.from_bytes(packet[start:body], "big")
            yield packet[body:start]

    def _learn(self, unit: bytes) -> None:
        if _type(unit) == _SPS:
            sequence = _sequence(_Bits(unit[1:_SET_BYTES]))
            self._sequences[sequence.number] = sequence
        elif _type(unit) == _PPS:
            picture = _picture(_Bits(unit[1:_SET_BYTES]))
            self._pictures[picture.number] = picture

    def _has_one_reference(self, unit: bytes) -> bool:
        """Whether a slice is intra, or predicted from one frame; notes B-slices."""
        bits = _Bits(unit[1:_HEADER_BYTES])
        bits.unsigned()  # its first macroblock
        kind = bits.unsigned() % 5
        picture = self._pictures[bits.unsigned()]
        sequence = self._sequences[picture.sequence]
        if kind == _B:
            self._reordered = True
            return False
        if kind not in (_P, _SP):
            return True
        if not sequence.frames_only or picture.has_slice_groups:
            return False
        if sequence.num_references == 1:
            return True
        if sequence.has_colour_planes:
            bits.read(2)
        bits.read(sequence.frame_number_bits)
        if _type(unit) == _IDR:
            bits.unsigned()
        if sequence.order_type == 0:
            bits.read(sequence.order_bits)
            if picture.has_order_of_fields:
                bits.signed()
        elif sequence.order_type == 1 and not sequence.order_is_constant:
            bits.signed()
            if picture.has_order_of_fields:
                bits.signed()
        if picture.has_redundant_count:
            bits.unsigned()
        num_references = bits.unsigned() + 1 if bits.read(1) else picture.num_references
        is_reordered = bool(bits.read(1))
        return num_references == 1 and not is_reordered


@dataclass(frozen=True)
class _Sequence:
    """Of a sequence parameter set, what slices need."""

    number: int
    num_references: int  # that are kept
    frames_only: bool
    has_colour_planes: bool
    frame_number_bits: int
    order_type: int
    order_bits: int
    order_is_constant: bool


@dataclass(frozen=True)
class _Picture:
    """Of a picture parameter set, what slices need. With slice groups, what follows them is not read."""

    number: int
    sequence: int
    has_order_of_fields: bool
    has_slice_groups: bool
    num_references: int = 0
    has_redundant_count: bool = False


class _Bits:
    """The bits of a unit, without what keeps start codes out of it. Raises: ValueError past the end."""

    def __init__(self, unit: bytes) -> None:
        payload = unit.replace(b"\0\0\3", b"\0\0")
        self._value, self._left = int.from_bytes(payload, "big"), 8 * len(payload)

    def read(self, count: int) -> int:
        self._left -= count
        return self._value >> self._left & (1 << count) - 1  # a negative shift is a ValueError

    def unsigned(self) -> int:
        """An Exp-Golomb code."""
        zeros = 0
        while not self.read(1):
            zeros += 1
        return (1 << zeros) - 1 + self.read(zeros)

    def signed(self) -> int:
        code = self.unsigned()
        return (code + 1) // 2 if code % 2 else -(code // 2)


def _type(unit: bytes) -> int:
    return unit[0] & 31


def _sequence(bits: _Bits) -> _Sequence:
    profile = bits.read(8)
    bits.read(16)
    number = bits.unsigned()
    has_colour_planes = False
    if profile in _WITH_CHROMA_FORMAT:
        chroma_format = bits.unsigned()
        has_colour_planes = chroma_format == 3 and bool(bits.read(1))
        bits.unsigned(), bits.unsigned(), bits.read(1)
        if bits.read(1):
            _skip_scaling(bits, 12 if chroma_format == 3 else 8)
    frame_number_bits = bits.unsigned() + 4
    order_type, order_bits, order_is_constant = bits.unsigned(), 0, False
    if order_type == 0:
        order_bits = bits.unsigned() + 4
    elif order_type == 1:
        order_is_constant = bool(bits.read(1))
        bits.signed(), bits.signed()
        for _ in range(bits.unsigned()):
            bits.signed()
    num_references = bits.unsigned()
    bits.read(1), bits.unsigned(), bits.unsigned()
    return _Sequence(
        number,
        num_references,
        frames_only=bool(bits.read(1)),
        has_colour_planes=has_colour_planes,
        frame_number_bits=frame_number_bits,
        order_type=order_type,
        order_bits=order_bits,
        order_is_constant=order_is_constant,
    )


def _skip_scaling(bits: _Bits, num_lists: int) -> None:
    for number in range(num_lists):
        if bits.read(1):
            last = after = 8
            for _ in range(16 if number < 6 else 64):
                if after:
                    after = (last + bits.signed()) % 256
                last = after or last


def _picture(bits: _Bits) -> _Picture:
    number, sequence = bits.unsigned(), bits.unsigned()
    bits.read(1)
    has_order_of_fields, has_slice_groups = bool(bits.read(1)), bits.unsigned() > 0
    if has_slice_groups:
        return _Picture(number, sequence, has_order_of_fields, has_slice_groups)
    num_references = bits.unsigned() + 1
    bits.unsigned(), bits.read(3), bits.signed(), bits.signed(), bits.signed(), bits.read(2)
    return _Picture(number, sequence, has_order_of_fields, has_slice_groups, num_references, bool(bits.read(1)))


def _units_of_avcc(extradata: bytes) -> Iterator[bytes]:
    start = 6
    for count in (extradata[5] & 31, None):
        if count is None:
            count, start = extradata[start], start + 1
        for _ in range(count):
            end = start + 2 + int.from_bytes(extradata[start : start + 2], "big")
            yield extradata[start + 2 : end]
            start = end


def _units_after_start_codes(packet: bytes) -> Iterator[bytes]:
    """The units of a byte stream (annex B)."""
    start = packet.find(b"\0\0\1")
    while start >= 0:
        after = packet.find(b"\0\0\1", start + 3)
        yield packet[start + 3 : after if after >= 0 else len(packet)]
        start = after
