"""How labels are refined: the choices that a user has; no PyTorch is needed to know them."""

from dataclasses import dataclass

from jobs.console.settings import require_settings, setting


@dataclass(frozen=True, kw_only=True)
class RefineSettings:
    """Which of the labels that carrying and a network come to are kept."""

    doubt: float = setting(
        0.5, "Ignore pixels whose label is less probable than this by both together; 0: none.", least=0, most=1
    )

    def __post_init__(self) -> None:
        require_settings(self)
