"""Distillation of sequences: how the similarity of a frame's places changes over time, for student and teacher.

A small recurrent network, the encoder, turns the maps of a sequence into an embedding. One that is trained together
with the student, to make the loss small, makes all embeddings one if it is let, a collapse: `ConvLSTM.clip` and
`SequenceLoss.regulariser` are the paper's remedy, while a `frozen_encoder` cannot.

Reference: Liu et al., ECCV 2020, section 3.2; the encoder: Shi et al., "Convolutional LSTM Network", NeurIPS 2015,
without peepholes.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from segtrain.losses.consistency.pairs import similarity_map
from segtrain.losses.consistency.similarity import pooled
from segtrain.losses.logits import at_least_float32

HIDDEN_CHANNELS = 4
FROZEN_GAIN = 3.0  # of a frozen encoder's weights: at 1 embeddings differ a seventh as much, at 6 many cells saturate


class State(NamedTuple):
    """What an encoder has made of the maps so far: [B,4,N,N] each."""

    hidden: Tensor
    cell: Tensor


class ConvLSTM(nn.Module):
    """A convolutional LSTM of one channel, with four hidden ones. Its parameters have the published names."""

    def __init__(self) -> None:
        super().__init__()
        self.Gates = nn.Conv2d(1 + HIDDEN_CHANNELS, 4 * HIDDEN_CHANNELS, 3, padding=1)

    def forward(self, image: Tensor, state: State) -> State:
        """image: [B,1,H,W]."""
        gates = self.Gates(torch.cat((image, state.hidden), dim=1))
        entering, kept, leaving, candidate = gates.chunk(4, dim=1)
        cell = kept.sigmoid() * state.cell + entering.sigmoid() * candidate.tanh()
        return State(leaving.sigmoid() * cell.tanh(), cell)

    @torch.no_grad()
    def clip(self, limit: float) -> None:
        """Bring all weights into -limit…limit, in place: what follows each step of an encoder that is trained."""
        for parameter in self.parameters():
            parameter.clamp_(-limit, limit)


def frozen_encoder(seed: int = 0) -> ConvLSTM:
    """An encoder of random weights that are never trained, the same for the same seed."""
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):  # what a new layer draws is written over
        encoder = ConvLSTM().requires_grad_(False)
    weight, bias = encoder.parameters()
    weight.normal_(std=FROZEN_GAIN * weight[0].numel() ** -0.5, generator=generator)
    bias.zero_()
    return encoder


def self_maps(features: Tensor, pool: int = 16) -> Tensor:
    """The similarity of a frame's places, means over `pool` x `pool` of its features: [B,C,H,W] -> [B,N,N].

    Features that are smaller are pooled over what there is along that side, to one place; what of a larger one is no
    whole window is left out. Raises: ValueError for `pool` below 1.
    """
    places = pooled(features.to(at_least_float32(features.dtype)), pool)
    return similarity_map(places, places)


def encode(encoder: ConvLSTM, maps: Sequence[Tensor]) -> State:
    """What an encoder makes of maps [B,N,N] in the order of their frames, beginning with zeros: of the last of them.

    Raises: ValueError where there are none, and for maps of other shapes.
    """
    if not maps or maps[0].ndim != 3 or any(each.shape != maps[0].shape for each in maps):
        shapes = ", ".join(str(list(each.shape)) for each in maps) or "none"
        raise ValueError(f"expected maps [B,N,N] of one size, as `self_maps` gives them, found {shapes}")
    first = maps[0][:, None].expand(-1, HIDDEN_CHANNELS, -1, -1)
    state = State(torch.zeros_like(first), torch.zeros_like(first))
    for each in maps:
        state = encoder(each[:, None], state)
    return state


class SequenceLoss(NamedTuple):
    """loss: a scalar. embedding: the teacher's cells after the last frame, [B,4,N,N], within ± the number of frames.

    Both have gradients by an encoder that is trained.
    """

    loss: Tensor
    embedding: Tensor

    @property
    def variance(self) -> Tensor:
        """Of the embedding, between the sequences of the batch: it goes to 0 where the encoder collapses. A scalar.

        Not over all elements: what an encoder gives each place whatever it sees is no sign of life.
        """
        return self.embedding.detach().var(dim=0, correction=0).mean()

    @property
    def regulariser(self) -> Tensor:
        """What, added to the loss of an encoder that is trained, keeps its embeddings from 0: mean(1 - cell). A scalar.

        By itself it asks for saturated cells, not for different ones.
        """
        return (1 - self.embedding).mean()


def sequence_loss(encoder: ConvLSTM, student: Sequence[Tensor], teacher: Sequence[Tensor]) -> SequenceLoss:
    """The mean squared differences of the last hidden states, and of the last cells, of student and teacher.

    An encoder that is trained gets gradients of both; the teacher's maps get none.

    student, teacher: of each frame in their order, `self_maps` of features of one height and width, [B,N,N].

    Raises: ValueError where their lengths or sizes differ. Reference: multi-frame dependency. As published it is the
    same, of windows of 16 x 16 whatever was asked for.
    """
    shapes = [[list(each.shape) for each in maps] for maps in (student, teacher)]
    if shapes[0] != shapes[1]:
        raise ValueError(
            f"expected as many maps of student and teacher, of one size, found {shapes[0]} and {shapes[1]}; enlarge "
            "the student's features to the teacher's before"
        )
    of_student, of_teacher = encode(encoder, student), encode(encoder, [each.detach() for each in teacher])
    loss = functional.mse_loss(of_student.cell, of_teacher.cell) + functional.mse_loss(
        of_student.hidden, of_teacher.hidden
    )
    return SequenceLoss(loss, of_teacher.cell)
