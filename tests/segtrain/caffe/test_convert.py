"""Converted networks give what the published ones do, computed in Caffe's own terms; what does not fit is named."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from helpers.caffe_files import (
    LAYER,
    OLD_LAYER,
    PSP_SCORED,
    Blobs,
    bilinear,
    fcn_blobs,
    levels,
    netwarp_blobs,
    pspnet_blobs,
    published_fcn,
    published_netwarp,
    published_pspnet,
)
from helpers.networks import assert_same_state
from torch import Tensor

from jobs.errors import CheckpointError, ParameterError
from segtrain.caffe.convert import convert_network
from segtrain.caffe.names import KNOWN
from segtrain.caffe.read import read_caffemodel
from segtrain.checkpoints import load_network, read_checkpoint
from segtrain.cli.main import main
from segtrain.models.network import SegmentationNetwork
from segtrain.models.preprocessing import MEAN, normalised
from segtrain.models.resnet import resnet101_deep_stem
from segtrain.video.registry import SchemeSettings, open_stepper
from segtrain.video.stepper import Motion, Seen

Write = Callable[..., Path]
OURS = (255 * MEAN[2], 255 * MEAN[1], 255 * MEAN[0])  # the mean of the border here, in the published order

CASES = {
    "pspnet101": (pspnet_blobs, published_pspnet, (89, 89), ("layer0.0", "layer0.1")),
    "fcn8s": (fcn_blobs, published_fcn, (41, 58), ("conv1_1",)),
}
MEANS = [("pspnet101", 19), ("fcn8s", 19), ("fcn8s", 21), ("fcn8s", 40)]


def image_of(size: tuple[int, int]) -> Tensor:
    return torch.randint(256, (1, 3, *size), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


def converted(path: Path, **settings: Any) -> SegmentationNetwork:
    return convert_network(read_caffemodel(path), **settings).network


def first_of(name: str, network: SegmentationNetwork, image: Tensor) -> Tensor:
    found = normalised(image)
    for module in CASES[name][3]:
        found = network.get_submodule(module)(found)
    return found


@torch.no_grad()
@pytest.mark.parametrize("form", [LAYER, OLD_LAYER])
@pytest.mark.parametrize("name", CASES)
def test_scores_are_the_published_ones_where_the_means_are_the_same(name: str, form: int, write: Write) -> None:
    blobs, published, size, _ = CASES[name]
    layers, image = blobs(19), image_of(size)
    network = converted(write(layers, form), mean=OURS)
    assert (network.architecture, network.num_classes, network.training) == (name, 19, False)
    _, expected = published(layers, levels(image, OURS))
    assert expected.shape == (1, 19, *size)
    assert expected.std() > 0.3
    torch.testing.assert_close(network(normalised(image)), expected, atol=1e-4, rtol=0)


@torch.no_grad()
@pytest.mark.parametrize(("name", "num_classes"), MEANS)
def test_of_other_means_the_border_alone_differs(name: str, num_classes: int, write: Write) -> None:
    """Ours are the published networks with a border of ImageNet's mean colour, which the inside does not see."""
    blobs, published, size, _ = CASES[name]
    layers, image = blobs(num_classes), image_of(size)
    mean = KNOWN[name].means[num_classes]
    conversion = convert_network(read_caffemodel(write(layers)))
    assert conversion.mean == mean
    border = [ours - theirs for ours, theirs in zip(OURS, mean, strict=True)]
    assert conversion.border == pytest.approx(max(map(abs, border)))
    _, expected = published(layers, levels(image, mean), border)
    torch.testing.assert_close(conversion.network(normalised(image)), expected, atol=1e-4, rtol=0)
    first, _ = published(layers, levels(image, mean))
    seen = 1 if name == "pspnet101" else 100
    inside = (slice(None), slice(None), slice(seen, -seen), slice(seen, -seen))
    found = first_of(name, conversion.network, image)
    assert found.shape == first.shape
    torch.testing.assert_close(found[inside], first[inside], atol=1e-4, rtol=0)
    assert not torch.allclose(found, first, atol=1e-4)


def test_the_dilations_and_strides_of_pspnet_are_the_published_ones() -> None:
    """At the output stride of 8: the reference computes the same, but its numbers are its author's reading too."""
    with torch.device("meta"):
        trunk = resnet101_deep_stem(8)
    for stage, dilation in (("layer3", 2), ("layer4", 4)):
        for block in trunk.stages[stage]:
            assert (block.conv2.dilation, block.conv2.padding) == ((dilation, dilation), (dilation, dilation))
            assert block.conv2.stride == (1, 1)


def test_a_file_that_was_converted_is_ours_and_the_same_every_time(write: Write, tmp_path: Path) -> None:
    source, contents = write(pspnet_blobs(19)), []
    for number in range(2):
        torch.manual_seed(number)
        before = torch.get_rng_state()
        result = CliRunner().invoke(main, ["convert", str(source), str(tmp_path / "out.safetensors")])
        assert result.exit_code == 0, result.output
        assert torch.equal(torch.get_rng_state(), before)
        contents.append((tmp_path / "out.safetensors").read_bytes())
    assert contents[0] == contents[1]
    assert "pspnet101, 19 classes of 'cityscapes'\n" in result.stdout
    assert "no auxiliary head" in result.stdout
    assert "border" not in result.stdout
    checkpoint = read_checkpoint(tmp_path / "out.safetensors")
    assert checkpoint.description is not None
    assert checkpoint.description.class_names[13] == "car"
    about = checkpoint.description.about["converted"]
    assert (about["from"], about["mean_bgr"], about["not_trained"]) == (
        "network.caffemodel",
        [103.939, 116.779, 123.68],
        "aux",
    )
    image = normalised(image_of((89, 89)))
    with torch.no_grad():
        outputs = load_network(checkpoint).outputs(image)
        assert torch.equal(outputs.logits, converted(source)(image))
    assert outputs.auxiliary["aux"].isfinite().all()


def test_other_classes_are_told_and_so_is_another_border(write: Write, tmp_path: Path) -> None:
    source, out, table = write(fcn_blobs(3)), tmp_path / "out.safetensors", tmp_path / "three.yaml"
    table.write_text(
        "{name: three, ignore_id: 255, classes: ["
        + ", ".join(f"{{id: {i}, name: c{i}, train_id: {i}, color: [{i}, 0, 0]}}" for i in (0, 1, 2, 255))
        + "]}"
    )
    for options, said in (
        ([], "scores 3 classes; the mean of the images is known for 19, 21, 40. Say it by --mean"),
        (["--mean", "100,110,120"], "scores 3 classes; say which by --classes: a YAML file, or one of camvid"),
        (["--mean", "100,110,120", "--classes", "camvid"], "class table 'camvid' has 11 that are trained"),
    ):
        result = CliRunner().invoke(main, ["convert", str(source), str(out), *options])
        assert result.exit_code == 1
        assert said in result.stderr
        assert not out.exists()
    options = ["--mean", "100,110,120", "--classes", str(table)]
    result = CliRunner().invoke(main, ["convert", str(source), str(out), *options])
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith(f"{out}: fcn8s, 3 classes of 'three'\n")
    assert "up to 6 levels" in result.stdout
    assert "auxiliary" not in result.stdout
    assert load_network(read_checkpoint(out)).num_classes == 3


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--mean", "1,2"], "--mean has three levels of 0 to 255, found 1.0,2.0"),
        (["--mean", "1,2,256"], "--mean has three levels of 0 to 255"),
        (["--sha256", "12"], "sha256 must be 64 hexadecimal digits"),
    ],
)
def test_options_that_make_no_sense_are_misuse(options: list[str], said: str, write: Write, tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["convert", str(write({})), str(tmp_path / "out"), *options])
    assert result.exit_code == 2
    assert said in result.stderr


def test_a_file_is_not_written_over_itself(write: Write) -> None:
    path = str(write({}))
    result = CliRunner().invoke(main, ["convert", path, path])
    assert (result.exit_code, "are the same file" in result.stderr) == (2, True)


def test_layers_that_do_not_fit_are_named(write: Write) -> None:
    def without(*names: str) -> Blobs:
        return {name: held for name, held in pspnet_blobs(19).items() if name not in names}

    blobs = pspnet_blobs(19)
    with pytest.raises(ParameterError) as caught:
        converted(write(without("conv4_2_3x3", "conv6")))
    assert sorted(caught.value.missing) == ["conv4_2_3x3[0]", "conv6[0]", "conv6[1]"]
    assert "not those of pspnet101" in str(caught.value)
    with pytest.raises(ParameterError) as caught:
        converted(write({**blobs, "conv4_3_3x3": blobs["conv4_2_3x3"], "conv5_4": blobs["conv5_4"] * 2}))
    assert sorted(caught.value.unexpected) == ["conv4_3_3x3[0]", "conv5_4[1]"]
    with pytest.raises(ParameterError) as caught:
        converted(write({**blobs, "conv1_2_3x3/bn": [torch.ones(4)] * 4}))
    assert caught.value.mismatched["conv1_2_3x3/bn[3]"] == ("[4]", "[1, 4, 1, 1]")
    fcn = fcn_blobs(21)
    with pytest.raises(ParameterError, match=r"fcn8s: 1 of another shape \(fc6\[0\]: found \[12, 7, 7, 8\]"):
        converted(write({**fcn, "fc6": [fcn["fc6"][0].movedim(1, 3).contiguous(), fcn["fc6"][1]]}))
    with pytest.raises(ParameterError, match=r"score_fr\[0\]"):
        converted(write({**fcn, "score_fr": [torch.tensor(1.0), fcn["score_fr"][1]]}))


def test_values_that_are_not_finite_are_refused(write: Write) -> None:
    blobs = pspnet_blobs(19)
    blobs["conv5_4/bn"][3][0, 2] = torch.nan
    with pytest.raises(CheckpointError, match=r"conv5_4/bn\[3\] holds values that are not finite"):
        converted(write(blobs))


@pytest.mark.parametrize("layers", [{}, {"ip1": [torch.ones(2, 3)]}])
def test_other_networks_are_refused(layers: Blobs, write: Write) -> None:
    with pytest.raises(CheckpointError, match="expected the layers of pspnet101 or fcn8s"):
        converted(write(layers))


def test_layers_that_enlarge_may_be_absent_or_of_each_class_by_itself(write: Write) -> None:
    blobs = fcn_blobs(19)
    expected = converted(write(blobs)).state_dict()
    blobs["upscore2"] = [bilinear(2).expand(19, 1, -1, -1).contiguous()]
    del blobs["upscore8"]
    assert all(torch.equal(found, expected[name]) for name, found in converted(write(blobs)).state_dict().items())


def test_layers_that_enlarge_are_the_bilinear_ones_or_refused(write: Write) -> None:
    blobs = fcn_blobs(19)
    trained = blobs["upscore8"][0].clone()
    trained[3, 4, 0, 0] = 0.25
    with pytest.raises(CheckpointError, match=r"upscore8 was trained: its kernel is up to 0\.25 from the bilinear one"):
        converted(write({**blobs, "upscore8": [trained]}))
    with pytest.raises(CheckpointError, match=r"upscore2\[0\] has the shape \[19, 19, 16, 16\]"):
        converted(write({**blobs, "upscore2": blobs["upscore8"]}))
    with pytest.raises(ParameterError, match=r"1 unexpected \(upscore2\[1\]\)"):
        converted(write({**blobs, "upscore2": [*blobs["upscore2"], torch.zeros(19)]}))


def test_a_module_of_netwarp_is_told_from_the_network(write: Write) -> None:
    network, module = pspnet_blobs(19), netwarp_blobs(PSP_SCORED)
    conversion = convert_network(read_caffemodel(write({**module, **network})))
    alone = convert_network(read_caffemodel(write(network)))
    assert alone.module == {}
    assert_same_state(conversion.network, alone.network)
    names = ("conv1_flo_1", "conv2_flo_1", "conv3_flo_1", "flo_transformed_1")
    expected = {
        f"flow_cnn.conv{number}.{parameter}": blob
        for number, name in enumerate(names, start=1)
        for parameter, blob in zip(("weight", "bias"), module[name], strict=True)
    }
    expected["current"], expected["previous"] = (module[f"conv5_4_{which}_w"][0].flatten() for which in (0, 1))
    assert conversion.module.keys() == expected.keys()
    for name, found in conversion.module.items():
        torch.testing.assert_close(found, expected[name], atol=0, rtol=0)


def test_a_module_of_netwarp_is_whole_and_adds_nothing(write: Write) -> None:
    blobs = {**pspnet_blobs(19), **netwarp_blobs(PSP_SCORED)}
    with pytest.raises(ParameterError, match=r"not those of NetWarp: 2 missing \(conv2_flo_1\[0\], conv2_flo_1\[1\]\)"):
        converted(write({name: held for name, held in blobs.items() if name != "conv2_flo_1"}))
    with pytest.raises(ParameterError, match=r"conv5_4_1_w\[0\]: found \[9, 1, 1, 1\], expected \[10, 1, 1, 1\]"):
        converted(write({**blobs, "conv5_4_1_w": [torch.ones(9, 1, 1, 1), torch.zeros(10)]}))
    with pytest.raises(CheckpointError, match=r"conv5_4_0_w\[1\] adds up to 0\.5 to features, expected 0"):
        converted(write({**blobs, "conv5_4_0_w": [torch.ones(10, 1, 1, 1), torch.full((10,), 0.5)]}))
    with pytest.raises(CheckpointError, match=r"NetWarp, which sees images less \(103\.939, 116\.779, 123\.68\)"):
        converted(write(blobs), mean=OURS)
    with pytest.raises(ParameterError, match=r"12 unexpected \(conv1_flo_1\[0\]"):
        converted(write({**fcn_blobs(19), **netwarp_blobs(PSP_SCORED)}))


@torch.no_grad()
def test_a_module_of_netwarp_does_on_videos_what_the_published_one_does(write: Write, tmp_path: Path) -> None:
    blobs, out = {**pspnet_blobs(19), **netwarp_blobs(PSP_SCORED)}, tmp_path / "out.safetensors"
    result = CliRunner().invoke(main, ["convert", str(write(blobs)), str(out)])
    assert result.exit_code == 0, result.output
    assert f"{tmp_path / 'out-netwarp.safetensors'}: the module of NetWarp" in result.stdout
    base = load_network(read_checkpoint(out))
    stepper = open_stepper(base, SchemeSettings(name=str(tmp_path / "out-netwarp.safetensors")))
    frames = torch.randint(256, (2, 3, 89, 89), dtype=torch.uint8, generator=torch.Generator().manual_seed(2))
    flow = 3 * torch.randn(1, 2, 89, 89, generator=torch.Generator().manual_seed(3))
    motion = Motion(flow, torch.ones(1, 1, 89, 89, dtype=torch.bool))
    previous, image = (normalised(each[None]) for each in frames)
    first, _ = stepper.step(Seen(0, previous, None, True, lambda: motion))
    assert torch.equal(first, base(previous))
    found, _ = stepper.step(Seen(1, image, None, False, lambda: motion))
    mean = KNOWN["pspnet101"].means[19]
    border = [ours - theirs for ours, theirs in zip(OURS, mean, strict=True)]
    before, frame = (levels(each[None], mean) for each in frames)
    expected = published_netwarp(blobs, frame, before, flow, border)
    assert not torch.allclose(found, base(image), atol=0.1)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)
