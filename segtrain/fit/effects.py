"""Which settings of a training do nothing, since another one says so: a user who gave them wants to know."""

from collections.abc import Iterable, Iterator, Mapping

from segtrain.config import FitConfig, TrainingConfig, default_settings
from segtrain.losses.consistency.settings import TRAINED

_RELAXED = ("border", "strict_classes", "relax_until")
_RESTART = ("restart", "restart_rate", "restart_power")
# What our losses and schedules do not look at, and which of them does; of others nothing is known.
_Table = Mapping[str, Mapping[str, tuple[str, ...]]]
_OF_LOSSES: _Table = {
    "cross-entropy": {"relaxed": _RELAXED, "relaxed and image-weighted": ("class_weight",)},
    "ohem": {"relaxed": _RELAXED, "relaxed and image-weighted": ("class_weight",)},
    "image-weighted": {"relaxed": _RELAXED, "cross-entropy and ohem": ("class_weights",)},
    "relaxed": {"cross-entropy and ohem": ("class_weights",)},
}
_OF_STORES = (
    *("offsets", "max_offset", "min_score", "min_confidence", "weigh_by_confidence", "offset_weights"),
    "propagated_until",
)
_OF_CLASS_UNIFORM = ("class_uniform_until", "boost")
_SWITCHES = ("class_uniform_until", "propagated_until", "relax_until")
_OF_ANY_TERM = (
    *("clip_frames", "gap", "consistency_dropout", "consistency_from", "consistency_until"),
    "consistency_as_published",
)
_OF_TEMPORAL = ("motion", "flownet2_weights", "raft_weights", "transcode", "detach", "flow_cache")
_OF_TEACHERS = ("teacher_architecture", "teacher_dtype")
_OF_SEQUENCES = ("sequence_encoder", "sequence_pool")
_OF_TRAINED_ENCODERS = ("sequence_range", "sequence_enlarge")
_OF_OPTIMISERS: _Table = {"adamw": {"sgd": ("momentum",)}}
_OF_SCHEDULES: _Table = {
    "poly": {"scaled-poly": _RESTART},
    "cosine": {"scaled-poly": _RESTART, "poly and scaled-poly": ("power",)},
}


def without_effect(config: TrainingConfig) -> Iterator[str]:
    """A sentence for each group of settings that differ from their defaults, and do nothing."""
    used = {"relax_until"} if config.schedule == "scaled-poly" else set[str]()  # after it is the restart
    tables: tuple[tuple[str, str, _Table], ...] = (
        ("loss", config.loss, _OF_LOSSES),
        ("schedule", config.schedule, _OF_SCHEDULES),
        ("optimiser", config.optimiser, _OF_OPTIMISERS),
    )
    for kind, chosen, table in tables:
        for owner, names in table.get(chosen, {}).items():
            if options := _given(config, [name for name in names if name not in used]):
                yield f"{options} without effect: of {kind} {owner}, this one is {chosen}"
    unused = [name for name in _OF_STORES if (name, config.max_offset) != ("max_offset", 0)]  # which asks for none
    if not config.shards and (options := _given(config, unused)):
        yield f"{options} without effect: of samples of --shards, and there are none"
    if config.class_uniform == 0 and (options := _given(config, _OF_CLASS_UNIFORM)):
        yield f"{options} without effect: of --class-uniform, which is 0"
    if options := _given(config, [name for name in _SWITCHES if (getattr(config, name) or 0) >= config.epochs]):
        yield f"{options} without effect: the last of {config.epochs} epochs is {config.epochs - 1}, counted from 0"
    is_validated = config.data is not None and config.val_split is not None
    if not is_validated and (options := _given(config, ("max_val_images",))):
        yield f"{options} without effect: of validations, and there are none"
    if config.coarse_split is None and (options := _given(config, ("coarse_classes",))):
        yield f"{options} without effect: of --coarse-split, and there is none"
    if config.coarse_split is not None and config.class_uniform == 0:
        yield "--coarse-split without effect: of --class-uniform, which is 0"
    if isinstance(config, FitConfig):
        yield from _without_terms(config)
    elif options := _given(config, ("auxiliary",)):
        yield f"{options} without effect: of the base, which learns nothing"


def _without_terms(config: FitConfig) -> Iterator[str]:
    if config.teacher is None and (options := _given(config, _OF_TEACHERS)):
        yield f"{options} without effect: of --teacher, and there is none"
    if not config.is_consistent:
        if options := _given(config, (*_OF_ANY_TERM, *_OF_TEMPORAL, *_OF_SEQUENCES, *_OF_TRAINED_ENCODERS)):
            yield f"{options} without effect: of terms of consistency, and there is none"
        return
    if not config.temporal and (options := _given(config, _OF_TEMPORAL)):
        yield f"{options} without effect: of --temporal, which is 0"
    if not config.distill_sequence:
        if options := _given(config, (*_OF_SEQUENCES, *_OF_TRAINED_ENCODERS)):
            yield f"{options} without effect: of --distill-sequence, which is 0"
    elif config.sequence_encoder != TRAINED and (options := _given(config, _OF_TRAINED_ENCODERS)):
        yield f"{options} without effect: of --sequence-encoder {TRAINED}, this one is {config.sequence_encoder}"


def _given(config: TrainingConfig, names: Iterable[str]) -> str:
    """The options of those that differ from their defaults."""
    return ", ".join(f"--{name.replace('_', '-')}" for name in names if _differs(config, name))


def _differs(config: TrainingConfig, name: str) -> bool:
    value = getattr(config, name)
    return (list(value) if isinstance(value, tuple) else value) != default_settings(type(config))[name]
