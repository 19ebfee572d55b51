"""A corrector: a new one changes nothing, what has no class stays as it is, and a file is for its classes alone."""

from pathlib import Path

import pytest
import torch
from helpers.classes import merged_classes, named_classes
from torch import Tensor

from jobs.errors import CheckpointError
from jobs.training.runtime import Runtime
from propagate.carry.carried import Carried
from propagate.carry.confidence import Match
from propagate.carry.correction import NetworkCorrection, evidence_of
from propagate.carry.corrector import NUM_EVIDENCE, LabelCorrector, cell_for
from propagate.carry.corrector_files import evidence_settings, open_corrector, save_corrector, taught_with
from propagate.carry.sample_settings import SampleSettings
from propagate.data.classes import IGNORE_TRAIN_ID, ClassTable
from sdcnet.networks.checkpoints import read_checkpoint

SIZE = (37, 70)  # a multiple of nothing
RUNTIME = Runtime(device=torch.device("cpu"))


def frames(number: int = 2) -> Tensor:
    return torch.randint(0, 256, (number, 3, *SIZE), dtype=torch.uint8)


def carried(label: Tensor, confidence: Tensor) -> Carried:
    """Labels [H,W] and their confidence, of two frames."""
    nothing = torch.zeros(2, 1, *SIZE)
    match = Match(difference=nothing, rival=nothing, is_inside=nothing == 0)
    return Carried(label.expand(2, 1, -1, -1), confidence.expand(2, 1, -1, -1), nothing.byte(), match)


def correction(classes: ClassTable, *, favoured: int | None = None) -> NetworkCorrection:
    """By a new network, or by one that has learnt that everything is of one class."""
    network = LabelCorrector(len(classes.train_names), cell=2)
    if favoured is not None:
        with torch.no_grad():  # four pixels side by side for each class
            network.changes.bias[4 * favoured : 4 * favoured + 4] = 50
    return NetworkCorrection(RUNTIME.prepare(network), classes, RUNTIME)


@pytest.mark.parametrize("size", [(512, 1024), (1024, 2048)])
def test_a_new_network_finds_each_carried_class_as_probable_as_it_was(size: tuple[int, int]) -> None:
    network = LabelCorrector(5, cell_for(size)).eval()
    classes = torch.randint(0, 5, (2, *SIZE), dtype=torch.uint8)
    evidence = torch.rand(2, NUM_EVIDENCE, *SIZE)
    evidence[:, 0] = evidence[:, 0] * 0.4 + 0.55
    found = network.decide(frames(), classes, evidence)
    assert found.shape == (2, 2, *SIZE)
    assert torch.equal(found[:, 0], classes.float())
    assert torch.allclose(found[:, 1], evidence[:, 0], atol=1e-5)
    both = network(frames(), classes, evidence).softmax(dim=1).max(dim=1)
    assert torch.allclose(both.values, found[:, 1], atol=1e-5)
    assert torch.equal(both.indices, classes.long())
    assert 100_000 < sum(each.numel() for each in network.parameters()) < 1_000_000


def test_where_no_class_was_carried_none_is_taken_for_granted() -> None:
    classes = torch.full((2, *SIZE), IGNORE_TRAIN_ID, dtype=torch.uint8)
    found = LabelCorrector(4, cell=4).eval()(frames(), classes, torch.rand(2, NUM_EVIDENCE, *SIZE))
    assert torch.equal(found, torch.zeros(2, 4, *SIZE))


def test_labels_change_to_what_is_more_probable_but_what_has_no_class_stays() -> None:
    classes = named_classes(["road", "car"])
    road, car, void = 0, 1, 255
    label = torch.full(SIZE, road, dtype=torch.uint8)
    label[:5], label[20:30] = void, car
    confidence = torch.full(SIZE, 0.75)
    before = carried(label, confidence)
    after = correction(classes, favoured=int(classes.train_id_of[car]))(before, frames(), ["a", "b"])
    for number in range(2):
        assert (after.label[number, 0][:5] == void).all()
        assert (after.label[number, 0][5:] == car).all()
        assert (after.confidence[number, 0][:5] == 0.75).all()
        assert (after.confidence[number, 0][label == road] > 0.99).all()
        assert (after.confidence[number, 0][label == car] == 0.75).all()  # never surer than it was
    assert torch.equal(before.label[0, 0], label)  # as it was
    assert after.reason is before.reason


def test_another_class_has_to_be_more_probable_by_the_margin() -> None:
    network = LabelCorrector(3, cell=2).eval()
    with torch.no_grad():
        network.changes.bias[8:12] = 4.0  # of the last class
    classes, evidence = torch.zeros(1, *SIZE, dtype=torch.uint8), torch.zeros(1, NUM_EVIDENCE, *SIZE)
    evidence[:, 0] = 0.6
    logits = network(frames(1), classes, evidence)
    lead = float((logits[:, 2] - logits[:, 0]).detach().mean())
    assert 2 < lead < 4
    for margin, winner in ((lead - 0.01, 2), (lead + 0.01, 0)):
        network.margin.fill_(margin)
        found = network.decide(frames(1), classes, evidence)
        assert (found[:, 0] == winner).all()
        assert torch.allclose(found[:, 1], logits.softmax(dim=1)[:, winner], atol=1e-5)


def test_of_a_class_with_several_label_ids_each_pixel_keeps_its_own() -> None:
    classes = merged_classes()
    counts = [each for each in classes.classes if each.train_id != IGNORE_TRAIN_ID]
    merged = next(each.train_id for each in counts if sum(other.train_id == each.train_id for other in counts) > 1)
    ids = [each.id for each in counts if each.train_id == merged]
    label = torch.tensor(ids, dtype=torch.uint8)[torch.arange(SIZE[1]) % len(ids)].expand(SIZE).contiguous()
    before = carried(label, torch.full(SIZE, 0.9))
    assert torch.equal(correction(classes)(before, frames(), ["a", "b"]).label, before.label)


def test_a_displacement_that_is_no_number_does_not_reach_the_network() -> None:
    before = carried(torch.ones(SIZE, dtype=torch.uint8), torch.full(SIZE, torch.nan))
    assert evidence_of(before).isfinite().all()


def test_a_file_brings_back_the_same_network_and_says_of_which_classes_it_is(tmp_path: Path) -> None:
    classes = named_classes(["road", "car"])
    network = LabelCorrector(2, cell=2)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter)
    taught = evidence_settings("dis", SampleSettings())
    save_corrector(tmp_path / "a.safetensors", network, classes, taught_with=taught, about={"steps": 3})
    assert taught_with(tmp_path / "a.safetensors") == taught
    assert {"motion": "dis", "resample": "composed"}.items() <= taught.items()
    found = open_corrector(tmp_path / "a.safetensors", classes)
    assert not found.training
    assert all(torch.equal(value, found.state_dict()[name]) for name, value in network.state_dict().items())
    other = named_classes(["road", "tram"])
    with pytest.raises(
        CheckpointError, match=r"of 2 classes \(road, car\), and labels are of 2 classes \(road, tram\)"
    ):
        open_corrector(tmp_path / "a.safetensors", other)
    with pytest.raises(CheckpointError, match="holds LabelCorrector, a network of `propagate`, expected one of motion"):
        read_checkpoint(tmp_path / "a.safetensors")


def test_other_files_of_weights_are_refused(tmp_path: Path) -> None:
    classes = named_classes(["road"])
    (tmp_path / "text").write_text("weights")
    with pytest.raises(CheckpointError, match="/text: no file of weights, or not whole"):
        open_corrector(tmp_path / "text", classes)
    torch.save({"weight": torch.zeros(3)}, tmp_path / "other.pth")
    with pytest.raises(CheckpointError, match="no description of one, expected a corrector"):
        open_corrector(tmp_path / "other.pth", classes)
    save_corrector(tmp_path / "a.safetensors", LabelCorrector(1, cell=2), classes, taught_with={}, about={})
    content = (tmp_path / "a.safetensors").read_bytes()
    assert b'num_classes\\": 1' in content
    (tmp_path / "b.safetensors").write_bytes(content.replace(b'num_classes\\": 1', b'num_classes\\": 3'))
    with pytest.raises(CheckpointError, match="not what its checksum was made of"):
        open_corrector(tmp_path / "b.safetensors", classes)
