"""Every stored loss of distillation, and of cross entropy in the same code, with its gradients, in float64."""

from collections.abc import Callable, Mapping

import numpy as np
import pytest
import torch
from helpers.stored_losses import GOLDEN, assert_case, load
from torch import Tensor

from segtrain.data.batches import Batch
from segtrain.losses.consistency.distillation import frame_loss, published_frame_loss
from segtrain.losses.consistency.pairs import pair_loss, published_map, published_pair_loss, similarity_map
from segtrain.losses.consistency.sequence import ConvLSTM, encode, self_maps, sequence_loss
from segtrain.losses.consistency.similarity import pooled, published_similarity_loss
from segtrain.losses.cross_entropy import cross_entropy, ohem_cross_entropy
from segtrain.losses.objective import LabelObjective, StepOutput, any_epoch
from segtrain.losses.registry import LOSSES
from segtrain.losses.settings import LossSettings
from segtrain.models.network import upsample

STORED = load("distillation.npz")
CLASS_WEIGHTS = tuple(np.load(GOLDEN / "pspnet_train_step.npz")["class_weights"].tolist())
ORDER = "ftb"  # of the frames in time: before, the labelled one, after
Frames = Mapping[str, Tensor]  # by "t", "f", "b"
Case = tuple[Tensor, Frames]


def frames(kind: str) -> Frames:
    """A student's get gradients: "s_logits", "t_big_logits", "s_fea" and so on."""
    found = {name: STORED[f"{kind}_{name}"].double() for name in ORDER if f"{kind}_{name}" in STORED}
    return {name: tensor.requires_grad_(kind.startswith("s_")) for name, tensor in found.items()}


def weighted(losses: Mapping[str, Tensor]) -> Tensor:
    """A frame, and its neighbours at two fifths."""
    return losses["t"] + 0.4 * (losses["f"] + losses["b"])


def of_frames(loss: Callable[[Tensor, Tensor], Tensor], teacher: str = "t_logits") -> Case:
    student, taught = frames("s_logits"), frames(teacher)
    return loss(student["t"], taught["t"]) + loss(student["f"], taught["f"]), {name: student[name] for name in "tf"}


def of_three_frames() -> Case:
    student, taught = frames("s_logits"), frames("t_logits")
    return weighted({name: published_frame_loss(student[name], taught[name]) for name in ORDER}), student


def of_pairs(loss: Callable[..., Tensor]) -> Case:
    student, taught = frames("s_logits"), frames("t_logits")
    return loss(student["t"], student["f"], taught["t"], taught["f"]), {name: student[name] for name in "tf"}


def of_similarity(pool: int) -> Case:
    student, taught = frames("s_fea"), frames("t_fea")
    losses = {name: published_similarity_loss(student[name], taught[name], pool=pool) for name in ORDER}
    return weighted(losses), student


def encoder() -> ConvLSTM:
    made = ConvLSTM().double()
    made.load_state_dict({f"Gates.{name}": STORED[f"convlstm_Gates_{name}"].double() for name in ("weight", "bias")})
    return made


def parameters(of: ConvLSTM) -> Frames:
    return {name.replace(".", "_"): parameter for name, parameter in of.named_parameters()}


def of_sequence() -> Case:
    student, taught = ([self_maps(frames(kind)[name]) for name in ORDER] for kind in ("s_fea", "t_fea"))
    made = encoder()
    return sequence_loss(made, student, taught).loss, parameters(made)


def of_sequence_by_features() -> Case:
    places = {name: pooled(tensor.detach(), 16).requires_grad_() for name, tensor in frames("s_fea").items()}
    student = [self_maps(places[name], pool=1) for name in ORDER]
    taught = [self_maps(frames("t_fea")[name]) for name in ORDER]
    return sequence_loss(encoder(), student, taught).loss, {f"pooled_{name}": places[name] for name in "tfb"}


def of_channels_as_images() -> Case:
    """The released helper: the channels of features as images each, and cells alone."""
    made = encoder()
    student, taught = (
        encode(made, [frames(kind)[name][:, :8, :17, :25].flatten(0, 1) for name in ORDER]).cell
        for kind in ("s_fea", "t_fea")
    )
    teacher_term = (1 - taught).mean()
    assert teacher_term.item() == pytest.approx(STORED["mf_gan_published__teacher_term"].item(), rel=1e-5)
    return (student - taught).square().mean(), {"Gates_weight": made.Gates.weight}


def of_labels(objective: LabelObjective) -> Case:
    label = STORED["ce_label"]
    logits, auxiliary = frames("s_logits")["t"], frames("s_logits")["f"]
    output = StepOutput(
        logits=upsample(logits, label.shape[1:]), auxiliary={"aux": auxiliary}, batch=Batch(label, label), epoch=0
    )
    return objective(output).total, {"logits": logits, "dsn": auxiliary}


def on_hard_pixels(logits: Tensor, labels: Tensor) -> Tensor:
    return ohem_cross_entropy(logits, labels, threshold=0.05, min_kept=500, class_weights=CLASS_WEIGHTS)


CASES: Mapping[str, Callable[[], Case]] = {
    "sf_published": lambda: of_frames(published_frame_loss),
    "sf_published_upsampled": lambda: of_frames(published_frame_loss, "t_big_logits"),
    "sf_long_published": of_three_frames,
    "sf_per_pixel": lambda: of_frames(frame_loss),
    "pf_published": lambda: of_pairs(published_pair_loss),
    "pf_cosine": lambda: of_pairs(pair_loss),
    "self_similarity_published": lambda: of_similarity(2),
    "self_similarity_published_pool8": lambda: of_similarity(8),
    "mf_published": of_sequence,
    "mf_own_equation": of_sequence_by_features,
    "mf_gan_published": of_channels_as_images,
    "ce_weighted_published": lambda: of_labels(LOSSES["cross-entropy"](LossSettings(class_weights=CLASS_WEIGHTS))),  # type: ignore[arg-type]
    "ce_unweighted": lambda: of_labels(LabelObjective(loss=any_epoch(cross_entropy))),
    "ohem_published": lambda: of_labels(LabelObjective(loss=any_epoch(on_hard_pixels))),
}


def test_no_stored_loss_is_left_out() -> None:
    assert CASES.keys() == {key.removesuffix("__loss") for key in STORED if key.endswith("__loss")}


@pytest.mark.parametrize("name", CASES)
def test_losses_and_gradients_are_the_stored_ones(name: str) -> None:
    loss, inputs = CASES[name]()
    assert_case(STORED, f"{name}__", loss, inputs, relative=1e-5 if name.startswith("mf") else 1e-6)


def test_maps_are_the_stored_ones() -> None:
    student = frames("s_logits")
    for name, make in (("published", published_map), ("cosine", similarity_map)):
        found = make(student["t"], student["f"])[:, :12, :12]
        torch.testing.assert_close(found, STORED[f"pf_{name}_map_corner"], atol=1e-6, rtol=0)


@pytest.mark.parametrize("who", ["student", "teacher"])
def test_embeddings_are_the_stored_ones(who: str) -> None:
    state = encode(encoder(), [self_maps(frames(f"{who[0]}_fea")[name]) for name in ORDER])
    for name, found in state._asdict().items():
        torch.testing.assert_close(found.float(), STORED[f"mf_{name}_{who}"], atol=1e-6, rtol=0)
