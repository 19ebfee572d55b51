"""The things of a street, built of solids: vehicles, people, trees, street furniture.

Each stands on the origin of its own axes, faces along +z, and is carried by its pose. Colours are drawn from the
generator that is passed in.
"""

from collections.abc import Iterable, Iterator

import numpy as np

from propagate.synth import materials
from propagate.synth.materials import Material
from propagate.synth.scene import Drive, Solid, Swing, label_ids
from propagate.synth.shapes import Shape, box, disc, ellipsoid, prism

IDS = label_ids()
PAINTS = np.array(
    (
        (0.62, 0.63, 0.65),
        (0.12, 0.12, 0.14),
        (0.85, 0.85, 0.84),
        (0.55, 0.08, 0.08),
        (0.1, 0.17, 0.4),
        (0.3, 0.32, 0.34),
    )
)
CLOTHES = np.array(
    ((0.1, 0.1, 0.13), (0.15, 0.2, 0.38), (0.5, 0.12, 0.12), (0.75, 0.73, 0.7), (0.25, 0.35, 0.25), (0.7, 0.55, 0.2))
)
SKINS = np.array(((0.85, 0.65, 0.52), (0.7, 0.5, 0.38), (0.4, 0.27, 0.2)))
LEAVES = np.array(((0.2, 0.32, 0.11), (0.28, 0.38, 0.14), (0.16, 0.27, 0.13), (0.36, 0.38, 0.14)))
GREY = (0.42, 0.43, 0.44)


def _pick(rng: np.random.Generator, choices: np.ndarray) -> tuple[float, float, float]:
    red, green, blue = np.clip(choices[rng.integers(len(choices))] * rng.uniform(0.85, 1.15, 3), 0, 1)
    return float(red), float(green), float(blue)


def _solids(label: str, pose: Drive, parts: Iterable[tuple[Shape, Material]]) -> Iterator[Solid]:
    for shape, material in parts:
        yield Solid(shape, IDS[label], material, pose, moves=pose.speed != 0)


def _wheels(positions: Iterable[float], radius: float, half_width: float) -> Iterator[tuple[Shape, Material]]:
    for z in positions:
        shape = disc(-radius, z, radius, 0, -half_width, half_width)
        yield shape, materials.wheel(z, radius, radius)


def car(rng: np.random.Generator, pose: Drive) -> Iterator[Solid]:
    half, wide, tall = rng.uniform(1.95, 2.35), rng.uniform(0.84, 0.94), rng.uniform(1.36, 1.6)
    paint = _pick(rng, PAINTS)
    estate = rng.uniform(0.0, 0.7)
    hull = [(-0.22, -half + 0.1), (-0.22, half - 0.1), (-0.55, half), (-0.78, half - 0.15), (-0.95, 0.3 * half)]
    hull += [(-0.98, -half + 0.2), (-0.6, -half)]
    cabin = [(-0.85, 0.52 * half), (-tall + 0.04, 0.12 * half), (-tall, -0.2 * half)]
    cabin += [(-tall + 0.05, -(0.5 + 0.4 * estate) * half), (-0.85, -0.94 * half)]
    yield from _solids(
        "car",
        pose,
        (
            (prism(hull, 0, -wide, wide), materials.car_body(paint, half, wide)),
            (prism(cabin, 0, -wide + 0.13, wide - 0.13), materials.car_cabin(paint, rng.uniform(0.85, 1.1))),
            *_wheels((-0.6 * half, 0.6 * half), 0.32, wide + 0.02),
        ),
    )


def bus(rng: np.random.Generator, pose: Drive) -> Iterator[Solid]:
    half = rng.uniform(5.0, 6.0)
    paint = materials.coach(_pick(rng, PAINTS), (1.35, 2.5), rng.uniform(1.2, 1.7), (0.85, 0.8, 0.25))
    body = box((-1.25, -3.0, -half), (1.25, -0.35, half))
    yield from _solids("bus", pose, ((body, paint), *_wheels((-0.55 * half, 0.6 * half), 0.5, 1.27)))


def truck(rng: np.random.Generator, pose: Drive) -> Iterator[Solid]:
    half = rng.uniform(3.2, 4.2)
    cab = materials.coach(_pick(rng, PAINTS), (1.55, 2.3), 2.3, (0.1, 0.1, 0.1))
    load = materials.coach(_pick(rng, PAINTS), (0.0, 0.0), 1.0, _pick(rng, PAINTS))
    parts = (
        (box((-1.15, -2.6, half - 1.8), (1.15, -0.45, half)), cab),
        (box((-1.25, -3.3, -half), (1.25, -0.8, half - 1.95)), load),
        (box((-1.1, -0.8, -half + 0.1), (1.1, -0.5, half - 1.8)), materials.plain((0.1, 0.1, 0.1))),
        *_wheels((-0.6 * half, half - 1.0), 0.5, 1.2),
    )
    yield from _solids("truck", pose, parts)


def person(rng: np.random.Generator, pose: Drive, label: str = "person", lift: float = 0.0) -> Iterator[Solid]:
    """Someone who walks: torso, head, and swinging arms and legs. lift: metres above the ground, for riders."""
    size = rng.uniform(0.88, 1.08)
    coat = materials.cloth(_pick(rng, CLOTHES), rng.uniform(0.05, 0.3))
    trousers = materials.cloth(_pick(rng, CLOTHES), rng.uniform(0.03, 0.15))
    skin, hair = materials.plain(_pick(rng, SKINS)), materials.plain(_pick(rng, SKINS * 0.35))
    period, phase = rng.uniform(15, 20), rng.uniform()
    walks = 0.0 if pose.speed == 0 else 0.45

    def blob(centre: tuple[float, float, float], radii: tuple[float, float, float]) -> Shape:
        x, y, z = centre
        return ellipsoid((size * x, -size * y - lift, size * z), size * np.array(radii))

    yield from _solids(
        label,
        pose,
        (
            (blob((0, 1.2, 0), (0.23, 0.32, 0.14)), coat),
            (blob((0, 0.95, 0), (0.19, 0.2, 0.14)), trousers),
            (blob((0, 1.61, 0.02), (0.085, 0.125, 0.1)), skin),
            (blob((0, 1.67, -0.02), (0.095, 0.1, 0.11)), hair),
        ),
    )
    for side in (-1, 1):
        for height, x, shape, material, swing in (
            (0.92, 0.1, blob((side * 0.1, 0.46, 0), (0.1, 0.47, 0.11)), trousers, walks),
            (1.42, 0.26, blob((side * 0.26, 1.13, 0), (0.06, 0.33, 0.07)), coat, -0.8 * walks),
        ):
            pivot = (side * x * size, -height * size - lift, 0.0)
            limb = Swing(pose, pivot, side * swing, period, phase)
            yield Solid(shape, IDS[label], material, limb, moves=pose.speed != 0)


def _frame(pose: Drive, label: str, gauge: float, radius: float, material: Material) -> Iterator[Solid]:
    """What a bicycle and a motorcycle share: wheels, and a frame between them."""
    bars = [(-radius, -0.5 * gauge), (-1.0, -0.1 * gauge), (-1.05, 0.36 * gauge), (-radius - 0.02, 0.1 * gauge)]
    parts = (
        *_wheels((-0.5 * gauge, 0.5 * gauge), radius, 0.03),
        (prism(bars, 0, -0.03, 0.03), material),
        (box((-0.3, -1.12, 0.3 * gauge), (0.3, -1.05, 0.36 * gauge)), material),
    )
    yield from _solids(label, pose, parts)


def bicycle(rng: np.random.Generator, pose: Drive) -> Iterator[Solid]:
    yield from _frame(pose, "bicycle", 1.08, 0.34, materials.plain(_pick(rng, PAINTS)))


def motorcycle(rng: np.random.Generator, pose: Drive) -> Iterator[Solid]:
    paint = materials.plain(_pick(rng, PAINTS))
    yield from _frame(pose, "motorcycle", 1.35, 0.31, paint)
    tank, seat = ellipsoid((0, -0.72, 0.15), (0.2, 0.24, 0.42)), box((-0.16, -0.8, -0.75), (0.16, -0.45, 0.0))
    yield from _solids("motorcycle", pose, ((tank, paint), (seat, materials.plain((0.08, 0.08, 0.08)))))


def cyclist(rng: np.random.Generator, pose: Drive) -> Iterator[Solid]:
    yield from bicycle(rng, pose)
    yield from person(rng, pose, "rider", lift=0.22)


def motorcyclist(rng: np.random.Generator, pose: Drive) -> Iterator[Solid]:
    yield from motorcycle(rng, pose)
    yield from person(rng, pose, "rider", lift=0.05)


def tree(rng: np.random.Generator, pose: Drive) -> Iterator[Solid]:
    trunk, spread = rng.uniform(1.9, 3.2), rng.uniform(1.1, 2.0)
    leaves = materials.foliage(_pick(rng, LEAVES), rng.uniform(0.5, 0.9))
    bark = materials.cloth((0.26, 0.21, 0.17), 0.25)
    crown = []
    for _ in range(11):
        x, y, z = rng.uniform(-0.75, 0.75, 3) * spread
        centre = (x, -trunk - 0.9 * spread + 0.9 * y, z)
        crown.append((ellipsoid(centre, spread * rng.uniform(0.35, 0.65, 3), 1.0), leaves))
    stem = disc(0, 0, rng.uniform(0.09, 0.2), 1, -trunk - spread, 0, sides=8)
    yield from _solids("vegetation", pose, ((stem, bark), *crown))


def bush(rng: np.random.Generator, pose: Drive) -> Iterator[Solid]:
    leaves = materials.foliage(_pick(rng, LEAVES), rng.uniform(0.4, 0.8))
    size = rng.uniform(0.6, 1.2)
    blobs = []
    for _ in range(4):
        x, z = rng.normal(0, 0.6, 2) * size
        blobs.append((ellipsoid((x, -0.5 * size, z), size * rng.uniform(0.6, 1.0, 3), 0.7), leaves))
    yield from _solids("vegetation", pose, blobs)


def _post(height: float, radius: float) -> tuple[Shape, Material]:
    return disc(0, 0, radius, 1, -height, 0, sides=6), materials.plain(GREY, 0.05)


def lamp_post(rng: np.random.Generator, pose: Drive) -> Iterator[Solid]:
    height, reach = rng.uniform(5.5, 8), rng.uniform(1.2, 2.2)
    arm = box((0, -height, -0.05), (reach, -height + 0.09, 0.05))
    lamp = box((reach - 0.5, -height + 0.02, -0.14), (reach + 0.2, -height + 0.16, 0.14))
    parts = (_post(height, rng.uniform(0.05, 0.09)), (arm, materials.plain(GREY)), (lamp, materials.plain(GREY)))
    yield from _solids("pole", pose, parts)


def sign_post(rng: np.random.Generator, pose: Drive) -> Iterator[Solid]:
    height = rng.uniform(2.2, 2.8)
    radius = rng.uniform(0.28, 0.38)
    yield from _solids("pole", pose, (_post(height, 0.035),))
    red, blue, white, yellow = (0.75, 0.08, 0.1), (0.08, 0.2, 0.6), (0.9, 0.9, 0.9), (0.9, 0.72, 0.1)
    color, rim = ((white, red), (blue, white), (red, white), (yellow, white))[rng.integers(4)]
    face = disc(0, 0, radius, 2, -0.09, -0.05, sides=(3, 4, 12)[rng.integers(3)])
    emblem = materials.emblem(color, rim, radius)
    board = Drive(pose.x, pose.z, pose.heading, height=pose.height + height - radius)
    yield Solid(face, IDS["traffic sign"], emblem, board)


def traffic_light(rng: np.random.Generator, pose: Drive) -> Iterator[Solid]:
    height = rng.uniform(2.9, 3.4)
    yield from _solids("pole", pose, (_post(height, 0.055),))
    head = Drive(pose.x, pose.z, pose.heading, height=pose.height + height - 0.4)
    shape = box((-0.17, -0.48, -0.3), (0.17, 0.48, -0.08))
    yield Solid(shape, IDS["traffic light"], materials.signal(int(rng.integers(3)), 0.3), head)


def bollard(rng: np.random.Generator, pose: Drive) -> Iterator[Solid]:
    yield from _solids("pole", pose, (_post(rng.uniform(0.8, 1.0), 0.055),))
