"""Class tables of the tests."""

from collections.abc import Sequence

from propagate.data.classes import ClassTable, LabelClass, load_classes

CAMVID = load_classes("camvid")


def named_classes(names: Sequence[str]) -> ClassTable:
    """A table whose trained classes have these names, in their order."""
    trained = [LabelClass(id=i, name=name, train_id=i, color=(i, 0, 0)) for i, name in enumerate(names)]
    void = LabelClass(id=255, name="nothing", train_id=255, color=(0, 0, 0))
    return ClassTable(name="named", ignore_id=255, classes=(*trained, void))


def merged_classes() -> ClassTable:
    """CamVid's label ids with two trained classes: what is road, and what else isn't void."""
    return ClassTable(
        name="roads",
        ignore_id=11,
        classes=tuple(
            LabelClass(id=c.id, name=c.name, color=c.color, train_id=255 if c.id == 11 else int(c.name == "Road"))
            for c in CAMVID.classes
        ),
    )
