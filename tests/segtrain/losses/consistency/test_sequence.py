"""Distillation of sequences: what an encoder tells apart, and how one collapses."""

import pytest
import torch
from torch import Tensor, nn

from segtrain.losses.consistency.pairs import similarity_map
from segtrain.losses.consistency.sequence import ConvLSTM, encode, frozen_encoder, self_maps, sequence_loss


def sequence(seed: int, *, length: int = 3, change: float = 0.3) -> list[Tensor]:
    """Maps of features that are rectified, as those of networks are, and drift from frame to frame."""
    generator = torch.Generator().manual_seed(seed)

    def draw() -> Tensor:
        return torch.randn(2, 16, 5, 5, generator=generator)

    features = [draw()]
    for _ in range(length - 1):
        features.append(features[-1] + change * draw())
    return [self_maps(each.relu(), pool=1) for each in features]


def test_its_parameters_have_the_published_names() -> None:
    shapes = {
        name: tuple(tensor.shape) for name, tensor in nn.ModuleDict({"convlstm": ConvLSTM()}).state_dict().items()
    }
    assert shapes == {"convlstm.Gates.weight": (16, 5, 3, 3), "convlstm.Gates.bias": (16,)}


def test_equal_sequences_cost_nothing_and_different_ones_something_by_a_frozen_encoder() -> None:
    encoder, first = frozen_encoder(), sequence(0)
    assert sequence_loss(encoder, first, first).loss == 0
    others = [sequence(seed) for seed in range(1, 5)]
    between = [sequence_loss(encoder, other, first).loss.item() for other in others]
    embeddings = torch.stack([sequence_loss(encoder, first, each).embedding for each in (first, *others)])
    assert min(between) > 0.05 * embeddings.var().item()
    assert 0.05 < embeddings.var().item() < 1  # neither nearly 0 nor saturated
    assert (embeddings.abs() > 0.95).float().mean() < 0.2
    shuffled = sequence_loss(encoder, first[::-1], first).loss.item()
    assert shuffled > 0.001  # the order matters
    slight = sequence_loss(encoder, [each + 0.01 for each in first], first).loss.item()
    assert 0 < slight < shuffled < min(between)


def test_a_frozen_encoder_is_its_seed_and_never_trained() -> None:
    weights = [frozen_encoder(seed).Gates.weight for seed in (0, 0, 1)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])
    assert not any(parameter.requires_grad for parameter in frozen_encoder().parameters())
    before = torch.get_rng_state()
    features = torch.randn(1, 4, 2, 2, generator=torch.Generator().manual_seed(0)).requires_grad_()
    loss = sequence_loss(frozen_encoder(), [self_maps(features, pool=1)], [torch.zeros(1, 4, 4)]).loss
    assert torch.autograd.grad(loss, features)[0].any()
    assert torch.equal(torch.get_rng_state(), before)


def test_weights_of_0_are_the_collapse() -> None:
    encoder = ConvLSTM()
    encoder.clip(0)
    assert not any(parameter.any() for parameter in encoder.parameters())
    found = sequence_loss(encoder, sequence(0), sequence(1))
    assert found.loss == 0
    assert found.variance == 0
    assert found.regulariser == 1


def test_an_encoder_that_is_trained_to_make_the_loss_small_collapses_unless_it_is_regularised() -> None:
    student, teacher = sequence(0), sequence(1)
    for weight in (0.0, 0.1):
        torch.manual_seed(0)
        encoder = ConvLSTM()
        begun = sequence_loss(encoder, student, teacher)
        steps = torch.optim.SGD(encoder.parameters(), lr=5.0)
        for _ in range(30):
            found = sequence_loss(encoder, student, teacher)
            steps.zero_grad()
            (found.loss + weight * found.regulariser).backward()
            steps.step()
            encoder.clip(0.5)
        assert max(parameter.abs().max() for parameter in encoder.parameters()) <= 0.5
        if weight:
            assert found.variance > begun.variance
        else:
            assert found.variance < begun.variance / 100
            assert found.loss < begun.loss / 100


def test_the_encoder_gets_gradients_of_both_and_the_teachers_maps_none() -> None:
    encoder, student, teacher = ConvLSTM(), sequence(0), [each.requires_grad_() for each in sequence(1)]
    found = sequence_loss(encoder, student, teacher)
    assert torch.autograd.grad(found.loss, teacher[0], allow_unused=True, retain_graph=True) == (None,)
    by_loss, by_embedding = (
        torch.autograd.grad(each, encoder.Gates.weight, retain_graph=True)[0]
        for each in (found.loss, found.regulariser)
    )
    assert by_loss.any()
    assert by_embedding.any()
    assert not found.variance.requires_grad


@pytest.mark.parametrize(("size", "places"), [((97, 97), 36), ((16, 32), 2), ((33, 15), 2), ((5, 7), 1)])
def test_features_of_any_size_have_a_map(size: tuple[int, int], places: int) -> None:
    features = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(0))
    found = self_maps(features)
    assert found.shape == (2, places, places)
    torch.testing.assert_close(found.diagonal(dim1=1, dim2=2), torch.ones(2, places))
    assert torch.equal(self_maps(features.half()).float(), self_maps(features.half().float()))


def test_maps_are_of_means() -> None:
    features = torch.randn(1, 3, 4, 7, generator=torch.Generator().manual_seed(0))
    means = torch.stack(
        [features[..., 2 * y : 2 * y + 2, 2 * x : 2 * x + 2].mean((2, 3)) for y in (0, 1) for x in range(3)]
    )
    torch.testing.assert_close(self_maps(features, 2), similarity_map(*[means.permute(1, 2, 0)[..., None]] * 2))
    assert not self_maps(torch.zeros(1, 3, 4, 4), 2).any()


def test_maps_that_do_not_belong_together_are_refused() -> None:
    encoder, maps = frozen_encoder(), sequence(0)
    with pytest.raises(ValueError, match=r"expected maps \[B,N,N\] of one size, as `self_maps` gives them, found none"):
        encode(encoder, [])
    with pytest.raises(ValueError, match=r"found \[2, 16, 8, 8\]"):
        encode(encoder, [torch.zeros(2, 16, 8, 8)])
    with pytest.raises(ValueError, match="expected as many maps of student and teacher, of one size"):
        sequence_loss(encoder, maps, maps[:2])
    with pytest.raises(ValueError, match=r"found \[\[2, 4, 4\]\] and \[\[2, 9, 9\]\]; enlarge the student's features"):
        sequence_loss(encoder, [torch.zeros(2, 4, 4)], [torch.zeros(2, 9, 9)])
