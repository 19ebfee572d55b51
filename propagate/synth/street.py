"""A street at random: ground, house fronts, greenery, furniture, traffic, people, and the drive through it all."""

from collections.abc import Callable, Iterator

import numpy as np

from propagate.synth import bodies, materials
from propagate.synth.bodies import IDS
from propagate.synth.materials import Material
from propagate.synth.scene import Camera, Drive, Light, Pose, Scene, Solid, rigid, rotation
from propagate.synth.shapes import Shape, box, ellipsoid, prism

Body = Callable[[np.random.Generator, Drive], Iterator[Solid]]

KERB = 0.13  # metres above the road
NEAR, FAR = -12.0, 190.0  # the street's ends, along z
DETAIL = 85.0  # small things stand nearer than this, along z
EYE = 1.35  # the camera's height
HERE = Drive(0, 0)


def _fixed(shape: Shape, label: str, material: Material, pose: Pose = HERE, is_ground: bool = False) -> Solid:
    return Solid(shape, IDS[label], material, pose, is_ground=is_ground)


def build_scene(rng: np.random.Generator, num_frames: int) -> Scene:
    """A scene that follows from the generator alone, whatever the size of its frames."""
    half_road, walk, verge = rng.uniform(5.4, 6.6), rng.uniform(2.2, 3.6), rng.uniform(0.0, 2.2)
    kerb, inner = half_road, half_road + walk
    front = inner + verge
    side_street = rng.uniform(38, 62)
    lane = kerb / 2 - 1.0
    camera = _drive(rng, lane, num_frames)
    solids = [
        *_ground(rng, kerb, inner, side_street),
        *_fronts(rng, -1, inner, front, side_street),
        *_fronts(rng, 1, inner, front, side_street),
        *_horizon(rng),
        *_furniture(rng, kerb, inner, side_street),
        *_parked(rng, kerb, side_street),
        *_traffic(rng, lane, kerb, side_street),
        *_people(rng, kerb, inner, side_street),
        _bonnet(rng, camera),
    ]
    return Scene(tuple(solids), camera, _light(rng), num_frames)


def _drive(rng: np.random.Generator, lane: float, num_frames: int) -> Camera:
    """Forward at 10 to 35 km/h, gently faster or slower, swaying, and turning by up to 0.8 degrees a frame."""
    frames = np.arange(num_frames)
    speed = rng.uniform(0.2, 0.5) * (1 + rng.uniform(-0.25, 0.25) * np.sin(frames / rng.uniform(8, 20)))
    turn = rng.uniform(0.02, 0.1) * np.sin(2 * np.pi * (frames / rng.uniform(45, 110) + rng.uniform()))
    turn += rng.uniform(-0.03, 0.03)
    x = lane + rng.uniform(-0.4, 0.4) + np.cumsum(speed * np.sin(turn))
    z = np.cumsum(speed * np.cos(turn))
    bump = np.convolve(rng.normal(0, 1, num_frames + 2), (0.3, 0.4, 0.3), "valid")
    pitch = np.radians(0.06) * bump + np.radians(0.15) * np.sin(frames / rng.uniform(4, 9))
    roll = np.radians(0.25) * np.sin(frames / rng.uniform(5, 12) + rng.uniform(0, 6))
    poses = {}
    for t in range(num_frames):
        position = np.array((x[t], -EYE + 0.006 * bump[t], z[t]))
        poses[t] = rigid(rotation(pitch[t], turn[t], roll[t]), position)
    return Camera(poses)


def _light(rng: np.random.Generator) -> Light:
    azimuth, elevation = rng.uniform(0, 2 * np.pi), np.radians(rng.uniform(30, 60))
    level = np.cos(elevation)
    overcast = rng.uniform(0, 0.75)
    return Light(
        towards_sun=np.array((level * np.sin(azimuth), -np.sin(elevation), level * np.cos(azimuth))),
        sun=1.05 * (1 - overcast),
        ambient=0.6 + 0.45 * overcast,
        haze=tuple(rng.uniform(0.72, 0.86, 3) * (0.98, 1.0, 1.04)),
        zenith=(0.36 + 0.35 * overcast, 0.52 + 0.22 * overcast, 0.78 + 0.05 * overcast),
        clouds=rng.uniform(0.0, 0.25),
        haze_distance=rng.uniform(220, 600),
    )


def _ground(rng: np.random.Generator, kerb: float, inner: float, side: float) -> Iterator[Solid]:
    grey = rng.uniform(0.24, 0.4)
    contrast = rng.uniform(0.05, 0.2)
    tarmac = (grey, grey, grey * 1.03)
    road = materials.asphalt(tarmac, contrast, kerb, rng.uniform(6, 10))
    yield _fixed(box((-kerb, 0, -np.inf), (kerb, 1, np.inf)), "road", road, is_ground=True)
    plain_road = materials.crossing(tarmac, contrast)
    slabs = materials.paving(tuple(rng.uniform(0.4, 0.55) * rng.uniform(0.94, 1.05, 3)), rng.uniform(0.35, 0.9))
    lawn = materials.grass((0.29, 0.39, 0.18))
    zebra = box((-kerb, -0.004, side - 8.5), (kerb, 0, side - 5.5))
    yield _fixed(zebra, "road", plain_road, is_ground=True)
    for sign in (-1, 1):
        for z_low, z_high in ((-np.inf, side - 4), (side + 4, np.inf)):
            for low, high, top, label, material in (
                (kerb, inner, KERB, "sidewalk", slabs),
                (inner, np.inf, KERB - 0.04, "terrain", lawn),
            ):
                x_low, x_high = sorted((sign * low, sign * high))
                shape = box((x_low, -top, z_low), (x_high, 1, z_high))
                yield _fixed(shape, label, material, is_ground=True)
    side_road = materials.plain(tarmac, contrast)
    yield _fixed(box((-np.inf, 0.002, side - 4), (np.inf, 1, side + 4)), "road", side_road, is_ground=True)


def _fronts(rng: np.random.Generator, sign: int, inner: float, front: float, side: float) -> Iterator[Solid]:
    """What lines one side of the street: mostly houses, between them gaps with trees behind a fence, wall or hedge."""
    z = NEAR + rng.uniform(-8, 0)
    while z < FAR:
        length = rng.uniform(8, 20)
        if z < side + 5 and z + length > side - 5:
            z, length = max(z, side + 5.5), length  # no houses in the side street
        if rng.uniform() < 0.72:
            yield from _house(rng, sign, front + rng.choice((0.0, 0.0, rng.uniform(0, 2.5))), z, length)
            z += length + rng.choice((0.0, 0.0, rng.uniform(1, 3)))
        else:
            yield from _gap(rng, sign, inner, z, length)
            z += length


def _house(rng: np.random.Generator, sign: int, front: float, z: float, length: float) -> Iterator[Solid]:
    floor = rng.uniform(2.9, 3.6)
    height = floor * int(rng.integers(2, 6)) + 0.3
    grey, tint = rng.uniform(0.4, 0.8), rng.uniform(-0.1, 0.14)
    color = (grey * (1 + tint), grey, grey * (1 - 0.9 * tint))
    bricks = rng.uniform() < 0.35
    if bricks:
        color = (0.48 * grey / 0.6, 0.29 * grey / 0.6, 0.23 * grey / 0.6)
    pitch = rng.uniform(1.8, 3.4)
    window = (pitch * rng.uniform(0.35, 0.65), floor * rng.uniform(0.4, 0.58))
    material = materials.facade(color, floor, pitch, window, bricks, int(rng.integers(1000)))
    depth = rng.uniform(8, 14)
    x_low, x_high = sorted((sign * front, sign * (front + depth)))
    yield _fixed(box((x_low, -height, z), (x_high, 0, z + length)), "building", material)
    if rng.uniform() < 0.6:
        ridge = height + rng.uniform(1.5, 4)
        profile = [(x_low - 0.4, -height + 0.1), (x_high + 0.4, -height + 0.1), ((x_low + x_high) / 2, -ridge)]
        roof = materials.tiles((0.38, 0.2, 0.15) if rng.uniform() < 0.6 else (0.25, 0.25, 0.28))
        yield _fixed(prism(profile, 2, z, z + length), "building", roof)
    if rng.uniform() < 0.5:  # a balcony or bay
        middle, up = z + length * rng.uniform(0.3, 0.7), floor * rng.uniform(1.0, 1.1)
        out = sorted((sign * front, sign * (front - rng.uniform(0.5, 1.1))))
        bay = box((out[0], -up - floor, middle - 1.5), (out[1], -up, middle + 1.5))
        yield _fixed(bay, "building", material)


def _gap(rng: np.random.Generator, sign: int, inner: float, z: float, length: float) -> Iterator[Solid]:
    edge = sorted((sign * (inner + 0.35), sign * (inner + 0.5)))
    height = rng.uniform(0.9, 2.0)
    low, high = (edge[0], -height, z), (edge[1], 0, z + length)
    kind = rng.integers(3)
    if kind == 0:
        brown = rng.uniform(0.25, 0.5)
        fence = materials.slats((brown * 1.1, brown * 0.9, brown * 0.7), rng.uniform(0.12, 0.25))
        yield _fixed(box(low, high), "fence", fence)
    elif kind == 1:
        yield _fixed(box(low, high), "wall", materials.paving((0.5, 0.48, 0.44), rng.uniform(0.4, 0.8)))
    else:
        hedge = box((edge[0] - 0.3, -height, z), (edge[1] + 0.3, 0, z + length))
        yield _fixed(hedge, "vegetation", materials.foliage((0.2, 0.3, 0.12), 0.6))
    for _ in range(int(length / 4) + 1 if z < DETAIL else 1):
        place = Drive(sign * (inner + rng.uniform(1.8, 9)), z + rng.uniform(0, length))
        yield from (bodies.tree if rng.uniform() < 0.7 else bodies.bush)(rng, place)
    behind = sorted((sign * (inner + 14), sign * (inner + 20)))
    wood = box((behind[0], -rng.uniform(4, 8), z - 6), (behind[1], 0, z + length + 6))
    yield _fixed(wood, "vegetation", materials.foliage((0.2, 0.28, 0.13), 0.6))


def _horizon(rng: np.random.Generator) -> Iterator[Solid]:
    """Where the street ends: a wood, and houses across."""
    wood = materials.foliage((0.22, 0.3, 0.16), 0.5)
    yield _fixed(box((-400, -rng.uniform(5, 9), FAR + 40), (400, 1, FAR + 60)), "vegetation", wood)
    for _ in range(3):
        x, half, height = rng.uniform(-60, 60), rng.uniform(6, 16), rng.uniform(8, 22)
        front = materials.facade((0.6, 0.57, 0.52), 3.2, 2.6, (1.3, 1.6), False, int(rng.integers(1000)))
        yield _fixed(box((x - half, -height, FAR + 20), (x + half, 0, FAR + 32)), "building", front)


def _furniture(rng: np.random.Generator, kerb: float, inner: float, side: float) -> Iterator[Solid]:
    for sign in (-1, 1):
        for body, first, spacing, x in (
            (bodies.lamp_post, rng.uniform(2, 16), rng.uniform(18, 30), kerb + 0.5),
            (bodies.sign_post, rng.uniform(6, 14), rng.uniform(11, 22), kerb + 0.4),
            (bodies.tree, rng.uniform(8, 25), rng.uniform(9, 40), inner - 0.3),
            (bodies.bollard, rng.uniform(4, 12), rng.uniform(3, 12), kerb + 0.35),
        ):
            for z in np.arange(first, DETAIL, spacing):
                if abs(z - side) > 5:
                    heading = np.pi if body is bodies.lamp_post and sign > 0 else rng.uniform(-0.2, 0.2)
                    yield from body(rng, Drive(sign * x, float(z + rng.uniform(-1, 1)), heading, height=KERB))
        yield from bodies.traffic_light(rng, Drive(sign * (kerb + 0.45), side - 9.2, height=KERB))
        bicycles = rng.uniform(10, 30)
        for number in range(int(rng.integers(0, 4))):
            place = Drive(sign * (inner - 0.5), bicycles + 0.7 * number, rng.normal(np.pi / 2, 0.1), height=KERB)
            yield from bodies.bicycle(rng, place)
    crossing_light = Drive(kerb + 0.6, rng.uniform(14, 24), height=KERB)
    yield from bodies.traffic_light(rng, crossing_light)


def _parked(rng: np.random.Generator, kerb: float, side: float) -> Iterator[Solid]:
    for sign in (-1, 1):
        z, share = rng.uniform(4, 14), rng.uniform(0.3, 0.85)
        while z < DETAIL:
            if rng.uniform() < share and abs(z - side) > 12:
                body = rng.choice(np.array((bodies.car, bodies.truck)), p=(0.94, 0.06))
                heading = (0.0 if sign > 0 else np.pi) + rng.normal(0, 0.015)
                yield from body(rng, Drive(sign * (kerb - 1.05), z, heading))
                z += 3.5 if body is bodies.truck else 0
            z += rng.uniform(5.4, 7)
    if rng.uniform() < 0.6:
        place = Drive(kerb - 0.9, rng.uniform(9, 12), rng.normal(0.5, 0.2))
        yield from bodies.motorcycle(rng, place)


def _traffic(rng: np.random.Generator, lane: float, kerb: float, side: float) -> Iterator[Solid]:
    """Vehicles that move: one ahead, some that come towards us, some that cross, and two-wheelers."""
    ahead: Body = (bodies.car, bodies.car, bodies.bus, bodies.truck)[rng.integers(4)]
    yield from ahead(rng, Drive(lane, rng.uniform(15, 30), speed=rng.uniform(0.2, 0.6)))
    z = rng.uniform(14, 34)
    for _ in range(int(rng.integers(2, 5))):
        oncoming: Body = (bodies.car, bodies.car, bodies.car, bodies.bus, bodies.truck)[rng.integers(5)]
        yield from oncoming(rng, Drive(-lane, z, np.pi, rng.uniform(0.2, 0.4)))
        z += rng.uniform(14, 26)
    for sign in (-1, 1):
        for number in range(int(rng.integers(1, 3))):
            start = -sign * rng.uniform(4, 16) * (1 + 1.5 * number)
            crossing: Body = (bodies.car, bodies.car, bodies.truck)[rng.integers(3)]
            yield from crossing(rng, Drive(start, side - sign * 1.9, sign * np.pi / 2, rng.uniform(0.25, 0.5)))
    yield from bodies.cyclist(rng, Drive(kerb - 2.6, rng.uniform(8, 15), 0.0, rng.uniform(0.2, 0.38)))
    rider: Body = (bodies.cyclist, bodies.motorcyclist)[rng.integers(2)]
    yield from rider(rng, Drive(-kerb + 2.7, rng.uniform(14, 34), np.pi, rng.uniform(0.2, 0.4)))


def _people(rng: np.random.Generator, kerb: float, inner: float, side: float) -> Iterator[Solid]:
    """Walkers on both sidewalks, some in groups, some standing; some who cross the road, ahead and at the zebra."""
    for sign in (-1, 1):
        for _ in range(int(rng.integers(3, 7))):
            z, x = rng.uniform(6, 34), sign * rng.uniform(kerb + 0.7, inner - 0.5)
            heading = (0.0 if rng.uniform() < 0.5 else np.pi) + rng.normal(0, 0.08)
            speed = rng.choice((0.0, *rng.uniform(0.06, 0.1, 3)))
            for member in range(int(rng.choice((1, 1, 2)))):
                place = Drive(x + 0.55 * member, z + 0.2 * member, heading, speed, KERB)
                yield from bodies.person(rng, place)
    for z in (rng.uniform(11, 19), side - 7.2, side - 6.4):
        sign = rng.choice((-1, 1))
        place = Drive(-sign * rng.uniform(0, kerb), z, sign * np.pi / 2, rng.uniform(0.06, 0.12))
        yield from bodies.person(rng, place)


def _bonnet(rng: np.random.Generator, camera: Camera) -> Solid:
    """Our own car's bonnet, at rest in the picture."""
    paint = float(rng.uniform(0.06, 0.3))
    shape = ellipsoid((-0.1, 1.06, 2.0), (1.5, 0.58, 1.2))
    return Solid(shape, IDS["ego vehicle"], materials.plain((paint, paint, paint * 1.05), 0.0), camera, moves=True)
