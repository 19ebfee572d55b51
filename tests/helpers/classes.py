"""Class tables of the tests."""

from propagate.data.classes import ClassTable, LabelClass, load_classes

CAMVID = load_classes("camvid")


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
