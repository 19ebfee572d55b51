"""The algebra of flows, and resampling along them.

A flow is *backward*: ``out(x, y) = src(x + dx, y + dy)``, in pixels, channel 0 is dx. Its name says both ends:
``flow_target_to_source`` is defined on the target's grid and points into the source. Everything here is pure,
differentiable where the mathematics is, and runs on any device.
"""

import torch
from torch import Tensor

MOST_ERROR = 1.0  # pixels, between a pixel and where the motion there and back leads
BAND_ROWS = 64  # resampled at a time: what a band needs stays in the cache, a third of the time and little memory


def pixel_grid(height: int, width: int, *, device: torch.device | None = None) -> Tensor:
    """The coordinates of every pixel, as [1,2,H,W] float32; channel 0 is x."""
    y, x = torch.meshgrid(
        torch.arange(height, dtype=torch.float32, device=device),
        torch.arange(width, dtype=torch.float32, device=device),
        indexing="ij",
    )
    return torch.stack((x, y))[None]


def endpoints(flow: Tensor) -> Tensor:
    """Where each pixel of a flow [B,2,H,W] points to: float32 coordinates [B,2,H,W]."""
    return flow + pixel_grid(flow.shape[-2], flow.shape[-1], device=flow.device)


def pixel_before(points: Tensor) -> Tensor:
    """The whole coordinate at or below each one, without gradient; 0 where there is none, as of NaN.

    No index follows from NaN: one made of it lies outside the image, which stops a GPU for good. What remains of the
    point beyond its pixel is still NaN, so that what is read between pixels there is NaN too.
    """
    return points.detach().floor().nan_to_num_(nan=0.0)


def _indices(coordinates: Tensor, size: int) -> Tensor:
    """Whole coordinates, float32 of any magnitude but not NaN -> int64, clamped to 0…size-1."""
    return coordinates.clamp(0, size - 1).long()


def _take(image: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """image[B,C,Hs,Ws] at x, y [B,H,W] int64 within the image: [B,C,H,W]."""
    batch, channels, _, width = image.shape
    flat = (y * width + x).reshape(batch, 1, -1).expand(-1, channels, -1)
    return image.reshape(batch, channels, -1).gather(2, flat).reshape(batch, channels, *x.shape[1:])


def sample_bilinear(image: Tensor, points: Tensor) -> Tensor:
    """Read an image between its pixels.

    image [B,C,Hs,Ws] of any float; points [B,2,H,W] float32 pixel coordinates. Outside the image its border is
    repeated: the weights come from the unclamped position, the four corners are clamped one by one. Returns
    [B,C,H,W] in the dtype of the image; NaN where the point is.

    ``grid_sample`` computes the same up to rounding, but forms the position in normalised coordinates, which
    costs a hundredth of a grey level at 1024x2048.
    """
    # with gradients, each band would have one of the whole image; and a GPU is faster on all rows at once
    rows = BAND_ROWS if image.is_cpu and not image.requires_grad else points.shape[-2]
    return torch.cat([_sample_band(image, band) for band in points.split(rows, dim=2)], dim=2)


def _sample_band(image: Tensor, points: Tensor) -> Tensor:
    height, width = image.shape[-2:]
    corner = pixel_before(points)
    fx, fy = (points - corner).to(image.dtype).unsqueeze(2).unbind(1)
    x, y = corner.unbind(1)
    left, right = _indices(x, width), _indices(x + 1, width)
    above, below = _indices(y, height), _indices(y + 1, height)
    top = torch.lerp(_take(image, left, above), _take(image, right, above), fx)
    bottom = torch.lerp(_take(image, left, below), _take(image, right, below), fx)
    return torch.lerp(top, bottom, fy)


def warp_frames(source: Tensor, flow_target_to_source: Tensor) -> Tensor:
    """The target as the source shows it: source [B,C,H,W] float, flow [B,2,H,W]; returns [B,C,H,W]."""
    return sample_bilinear(source, endpoints(flow_target_to_source))


def warp_frames_adjoint(target: Tensor, flow_target_to_source: Tensor) -> Tensor:
    """What `warp_frames` makes of gradients by the warped frame [B,C,H,W]: those by the source, of the same size.

    Each pixel is added to the four of the source that it was read from, by the same weights. Bands of rows keep it to
    little memory beside the result.
    """
    batch, channels, height, width = target.shape
    source = target.new_zeros(batch, channels, height * width)
    rows = BAND_ROWS if target.is_cpu else height
    points = endpoints(flow_target_to_source)
    for given, band in zip(target.split(rows, dim=2), points.split(rows, dim=2), strict=True):
        corner = pixel_before(band)
        fx, fy = (band - corner).to(target.dtype).unbind(1)
        x, y = corner.unbind(1)
        for row, of_row in ((y, 1 - fy), (y + 1, fy)):
            for column, of_column in ((x, 1 - fx), (x + 1, fx)):
                place = _indices(row, height) * width + _indices(column, width)
                index = place.reshape(batch, 1, -1).expand(-1, channels, -1)
                source.scatter_add_(2, index, ((of_row * of_column)[:, None] * given).flatten(2))
    return source.view(target.shape)


def warp_labels(source: Tensor, flow_target_to_source: Tensor) -> Tensor:
    """As `warp_frames`, from the nearest pixel: halves round up, the border is repeated. Any dtype.

    A label has no NaN: where the flow is, the source's first column or row is read.
    """
    points = endpoints(flow_target_to_source)
    corner = pixel_before(points)
    x, y = corner.add_(points - corner >= 0.5).unbind(1)  # exact, which floor(points + 0.5) in float32 is not
    height, width = source.shape[-2:]
    return _take(source, _indices(x, width), _indices(y, height))


def warp_frames_nearest(source: Tensor, flow_target_to_source: Tensor) -> Tensor:
    """Exactly `warp_labels` in value, `warp_frames` in gradient, which the nearest pixel itself does not have."""
    nearest = warp_labels(source, flow_target_to_source)
    if not (torch.is_grad_enabled() and (source.requires_grad or flow_target_to_source.requires_grad)):
        return nearest
    between = warp_frames(source, flow_target_to_source)
    return nearest.detach() + (between - between.detach())


def compose(flow_a_to_b: Tensor, flow_b_to_c: Tensor) -> Tensor:
    """flow_a_to_c [B,2,H,W]: follow the first flow, then the second from where it ends."""
    return flow_a_to_b + warp_frames(flow_b_to_c, flow_a_to_b)


def length(flow: Tensor) -> Tensor:
    """How far each pixel of a flow [B,2,H,W] moves: [B,1,H,W] pixels."""
    dx, dy = flow.unsqueeze(2).unbind(1)
    return torch.hypot(dx, dy)  # many times faster than a norm over the channels


def inside(flow: Tensor) -> Tensor:
    """Which pixels of a flow [B,2,H,W] point into the frame: bool [B,1,H,W]. The frame ends half a pixel past
    the outermost pixel centres, where nearest resampling leaves it too."""
    height, width = flow.shape[-2:]
    x, y = endpoints(flow).unsqueeze(2).unbind(1)
    return (x >= -0.5) & (x < width - 0.5) & (y >= -0.5) & (y < height - 0.5)


def is_seen(flow: Tensor, back: Tensor) -> Tensor:
    """The pixels that the motion back leads back to, to within a pixel, and that point into the frame: bool [B,1,H,W].

    flow, back: [B,2,H,W], there and back.
    """
    return (length(compose(flow, back)) < MOST_ERROR) & inside(flow)
