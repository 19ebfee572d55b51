"""Learning rates, against the published tables."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.training.schedules import SCHEDULES, Curve, cosine, poly, scaled_poly

GOLDEN = json.loads((Path(__file__).parents[2] / "golden" / "segmentation_misc.json").read_text())["lr"]


def factor(args: dict, epoch: float) -> float:
    """Ours for the settings of a published schedule."""
    if args["schedule"] == "poly":
        return poly(epoch, args["max_epoch"], args["poly_exp"])
    return scaled_poly(
        epoch,
        args["max_epoch"],
        args["rlx_off_epoch"],
        power=args["poly_exp"],
        rescale=args["rescale"],
        restart_power=args["repoly"],
    )


@pytest.mark.parametrize("name", GOLDEN)
def test_the_published_tables(name: str) -> None:
    table = GOLDEN[name]["lambda_of_epoch"]
    assert len(table) == GOLDEN[name]["args"]["max_epoch"] + 1
    assert [factor(GOLDEN[name]["args"], epoch) for epoch in range(len(table))] == pytest.approx(table, abs=1e-12)


@pytest.mark.parametrize("name", [name for name in GOLDEN if "lr_used_in_epoch_torch_ge_1_1" in GOLDEN[name]])
def test_the_published_loop_is_an_epoch_ahead_and_trains_the_last_one_at_rate_0(name: str) -> None:
    args = GOLDEN[name]["args"]
    ours = [args["lr"] * factor(args, epoch) for epoch in range(args["max_epoch"])]
    ahead, as_meant = (GOLDEN[name][f"lr_used_in_epoch_torch_{version}"] for version in ("ge_1_1", "le_1_0"))
    assert ours == pytest.approx(as_meant, abs=1e-12)
    assert ahead[-1] == 0 < ours[-1]
    assert ahead[:-1] == pytest.approx(ours[1:], abs=1e-12)


@given(num_epochs=st.integers(2, 300), data=st.data())
def test_all_begin_at_1_end_at_0_and_fall_between(num_epochs: int, data: st.DataObject) -> None:
    early, late = sorted(data.draw(st.lists(st.floats(0, num_epochs), min_size=2, max_size=2)))
    restart = data.draw(st.integers(0, num_epochs - 1))
    for schedule in (poly, cosine):
        assert schedule(0, num_epochs) == 1
        assert schedule(num_epochs, num_epochs) == 0
        assert schedule(early, num_epochs) >= schedule(late, num_epochs)
    assert scaled_poly(restart, num_epochs, restart, rescale=0.3) == 0.3
    assert scaled_poly(num_epochs, num_epochs, restart) == 0


def test_the_second_part_of_scaled_poly_begins_with_the_epoch_of_its_restart() -> None:
    """By name too, as trainings ask for it; the position before the restart still is of the first part."""
    curve = Curve(power=2.0, restart=4, restart_rate=0.3, restart_power=1.0)
    by_name = [SCHEDULES["scaled-poly"](epoch, 10, curve) for epoch in range(11)]
    assert by_name[:4] == pytest.approx([1.0, 0.81, 0.64, 0.49])
    assert by_name[4:] == pytest.approx([0.3, 0.25, 0.2, 0.15, 0.1, 0.05, 0.0])
    assert SCHEDULES["scaled-poly"](3.75, 10, curve) == pytest.approx(0.625**2)
    assert SCHEDULES["poly"](3, 10, curve) == pytest.approx(0.49)
    assert SCHEDULES["cosine"](5, 10, curve) == pytest.approx(0.5)


def test_cosine_is_half_way_at_half_the_training() -> None:
    assert cosine(5, 10) == pytest.approx(0.5)
    assert cosine(2.5, 10) == pytest.approx(0.8535533906)


def test_epochs_and_restarts_outside_the_training_are_refused() -> None:
    with pytest.raises(ValueError, match=r"position must be within 0…10, found 10\.5"):
        poly(10.5, 10)
    with pytest.raises(ValueError, match="position must be within 0…10, found -1"):
        cosine(-1, 10)
    with pytest.raises(ValueError, match="restart must be at or above 0 and below 10, found 10"):
        scaled_poly(3, 10, 10)
    with pytest.raises(ValueError, match="position must be within 0…10, found 11"):
        scaled_poly(11, 10, 5)
