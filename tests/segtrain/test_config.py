"""Settings of a training: recipes, the command line, and what makes no sense."""

import subprocess
import sys
from dataclasses import MISSING, fields, replace
from pathlib import Path
from typing import Any, get_origin

import click
import pytest
from click.testing import CliRunner

from jobs.console.settings import settings_of
from jobs.errors import FitError
from propagate.data.classes import load_classes
from segtrain.cli.main import main
from segtrain.config import FitConfig
from segtrain.fit import training
from segtrain.fit.labelled import learning_rate
from segtrain.fit.recipes import load_recipe, recipe_names
from segtrain.losses.consistency.settings import TERMS
from segtrain.models.registry import NETWORKS, TRUNKS

SETTINGS = [each for each in fields(FitConfig) if each.name != "out"]
KINDS = {each.name: each.kind for each in settings_of(FitConfig)}
SPECIAL: dict[str, tuple[list[str], Any]] = {  # what is typed, and the value: those that no rule below makes
    "shards": (["--shards", "a", "--shards", "b"], (Path("a"), Path("b"))),
    "decisions": (["--decisions", "a", "--decisions", "b"], (Path("a"), Path("b"))),
    "offsets": (["--offsets", "-3,0,3"], (-3, 0, 3)),
    "scale": (["--scale", "0.7,1.3"], (0.7, 1.3)),
    "offset_weights": (["--offset-weights", "1,.9,.5"], (1.0, 0.9, 0.5)),
    "boost": (["--boost", "pole=2,rider=1.5"], {"pole": 2.0, "rider": 1.5}),
    "class_weights": (["--class-weights", "pole=1.2"], {"pole": 1.2}),
    "strict_classes": (["--strict-classes", "pole, rider"], ("pole", "rider")),
    "coarse_classes": (["--coarse-classes", "truck,bus"], ("truck", "bus")),
    "schedule": (["--schedule", "cosine"], "cosine"),
    "address": (["--address", "10.0.0.1:6379"], "10.0.0.1:6379"),
}
BASE: dict[str, dict[str, Any]] = {  # what a setting needs beside it
    "decisions": {"shards": ["store"]},
    "restart": {"epochs": 30},
    "coarse_split": {"coarse_classes": ["bus"]},
    "new_head": {"weights": "w"},
    "accumulate": {"batch_size": 14},
    "workers": {"batch_size": 14},
    **{f"distill_{of}": {"teacher": "t.pth", "clip_frames": 3} for of in ("frame", "pairs", "sequence", "similarity")},
    "teacher": {"distill_frame": 0.5},
}


@pytest.fixture
def parsed(monkeypatch: pytest.MonkeyPatch) -> list[FitConfig]:
    """What the command line asks for, in place of its training."""
    seen: list[FitConfig] = []

    def fit(config: FitConfig, _: object) -> training.FitSummary:
        seen.append(config)
        return training.FitSummary(steps=0, seconds=0.0, scores=None, best=None)

    monkeypatch.setattr(training, "fit", fit)
    return seen


def write_recipe(folder: Path, text: str) -> str:
    (folder / "mine.yaml").write_text(text)
    return str(folder / "mine.yaml")


def typed(name: str, kind: Any, default: Any, choices: tuple[Any, ...]) -> tuple[list[str], Any]:
    """A value that is not the default, as it is typed."""
    option = f"--{name.replace('_', '-')}"
    if name in SPECIAL:
        return SPECIAL[name]
    if choices:
        other = next(choice for choice in choices if choice != default)
        return [option, str(other)], other
    if kind is bool:
        return [f"--{'no-' if default else ''}{option[2:]}"], not default
    if kind is tuple[int, int] or get_origin(kind) is tuple:
        return [option, "64x96"], (64, 96)
    values: dict[Any, Any] = {int: 7, float: 0.125, str: "other", Path: Path("elsewhere")}
    return [option, str(values[kind])], values[kind]


@pytest.mark.parametrize("each", SETTINGS, ids=lambda each: each.name)
def test_every_setting_can_be_typed_and_overrides_the_recipe(
    tmp_path: Path, parsed: list[FitConfig], each: Any
) -> None:
    arguments, value = typed(each.name, KINDS[each.name], each.default, each.metadata["choices"])
    settings = {"root": "somewhere", "dataset": "kitti", **BASE.get(each.name, {})}
    if each.default is not MISSING and each.name not in settings:
        default = list(each.default) if isinstance(each.default, tuple) else each.default
        settings[each.name] = str(default) if isinstance(default, Path) else default
    recipe = write_recipe(tmp_path, repr(settings).replace("None", "null"))
    result = CliRunner().invoke(main, ["fit", "--out", str(tmp_path), "--recipe", recipe, *arguments])
    assert result.exit_code == 0, result.output
    assert getattr(parsed[0], each.name) == value
    assert type(getattr(parsed[0], each.name)) is type(value)


def test_a_recipe_does_not_say_where_a_run_is_kept(tmp_path: Path, parsed: list[FitConfig]) -> None:
    recipe = write_recipe(tmp_path, "{shards: [somewhere], out: elsewhere}")
    CliRunner().invoke(main, ["fit", "--out", str(tmp_path / "run"), "--recipe", recipe])
    assert parsed[0].out == tmp_path / "run"


@pytest.mark.parametrize(
    ("options", "has_gpu", "said"),
    [
        ("--recipe tiny", False, "recipe tiny"),
        ("--epochs 9", True, "no recipe: deepwv3plus, 9 epochs, batches of 16, crops of 800x800"),
        ("--address 10.0.0.1:6379", False, "no recipe: deepwv3plus, 180 epochs, batches of 16, crops of 800x800"),
        *(
            (
                options,
                has_gpu,
                "no recipe: deepwv3plus, 180 epochs, batches of 16, crops of 800x800; without a GPU, --recipe tiny "
                "trains a small network in minutes",
            )
            for options, has_gpu in (("", False), ("--device cpu", True))
        ),
    ],
)
@pytest.mark.usefixtures("parsed")
def test_a_training_says_where_its_settings_come_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: str, has_gpu: bool, said: str
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: has_gpu)
    result = CliRunner().invoke(main, ["fit", "--out", str(tmp_path), "--shards", "store", *options.split()])
    assert result.exit_code == 0, result.output
    assert result.stderr == f"{said}\n"


def test_there_is_a_recipe_for_every_published_result() -> None:
    published = ["camvid", "cityscapes-srnx50", "cityscapes-wrn38", "kitti", "mapillary-srnx50", "mapillary-wrn38"]
    released = ["cityscapes-wrn38-released", "kitti-released", "mapillary-wrn38-released"]
    ablations = [f"etc-psp18{term}" for term in ("", "-baseline", "-mf", "-pf", "-sf", "-tl")]
    of_etc = ["etc-mobilenetv2", "etc-psp101", *ablations, "etc-tiny"]
    assert recipe_names() == sorted([*published, *released, *of_etc, "tiny"])


@pytest.mark.parametrize("name", recipe_names())
def test_recipes_are_trainings(name: str) -> None:
    recipe = load_recipe(name)
    taught = {"teacher": Path("teacher.safetensors")} if any(term in recipe for term in TERMS[1:]) else {}
    config = FitConfig(out=Path("run"), root=Path("data"), **recipe, **taught)
    is_published = not name.endswith("tiny")
    assert config.as_published == (is_published and not name.startswith("etc-"))
    if is_published:
        assert {"crop", "epochs", "batch_size", "learning_rate", "weight_decay"} < load_recipe(name).keys()


def test_the_ablations_differ_in_their_terms_alone() -> None:
    names = {"tl": {"temporal"}, "sf": {"distill_frame"}, "pf": {"distill_pairs"}, "mf": {"distill_sequence"}}
    baseline = load_recipe("etc-psp18-baseline")
    for name, terms in names.items():
        recipe = load_recipe(f"etc-psp18-{name}")
        assert {key for key in recipe if recipe[key] != baseline.get(key)} == {*terms, "gap", "clip_frames"} & {*recipe}
        assert {key: value for key, value in recipe.items() if key in TERMS} == dict.fromkeys(terms, 0.1)
    every = {term for terms in names.values() for term in terms}
    assert {key for key in load_recipe("etc-psp18") if key in TERMS} == every


def test_the_rates_and_weights_of_etc_are_the_published_ones() -> None:
    """372 steps an epoch, 200 epochs: rates of some steps, and the weights of all classes in their order."""
    recipe = load_recipe("etc-psp18-baseline")
    config = FitConfig(out=Path("run"), root=Path("data"), **recipe)
    rates = {0: 0.01, 1: 0.009999879032176768, 372: 0.00995498872932069, 37200: 0.005358867312681466}
    for step, rate in {**rates, 74399: 4.126523835474548e-07}.items():
        assert learning_rate(config, step / 372) == pytest.approx(rate, rel=1e-9)
    assert config.learning_rate * config.head_rate == 0.1
    assert tuple(config.class_weights) == load_classes("cityscapes").train_names
    assert sum(config.class_weights.values()) == pytest.approx(19.0001)


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        (
            "cityscapes-wrn38-released",
            {
                "learning_rate": 0.001,
                "crop": (896, 896),
                "epochs": 175,
                "schedule": "scaled-poly",
                "restart": 100,
                "restart_power": 1.5,
                "relax_until": 100,
                "class_weight": 1.0,
                "class_uniform_until": 150,
                "propagated_until": 150,
                "train_split": "cv2",
                "val_split": "cv2-val",
                "dtype": "float16",
            },
        ),
        (
            "mapillary-wrn38-released",
            {"loss": "image-weighted", "class_weight": 6.0, "learning_rate": 0.02, "crop": (896, 896), "epochs": 175},
        ),
        (
            "kitti-released",
            {
                "loss": "image-weighted",
                "class_weight": 1.0,
                "learning_rate": 0.001,
                "crop": (360, 360),
                "class_uniform_tile": 300,
                "scale": (1.0, 2.0),
                "epochs": 90,
            },
        ),
        ("camvid", {"train_split": "trainval", "val_split": None}),
    ],
)
def test_recipes_of_released_scripts_have_their_numbers(name: str, settings: dict[str, Any]) -> None:
    config = FitConfig(out=Path("run"), root=Path("data"), **load_recipe(name))
    assert {key: getattr(config, key) for key in settings} == settings


def test_the_classes_of_the_released_cityscapes_recipe_are_the_published_ones() -> None:
    names, recipe = load_classes("cityscapes").train_names, load_recipe("cityscapes-wrn38-released")
    found = {key: [names.index(name) for name in recipe[key]] for key in ("strict_classes", "coarse_classes")}
    assert found == {"strict_classes": [5, 6, 7, 11, 12, 17, 18], "coarse_classes": [14, 15, 16, 3, 12, 17, 4]}


def test_a_recipe_may_extend_one_that_there_is(tmp_path: Path) -> None:
    own = tmp_path / "own.yaml"
    own.write_text("extends: tiny\nepochs: 3\n", encoding="utf-8")
    assert load_recipe(str(own)) == {**load_recipe("tiny"), "epochs": 3}
    own.write_text("extends: tinny\n", encoding="utf-8")
    with pytest.raises(FitError, match=r"own.yaml: extends 'tinny', which is none of camvid, "):
        load_recipe(str(own))


LATERAL = ("lateral-mobilenetv1", "lateral-mobilenetv2", "lateral-resnet18")


def test_networks_are_those_that_can_be_built() -> None:
    choices = next(each.metadata["choices"] for each in SETTINGS if each.name == "network")
    assert choices == tuple(NETWORKS) == (*TRUNKS, "pspnet18", "pspnet101", "pspnet-mobilenetv2", "fcn8s", *LATERAL)


def test_names_of_networks_are_known_without_torch_and_networks_without_its_compiler() -> None:
    """Which takes a second to load, and is of no use to a network whose values are read from a file."""
    code = """
import sys
from segtrain.models.registry import NETWORKS, build_network
assert "torch" not in sys.modules and "pspnet18" in NETWORKS
import torch
with torch.device("meta"):
    networks = [build_network(name, output_stride=NETWORKS[name].output_strides[0]) for name in NETWORKS]
assert "torch._dynamo" not in sys.modules
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("epoch: 3", "no settings epoch; `segtrain fit --help` has them all"),
        ("epochs: 3.5", "epochs: expected a whole number, found 3.5"),
        ("flip: 1", "flip: expected true or false, found 1"),
        ("learning_rate: fast", "learning_rate: expected a number, found 'fast'"),
        ("learning_rate: true", "learning_rate: expected a number, found True"),
        ("crop: [640]", r"crop: expected height and width, as 256x512, found \[640\]"),
        ("crop: null", r"crop: expected height and width, as 256x512, found nothing"),
        ("boost: [pole]", r"boost: expected .*, found \['pole'\]"),
        ("- epochs", "a recipe is a list of settings, as `epochs: 180`, found a list"),
        ("epochs: [", "not a YAML file: while parsing"),
    ],
)
def test_recipes_that_make_no_sense_are_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(FitError, match=rf"mine.yaml: {message}"):
        load_recipe(write_recipe(tmp_path, text))


def test_numbers_of_a_recipe_may_be_written_in_any_way(tmp_path: Path) -> None:
    text = "{learning_rate: 1e-4, weight_decay: 0, scale: [1, 2], boost: {pole: 2}, max_offset: null}"
    assert load_recipe(write_recipe(tmp_path, text)) == {
        "learning_rate": 1e-4,
        "weight_decay": 0.0,
        "scale": (1.0, 2.0),
        "boost": {"pole": 2.0},
        "max_offset": None,
    }


def test_a_recipe_that_does_not_exist_is_named(tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["fit", "--out", str(tmp_path / "run"), "--recipe", "cityscape"])
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: cityscape: no such recipe (No such file or directory); give a YAML file or")
    assert "; did you mean '" in result.stderr
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--shards", "s", "--train-split", "train"], "the split 'train' of which data set? Give --root"),
        (["--root", "r", "--batch-size", "3", "--workers", "2"], "a batch of 3 cannot be shared equally by 2 workers"),
        (["--root", "r", "--learning-rate", "0"], "learning_rate must be a number above 0, found 0.0"),
        (["--root", "r", "--learning-rate", "nan"], "learning_rate must be at least 0, found nan"),
        (["--root", "r", "--momentum", "1.5"], "momentum must be within 0…1, found 1.5"),
        (["--root", "r", "--epochs", "0"], "epochs must be at least 1, found 0"),
        (["--root", "r", "--scale", "2,1"], "scale is a range of numbers above 0, found 2…1"),
        (["--root", "r", "--scale", "1,inf"], "scale is a range of numbers above 0, found 1…inf"),
        (["--root", "r", "--scale", "1..2"], "'1..2' is no range, as 0.5,2"),
        (["--root", "r", "--boost", "pole=0"], "boost must be above 0 for every class, found {'pole': 0.0}"),
        (["--root", "r", "--class-weights", "pole=0"], "class_weights must be above 0 for every class, found {'pole'"),
        (["--root", "r", "--boost", "pole"], "'pole' is no list of factors, as pole=2,rider=1.5"),
        (["--root", "r", "--strict-classes", "pole,,car"], "'pole,,car' is no list of names, as pole,rider"),
        (["--root", "r", "--crop", "0x4"], "'0x4' is not HxW"),
        (["--root", "r", "--coarse-split", "c"], "--coarse-split c for which classes? Give --coarse-classes"),
        (
            ["--shards", "s", "--coarse-split", "c", "--coarse-classes", "bus"],
            "the coarse annotations of 'c' of which data set? Give --root",
        ),
        (["--root", "r", "--weights", "w", "--trunk-weights", "t"], "--weights has a trunk of its own; give that, or"),
        (["--root", "r", "--new-head"], "--new-head leaves out a layer of --weights, and there are none"),
        (["--root", "r", "--schedule", "scaled-poly"], "scaled-poly restarts within the 180 epochs, found 180"),
        (["--root", "r", "--as-published", "--loss", "ohem"], "the losses relaxed and image-weighted, found ohem"),
        (["--root", "r", "--as-published", "--workers", "16"], "a batch of 16 in 16 parts, 1 at a time; change"),
        (
            ["--root", "r", "--as-published", "--batch-size", "12", "--workers", "2", "--accumulate", "2"],
            "as_published takes images in pairs, found a batch of 12 in 4 parts, 3 at a time",
        ),
        (
            ["--root", "r", "--max-offset", "3", "--offsets", "3"],
            "--max-offset says how far, --offsets exactly which",
        ),
        (["--shards", "s", "--offsets", "0"], "found [0]; --max-offset 0 takes annotated frames alone"),
        (["--shards", "s", "--offsets", "3,3"], "offsets are different ones, of neighbours and perhaps 0, as -3,0,3"),
        (
            ["--shards", "s", "--root", "r", "--train-split", "train", "--offsets", "-3,3"],
            "the split 'train' is of annotated frames, which --offsets leaves out without a 0",
        ),
        (["--root", "r", "--auxiliary", "-1"], "auxiliary must be at least 0, found -1.0"),
        (["--root", "r", "--network", "vgg"], "'vgg' is not one of 'deepwv3plus'"),
        (["--root", "r", "--network", "resnet-50"], "; did you mean 'resnet50'?"),
    ],
)
def test_settings_that_make_no_sense_are_usage_errors(tmp_path: Path, options: list[str], message: str) -> None:
    result = CliRunner().invoke(main, ["fit", "--out", str(tmp_path / "run"), *options])
    assert result.exit_code == 2
    assert message in result.stderr
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("settings", "restart"),
    [({"relax_until": 9}, 10), ({"relax_until": 9, "restart": 20}, 20), ({"restart": 20}, 20), ({"restart": 0}, 0)],
)
def test_scaled_poly_restarts_where_it_is_told_or_else_after_the_last_epoch_with_relaxation(
    settings: dict[str, int], restart: int
) -> None:
    config = FitConfig(
        root=Path("data"), out=Path("run"), epochs=30, learning_rate=1.0, schedule="scaled-poly", **settings
    )
    assert config.restart_epoch == restart
    rates = [learning_rate(replace(config, restart_rate=5.0), epoch) for epoch in range(30)]
    assert rates.index(5.0) == restart
    assert max(rates) == 5.0


def test_help_does_not_wait_for_torch() -> None:
    code = "import sys; from segtrain.cli.main import main; main(['fit', '--help'], standalone_mode=False); "
    code += "main(['--help'], standalone_mode=False); sys.exit('torch' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert "--learning-rate" in result.stdout


@pytest.mark.parametrize("name", main.commands)
def test_every_command_is_explained_by_an_example(name: str) -> None:
    command = main.commands[name]
    assert f"\n    segtrain {name} " in click.Context(command).get_help().replace("\n  ", "\n    ")
    assert {"fit", "evaluate", "predict", "index"} <= set(main.commands)


def test_the_command_line_can_take_back_what_a_recipe_sets(tmp_path: Path, parsed: list[FitConfig]) -> None:
    arguments = ["--recipe", "cityscapes-wrn38", "--root", str(tmp_path), "--max-offset", "none", "--val-split", "none"]
    result = CliRunner().invoke(main, ["fit", "--out", str(tmp_path / "run"), *arguments])
    assert result.exit_code == 0, result.stderr
    assert (parsed[0].max_offset, parsed[0].val_split) == (None, None)
    recipe = write_recipe(tmp_path, "{boost: {pole: 2}, strict_classes: [pole], shards: [s]}")
    arguments = ["--recipe", recipe, "--boost", "none", "--strict-classes", "none"]
    assert CliRunner().invoke(main, ["fit", "--out", str(tmp_path / "run"), *arguments]).exit_code == 0
    assert (parsed[1].boost, parsed[1].strict_classes) == ({}, ())
