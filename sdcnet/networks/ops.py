"""The operations of the motion networks that PyTorch lacks, in PyTorch alone.

Pure, differentiable, on any device, in any floating dtype, and traceable by ``torch.compile``. Resampling along
flows is in `geometry`.
"""

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor
from torch.autograd.function import FunctionCtx

from sdcnet.geometry import endpoints, pixel_before

BLOCK_COLUMNS = 16  # of a row are multiplied at a time: wide rows would mostly compute products that nobody needs


def channel_norm(x: Tensor) -> Tensor:
    """The Euclidean length of each pixel's channels: [B,C,H,W] -> [B,1,H,W]; where it is 0, so is its gradient."""
    squared = x.to(torch.promote_types(x.dtype, torch.float32)).square().sum(dim=1, keepdim=True)
    positive = squared > 0  # a root's derivative at 0 is infinite; a norm over few channels is 50 times slower
    return (torch.where(positive, squared, 1).sqrt() * positive).to(x.dtype)


def correlation(
    first: Tensor,
    second: Tensor,
    *,
    max_displacement: int = 20,
    displacement_stride: int = 2,
    kernel_size: int = 1,
    stride: int = 1,
) -> Tensor:
    """How alike the features of two frames are, at every displacement within a square.

    first, second [B,C,H,W] float. With s = displacement_stride and r = max_displacement // s, returns
    [B,(2r+1)²,⌈H/stride⌉,⌈W/stride⌉]: channel (j+r)(2r+1) + (i+r) is ``mean_c first[y,x] · second[y+js,x+is]``,
    averaged over the kernel_size² pixels that end at (y, x), where one would centre them: a quirk of the
    published kernel. Outside the frames all features are 0.

    Pixels meet only those at multiples of s, so that each frame falls apart into s² independent images. In these,
    a row of the first against a row of the second is one matrix product, whose diagonals are the displacements;
    one padded copy of the second serves all of them.

    Raises: ValueError, where the shapes differ.
    Reference: FlowNetC of Dosovitskiy et al., ICCV 2015, equation 1, here as a mean.
    """
    if first.shape != second.shape or first.ndim != 4:
        raise ValueError(
            f"correlation takes two [B,C,H,W] tensors of one shape, found {list(first.shape)} and {list(second.shape)}"
        )
    batch, channels, height, width = first.shape
    step, reach = displacement_stride, max_displacement // displacement_stride
    rows_first = _phase_rows(first / channels, step, margin=0)  # divided before, or half precision overflows
    rows_second = _phase_rows(second, step, margin=reach)
    num_rows, _, _, num_columns = rows_first.shape
    volume = first.new_empty(batch, 2 * reach + 1, 2 * reach + 1, num_rows, step, num_columns, step)
    for shift in range(2 * reach + 1):
        products = _row_products(rows_first, rows_second[shift : shift + num_rows])
        phases = products.view(num_rows, batch, step, step, num_columns, -1)
        volume[:, shift] = phases.permute(1, 5, 0, 2, 4, 3)  # in place: a list of these would double the memory
    volume = volume.view(batch, -1, num_rows * step, num_columns * step)[:, :, :height, :width]
    if kernel_size == stride == 1:
        return volume
    before = kernel_size - 1
    return F.avg_pool2d(F.pad(volume, (before, 0, before, 0)), kernel_size, stride)


def _phase_rows(features: Tensor, step: int, *, margin: int) -> Tensor:
    """Split a frame into the step² images of every step-th pixel, and these into rows.

    features [B,C,H,W] -> [h+2·margin, B·step², C, w+2·margin], contiguous, zeros around; h = ⌈H/step⌉, w = ⌈W/step⌉.
    Rows lead, so that any run of them is one batch of matrices without a copy.
    """
    batch, channels, height, width = features.shape
    features = F.pad(features, (0, -width % step, 0, -height % step))
    rows, columns = features.shape[-2] // step, features.shape[-1] // step
    phases = features.reshape(batch, channels, rows, step, columns, step).permute(2, 0, 3, 5, 1, 4)
    padded = features.new_zeros(rows + 2 * margin, batch, step, step, channels, columns + 2 * margin)
    padded[margin : margin + rows, ..., margin : margin + columns] = phases
    return padded.flatten(1, 3)


def _row_products(rows_first: Tensor, rows_second: Tensor) -> Tensor:
    """Each row of the first times that of the second, at every horizontal displacement.

    rows_first [h,n,C,w], rows_second [h,n,C,w+2r] -> [h,n,w,2r+1].
    """
    height, num_images, channels, width = rows_first.shape
    reach = rows_second.shape[-1] - width
    left = rows_first.view(-1, channels, width).transpose(1, 2)
    right = rows_second.view(-1, channels, width + reach)
    bands = []
    for start in range(0, width, BLOCK_COLUMNS):
        stop = min(start + BLOCK_COLUMNS, width)
        bands.append(_diagonals(torch.bmm(left[:, start:stop], right[:, :, start : stop + reach]), reach + 1))
    return torch.cat(bands, dim=1).view(height, num_images, width, -1)


def _diagonals(matrices: Tensor, num_diagonals: int) -> Tensor:
    """A view of matrices [n,w,w+num_diagonals-1] as [n,w,num_diagonals]: entry (x, t) is entry (x, x+t)."""
    return matrices.flatten(1).unfold(1, num_diagonals, matrices.shape[-1] + 1)


def displaced_convolution(image: Tensor, vertical: Tensor, horizontal: Tensor, flow: Tensor) -> Tensor:
    """Filter an image around where the flow points, with a separable kernel for every pixel.

    image [B,C,H+K-1,W+K-1], padded by the caller; vertical and horizontal kernels [B,K,H,W]; flow [B,2,H,W], pixels.
    Returns [B,C,H,W] in the dtype of the image: ``Σ_jk vertical_j horizontal_k image(x + dx + k, y + dy + j)``,
    bilinear between pixels, summed in float32 at least. What points outside the frame is read at its border: the
    corners are clamped to the H×W of the output, then the kernel's offsets are added.

    A kernel of K taps between pixels is one of K+1 taps on them: (K+1)² pixels are read, and not 4K².

    Raises: ValueError, where the shapes do not fit together.
    Reference: SDC-Net, Reda et al., ECCV 2018, section 3.
    """
    batch, taps, height, width = vertical.shape
    expected = (batch, image.shape[1], height + taps - 1, width + taps - 1)
    if image.shape != expected or horizontal.shape != vertical.shape or flow.shape != (batch, 2, height, width):
        raise ValueError(
            "displaced_convolution takes an image [B,C,H+K-1,W+K-1], two kernels [B,K,H,W] and a flow [B,2,H,W], found "
            f"{list(image.shape)}, {list(vertical.shape)}, {list(horizontal.shape)} and {list(flow.shape)}"
        )
    dtype = torch.promote_types(image.dtype, torch.float32)
    points = endpoints(flow)
    x, horizontal = _taps_on_pixels(points[:, 0], horizontal.to(dtype), width)
    y, vertical = _taps_on_pixels(points[:, 1], vertical.to(dtype), height)
    padded = F.pad(image.to(dtype), (0, 1, 0, 1))  # the last tap's weight is 0 where it leaves the image
    corners = (y * padded.shape[-1] + x).reshape(batch, 1, height * width)
    filtered = _separable_filter(padded, vertical.flatten(2), horizontal.flatten(2), corners)
    return filtered.view(batch, -1, height, width).to(image.dtype)


def _taps_on_pixels(positions: Tensor, kernel: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Where a kernel starts that lies between pixels, and its taps on the pixels from there.

    positions [B,H,W] along one axis of `size` pixels; kernel [B,K,H,W] -> int64 [B,H,W] in 0…size-1, [B,K+1,H,W].
    """
    corner = pixel_before(positions)
    start, end = corner.clamp(0, size - 1), (corner + 1).clamp(0, size - 1)
    fraction = ((positions - corner) * (end - start)).to(kernel.dtype).unsqueeze(1)  # both corners may be one pixel
    moved = fraction * kernel
    return start.long(), F.pad(kernel - moved, (0, 0, 0, 0, 0, 1)) + F.pad(moved, (0, 0, 0, 0, 1, 0))


# The loops over taps are operators of their own, which compilers take as they are: unrolled, the gathers of K = 11
# compile for minutes, and on a CPU into code 2 to 27 times slower than these.
@torch.library.custom_op("sdcnet::separable_filter", mutates_args=())
def _separable_filter(image: Tensor, vertical: Tensor, horizontal: Tensor, corners: Tensor) -> Tensor:
    """Σ_jk vertical_j horizontal_k image[corner + offset(j, k)]; nothing is stored per tap, forward or backward.

    image [B,C,H,W]; vertical, horizontal [B,K,N]; corners [B,1,N] flat indices into H·W -> [B,C,N].
    """
    pixels = image.flatten(2)
    indices = corners.expand(-1, pixels.shape[1], -1)
    total = pixels.new_zeros(indices.shape)
    for j in range(vertical.shape[1]):
        row = torch.zeros_like(total)
        for k in range(horizontal.shape[1]):
            row.addcmul_(pixels.gather(2, indices + (j * image.shape[-1] + k)), horizontal[:, k : k + 1])
        total.addcmul_(row, vertical[:, j : j + 1])
    return total


@torch.library.custom_op("sdcnet::separable_filter_gradients", mutates_args=())
def _separable_filter_gradients(
    grad: Tensor, image: Tensor, vertical: Tensor, horizontal: Tensor, corners: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients of the image and of both kernels, by that of the filtered [B,C,N]."""
    pixels = image.flatten(2)
    indices = corners.expand(-1, pixels.shape[1], -1)
    grad_pixels, grad_vertical, grad_horizontal = (x.new_zeros(x.shape) for x in (pixels, vertical, horizontal))
    for j in range(vertical.shape[1]):
        grad_row = grad * vertical[:, j : j + 1]
        for k in range(horizontal.shape[1]):
            at = indices + (j * image.shape[-1] + k)
            taken = pixels.gather(2, at)
            grad_vertical[:, j] += horizontal[:, k] * (grad * taken).sum(1)
            grad_horizontal[:, k] += (grad_row * taken).sum(1)
            grad_pixels.scatter_add_(2, at, grad_row * horizontal[:, k : k + 1])
    return grad_pixels.view_as(image), grad_vertical, grad_horizontal


@_separable_filter.register_fake
def _filtered_shape(image: Tensor, vertical: Tensor, horizontal: Tensor, corners: Tensor) -> Tensor:  # noqa: ARG001
    return image.new_empty(*image.shape[:2], corners.shape[-1])


@_separable_filter_gradients.register_fake
def _gradient_shapes(
    grad: Tensor,  # noqa: ARG001
    image: Tensor,
    vertical: Tensor,
    horizontal: Tensor,
    corners: Tensor,  # noqa: ARG001
) -> tuple[Tensor, Tensor, Tensor]:
    return image.new_empty(image.shape), vertical.new_empty(vertical.shape), horizontal.new_empty(horizontal.shape)


def _save_inputs(ctx: FunctionCtx, inputs: tuple[Tensor, ...], output: Tensor) -> None:  # noqa: ARG001
    ctx.save_for_backward(*inputs)


def _backward(ctx: FunctionCtx, grad: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
    return *_separable_filter_gradients(grad, *ctx.saved_tensors), None  # type: ignore[attr-defined]


_separable_filter.register_autograd(_backward, setup_context=_save_inputs)
