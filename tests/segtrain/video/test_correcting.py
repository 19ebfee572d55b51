"""Corrected feature warping, against reference numbers."""

import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from golden.fill import fill_values
from torch import Tensor

from segtrain.video.correcting import Correction, consistency_loss
from segtrain.video.warping import LEVELS, warp

GOLDEN = Path(__file__).resolve().parents[2] / "golden" / "twnet_fusion.npz"


class Case:
    def __init__(self, tag: str) -> None:
        with np.load(GOLDEN) as stored:
            self.of = {name: torch.from_numpy(stored[f"{tag}_{name}"]) for name in self._names(tag, stored)}
        channels = self.of["prev"].shape[0]
        self.module = Correction(channels, channels, cues=0)
        checksums = []
        with torch.no_grad():
            for name, parameter in self.module.named_parameters():
                values = fill_values(f"twnet_{tag}.{name}", tuple(parameter.shape)).astype("<f4")
                checksums.append(zlib.crc32(values.tobytes()))
                parameter.copy_(torch.from_numpy(values))
        assert checksums == self.of["crc"].tolist()

    @staticmethod
    def _names(tag: str, stored: "np.lib.npyio.NpzFile") -> list[str]:
        return [key.removeprefix(f"{tag}_") for key in stored if key.startswith(f"{tag}_")]

    def step(self, features: Tensor) -> Tensor:
        carried = warp(features, self.of["flow"][None])
        return self.module(carried, self.of["lateral"][None], self.of["residual"].abs()[None])


@pytest.mark.parametrize("tag", ["small", "layer2", "layer1"])
def test_it_is_the_reference(tag: str) -> None:
    case = Case(tag)
    with torch.no_grad():
        carried = warp(case.of["prev"][None], case.of["flow"][None])
        torch.testing.assert_close(carried[0], case.of["warped"], rtol=0, atol=2e-5)
        found = case.step(case.of["prev"][None])
        torch.testing.assert_close(found[0], case.of["eq7"], rtol=0, atol=2e-5)
        signed = case.module(carried, case.of["lateral"][None], case.of["residual"][None])
        torch.testing.assert_close(signed[0], case.of["eq7_signed"], rtol=0, atol=2e-5)
        without = Correction(*2 * [len(case.of["prev"])], attends=False)
        without.load_state_dict({name: value for name, value in case.module.state_dict().items() if "cfr" in name})
        plain = without(carried, case.of["lateral"][None])
        torch.testing.assert_close(plain[0], case.of["eq5"], rtol=0, atol=2e-5)
        attention = case.module.rga(case.of["residual"].abs()[None] / LEVELS).sigmoid()
        torch.testing.assert_close(attention[0], case.of["attention_abs"], rtol=0, atol=2e-5)
        loss = consistency_loss(found, case.of["target"][None])
        assert loss.item() == pytest.approx(case.of["consist"].item(), rel=1e-5)
        for _ in range(2):
            found = case.step(found)
        torch.testing.assert_close(found[0], case.of["recursive3"], rtol=0, atol=5e-5)


def test_it_begins_as_what_was_carried() -> None:
    torch.manual_seed(0)
    carried, lateral, residual, unknown = (torch.rand(2, channels, 4, 5) for channels in (6, 3, 3, 1))
    module = Correction(6, 3)
    corrected = module(carried, lateral, residual, unknown)
    assert torch.equal(corrected, carried)
    corrected.square().sum().backward()
    assert module.cfr.weight.grad.abs().max() > 0


def test_what_is_expected_is_no_way_back() -> None:
    corrected, expected = torch.rand(1, 2, 3, 3, requires_grad=True), torch.rand(1, 2, 3, 3, requires_grad=True)
    consistency_loss(corrected, expected).backward()
    assert corrected.grad is not None
    assert expected.grad is None
