"""RAFT: dense optical flow, refined again and again by one small recurrent network.

Each frame has features of an eighth of its size. An update looks up how well those of the first frame match those of
the second around where the flow points so far, and corrects the flow. Parameters have the names and shapes of the
published weights of torchvision's raft_large and raft_small.

Reference: RAFT, Teed and Deng, ECCV 2020.
"""

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from sdcnet.geometry import endpoints
from sdcnet.networks.flownet2 import require_finite
from sdcnet.networks.raft_layers import STRIDE, VARIANTS, Encoder, MaskPredictor, UpdateBlock

SMALLEST_SIDE = 128  # the published networks take no less: their coarsest features need two pixels
NUM_UPDATES = 12


class RAFT(nn.Module):
    """Optical flow between two frames of any size; its parts may be used alone, so that a frame's are computed once.

    ``flow(features(first), features(second), context(first))`` is what ``network(first, second)`` gives, but for the
    border by which frames are padded: to a multiple of 8, and to 128, on all sides, repeating the frame's border.

    Under autocast, encoders and updates compute in its dtype; the flow, products of features and the upsampling stay
    float32.
    """

    def __init__(self, variant: str = "large") -> None:
        """variant: one of VARIANTS. Raises: ValueError, where it is none."""
        super().__init__()
        if variant not in VARIANTS:
            raise ValueError(f"variant must be one of {', '.join(VARIANTS)}, found {variant!r}")
        self.variant = variant
        numbers = self._numbers = VARIANTS[variant]
        self.feature_encoder = Encoder(numbers, numbers.features, nn.InstanceNorm2d)
        context_norm = nn.BatchNorm2d if numbers.batch_norm else None
        self.context_encoder = Encoder(numbers, numbers.hidden + numbers.context, context_norm)
        self.update_block = UpdateBlock(numbers)
        self.mask_predictor = MaskPredictor(numbers) if numbers.has_mask else None

    @property
    def settings(self) -> dict[str, object]:
        """What, beside its parameters, makes this network."""
        return {"variant": self.variant}

    def forward(self, first: Tensor, second: Tensor, num_updates: int = NUM_UPDATES) -> Tensor:
        """Two frames -> flow_first_to_second [B,2,H,W] in pixels, float32 at least.

        first, second: [B,3,H,W], uint8 or float, 0…255, **RGB**.

        Raises: ValueError, where the frames are not two batches of three channels and one size, or hold NaN.
        """
        if first.shape != second.shape:
            raise ValueError(f"RAFT takes two frames of one size, found {list(first.shape)} and {list(second.shape)}")
        features1, features2 = self.features(torch.cat((first, second))).chunk(2)
        return self.flow_from_features(first, features1, features2, num_updates)

    def features(self, frames: Tensor) -> Tensor:
        """Frames [B,3,H,W] -> what is matched between frames, [B,C,h,w] of the padded frames' eighth."""
        return self.feature_encoder(self._images(frames))

    def context(self, frames: Tensor) -> Tensor:
        """Frames [B,3,H,W] -> what is known of the first of two frames alone: the initial state and the context."""
        return self.context_encoder(self._images(frames))

    def flow_from_features(
        self, first: Tensor, features1: Tensor, features2: Tensor, num_updates: int = NUM_UPDATES
    ) -> Tensor:
        """As `forward`, of the first frame and the `features` of both."""
        flow = self.flow(features1, features2, self.context(first), num_updates)
        height, width = first.shape[-2:]
        left, _, top, _ = padding(height, width)
        return flow[..., top : top + height, left : left + width]

    def flow(self, features1: Tensor, features2: Tensor, context1: Tensor, num_updates: int = NUM_UPDATES) -> Tensor:
        """The flow of the padded frames, [B,2,8h,8w] in pixels, float32 at least, after that many updates.

        features1, features2: as `features` gives them; context1: as `context` does, of the first frame.
        """
        if num_updates < 1:
            raise ValueError(f"num_updates must be at least 1, found {num_updates}")
        from sdcnet.networks.raft_lookup import correlation_lookup  # with all that compiles: no file waits for that

        lookup = correlation_lookup(features1, features2, self._numbers.radius)
        context1 = context1.to(torch.promote_types(context1.dtype, torch.float32))
        hidden, context = context1.split((self._numbers.hidden, self._numbers.context), dim=1)
        hidden = torch.tanh(hidden)
        with torch.autocast(hidden.device.type, enabled=False):  # once only, so no time is lost on exactness
            shares = self.update_block.recurrent_block.shares(F.relu(context))
        flow = hidden.new_zeros(len(hidden), 2, *hidden.shape[-2:])
        for _ in range(num_updates):
            flow = flow.detach()  # an update learns from its own correction
            hidden, correction = self.update_block(hidden, lookup(endpoints(flow)), flow, shares)
            flow = flow + correction  # float32, whatever the correction is
        mask = self.mask_predictor(hidden) if self.mask_predictor else None
        with torch.autocast(flow.device.type, enabled=False):
            return upsample(flow) if mask is None else upsample_convex(flow, mask.to(flow.dtype))

    def _images(self, frames: Tensor) -> Tensor:
        """Levels 0…255 -> -1…1, padded."""
        if frames.ndim != 4 or frames.shape[1] != 3:
            raise ValueError(f"RAFT takes frames [B,3,H,W], found {list(frames.shape)}")
        require_finite(frames)
        dtype = next(self.parameters()).dtype
        images = frames.to(torch.promote_types(dtype, torch.float32)) / 127.5 - 1
        return F.pad(images, padding(*frames.shape[-2:]), mode="replicate").to(dtype)


def padding(height: int, width: int) -> tuple[int, int, int, int]:
    """By how many pixels frames are padded, as (left, right, top, bottom): where it is odd, there is less before."""
    across, down = (max(-size % STRIDE, SMALLEST_SIDE - size) for size in (width, height))
    return across // 2, across - across // 2, down // 2, down - down // 2


def upsample(flow: Tensor) -> Tensor:
    """A flow [B,2,h,w] in its own pixels -> [B,2,8h,8w] in its own; corners meet corners."""
    return STRIDE * F.interpolate(flow, scale_factor=float(STRIDE), mode="bilinear", align_corners=True)


def upsample_convex(flow: Tensor, mask: Tensor) -> Tensor:
    """As `upsample`, each pixel mixed from the 3x3 cells around its own by the softmax of its mask.

    flow [B,2,h,w]; mask [B,576,h,w]: 9 neighbours, row by row, times 8 rows, times 8 columns of a cell. Neighbours
    outside are 0.
    """
    batch, _, height, width = flow.shape
    weights = mask.view(batch, 9, STRIDE, STRIDE, height, width).softmax(dim=1)
    neighbours = F.unfold(STRIDE * flow, 3, padding=1).view(batch, 2, 9, height, width)
    mixed = torch.einsum("bkijyx,bckyx->bcyixj", weights, neighbours)
    return mixed.reshape(batch, 2, STRIDE * height, STRIDE * width)
