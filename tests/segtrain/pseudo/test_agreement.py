"""Labels that the frames beside a frame contradict, along the motion."""

import numpy as np
import torch
from torch import Tensor

from segtrain.pseudo.agreement import Verdict, contradicted, verdict_of

SIZE = (6, 10)


def columns(first: int) -> np.ndarray:
    """A column for each label, as a frame shows them that begins with this one."""
    return np.tile(np.arange(first, first + SIZE[1], dtype=np.uint8), (SIZE[0], 1))


def sideways(pixels: float) -> Tensor:
    flow = torch.zeros(1, 2, *SIZE)
    flow[:, 0] = pixels
    return flow


def test_what_agrees_along_the_motion_is_kept_and_what_leaves_the_frame_is_not_judged() -> None:
    # the neighbour shows the scene from two columns later on, so each column lies two to the left there
    there, beside = columns(1), columns(3)
    judged, against = verdict_of(there, beside, sideways(-2), sideways(2))
    assert judged[:, 2:].all()
    assert not judged[:, :2].any(), "they lie outside the neighbour"
    assert not against.any()


def test_a_contradiction_is_found_where_it_is_and_nowhere_else() -> None:
    there, beside = columns(1), columns(3)
    beside[4, 5] = 99
    beside[0, 9] = 99  # what the frame does not show
    judged, against = verdict_of(there, beside, sideways(-2), sideways(2))
    assert np.argwhere(against).tolist() == [[4, 7]]
    assert judged[4, 7]


def test_a_motion_that_does_not_lead_back_judges_nothing() -> None:
    back = sideways(2)
    back[0, 0, 3, 4] = 6  # where column 6 of that row leads
    judged, against = verdict_of(columns(1), columns(2), sideways(-2), back)
    assert not judged[3, 6]
    assert judged[3, 7]
    assert not against[3, 6]
    assert against[3, 7]


def test_a_label_is_void_where_every_neighbour_that_shows_it_contradicts() -> None:
    yes, no = np.ones(SIZE, bool), np.zeros(SIZE, bool)
    against, agrees, silent = Verdict(yes, yes), Verdict(yes, no), Verdict(no, no)
    assert contradicted([against, against], SIZE).all()
    assert contradicted([against, silent], SIZE).all()
    assert contradicted([against], SIZE).all()
    assert not contradicted([against, agrees], SIZE).any()
    assert not contradicted([silent, silent], SIZE).any()
    assert not contradicted([], SIZE).any()
