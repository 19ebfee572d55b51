"""Settings of a training that do nothing are said to."""

from pathlib import Path
from typing import Any

import pytest

from segtrain.config import FitConfig
from segtrain.fit.effects import without_effect
from segtrain.fit.recipes import load_recipe, recipe_names
from segtrain.losses.consistency.settings import TERMS


def told(**settings: Any) -> list[str]:
    return list(without_effect(FitConfig(out=Path("run"), shards=(Path("store"),), root=Path("data"), **settings)))


@pytest.mark.parametrize(
    ("settings", "sentences"),
    [
        ({"loss": "relaxed", "strict_classes": ("pole",), "border": 2, "relax_until": 3, "class_weight": 1.0}, []),
        (
            {"loss": "cross-entropy", "strict_classes": ("pole",)},
            ["--strict-classes without effect: of loss relaxed, this one is cross-entropy"],
        ),
        (
            {"loss": "ohem", "border": 2, "class_weight": 1.0},
            [
                "--border without effect: of loss relaxed, this one is ohem",
                "--class-weight without effect: of loss relaxed and image-weighted, this one is ohem",
            ],
        ),
        ({"loss": "image-weighted", "class_weight": 1.0}, []),
        ({"loss": "ohem", "class_weights": {"pole": 2.0}}, []),
        *(
            (
                {"loss": loss, "class_weights": {"pole": 2.0}},
                [f"--class-weights without effect: of loss cross-entropy and ohem, this one is {loss}"],
            )
            for loss in ("relaxed", "image-weighted")
        ),
        ({"loss": "ohem", "relax_until": 3}, ["--relax-until without effect: of loss relaxed, this one is ohem"]),
        ({"loss": "ohem", "relax_until": 3, "schedule": "scaled-poly", "restart_rate": 0.5}, []),
        (
            {"schedule": "cosine", "restart": 3, "power": 0.9},
            [
                "--restart without effect: of schedule scaled-poly, this one is cosine",
                "--power without effect: of schedule poly and scaled-poly, this one is cosine",
            ],
        ),
        (
            {"optimiser": "adamw", "momentum": 0.5},
            ["--momentum without effect: of optimiser sgd, this one is adamw"],
        ),
        (
            {"max_val_images": 4, "val_split": None},
            ["--max-val-images without effect: of validations, and there are none"],
        ),
        ({"coarse_classes": ("bus",)}, ["--coarse-classes without effect: of --coarse-split, and there is none"]),
        (
            {"coarse_split": "train_extra", "coarse_classes": ("bus",), "class_uniform": 0.0},
            ["--coarse-split without effect: of --class-uniform, which is 0"],
        ),
        ({"coarse_split": "train_extra", "coarse_classes": ("bus",)}, []),
        (
            {"boost": {"pole": 2.0}, "class_uniform_until": 3, "class_uniform": 0.0},
            ["--class-uniform-until, --boost without effect: of --class-uniform, which is 0"],
        ),
        (
            {"epochs": 4, "relax_until": 3, "propagated_until": 4, "class_uniform_until": 5},
            [
                "--class-uniform-until, --propagated-until without effect: the last of 4 epochs is 3, counted from 0",
            ],
        ),
        ({"teacher_dtype": "bfloat16"}, ["--teacher-dtype without effect: of --teacher, and there is none"]),
        ({"gap": 2, "motion": "none"}, ["--gap, --motion without effect: of terms of consistency, and there is none"]),
        ({"temporal": 1.0, "gap": 2, "motion": "none", "detach": True, "flow_cache": Path("flows")}, []),
        (
            {"distill_frame": 1.0, "teacher": Path("t.pth"), "detach": True, "sequence_pool": 2},
            [
                "--detach without effect: of --temporal, which is 0",
                "--sequence-pool without effect: of --distill-sequence, which is 0",
            ],
        ),
        (
            {"distill_sequence": 1.0, "teacher": Path("t.pth"), "clip_frames": 3, "sequence_range": 1.0},
            ["--sequence-range without effect: of --sequence-encoder trained, this one is frozen"],
        ),
    ],
)
def test_what_another_setting_makes_idle_is_said(settings: dict[str, Any], sentences: list[str]) -> None:
    assert told(**settings) == sentences


def test_annotated_frames_alone_have_no_offset_and_weigh_1() -> None:
    settings = {"weigh_by_confidence": True, "offset_weights": (1.0, 0.5), "offsets": (-3, 0, 3), "min_score": 0.5}
    settings = {**settings, "min_confidence": 0.5, "propagated_until": 0}
    assert told(**settings) == []
    assert list(without_effect(FitConfig(out=Path("run"), root=Path("street"), **settings))) == [
        "--offsets, --min-score, --min-confidence, --weigh-by-confidence, --offset-weights, --propagated-until without "
        "effect: of samples of --shards, and there are none"
    ]
    assert not list(without_effect(FitConfig(out=Path("run"), root=Path("street"), max_offset=0)))


@pytest.mark.parametrize("name", recipe_names())
def test_recipes_set_nothing_in_vain(name: str) -> None:
    recipe = load_recipe(name)
    taught = {"teacher": Path("teacher.safetensors")} if any(term in recipe for term in TERMS[1:]) else {}
    assert told(**recipe, **taught) == []
