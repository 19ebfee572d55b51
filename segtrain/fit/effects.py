"""Which settings of a training do nothing, since another one says so: a user who gave them wants to know."""

from collections.abc import Iterator, Mapping

from segtrain.config import TrainingConfig, default_settings

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
    )
    for kind, chosen, table in tables:
        for owner, names in table.get(chosen, {}).items():
            given = [name for name in names if name not in used and _differs(config, name)]
            if given:
                options = ", ".join(f"--{name.replace('_', '-')}" for name in given)
                yield f"{options} without effect: of {kind} {owner}, this one is {chosen}"


def _differs(config: TrainingConfig, name: str) -> bool:
    value = getattr(config, name)
    return (list(value) if isinstance(value, tuple) else value) != default_settings(type(config))[name]
