"""The formats that can be imported, by the names that command lines know; what writes them is in `propagate.export`."""

from collections.abc import Callable

from jobs.registry import Registry
from propagate.formats.annotations import Annotations
from propagate.formats.source import Source

IMPORTERS: Registry[Callable[[Source], Annotations]] = Registry(
    "annotation format",
    {
        "cvat": "propagate.formats.cvat:read_cvat",
        "coco": "propagate.formats.coco:read_coco",
        "coco-panoptic": "propagate.formats.coco_panoptic:read_coco_panoptic",
        "voc": "propagate.formats.voc:read_voc",
        "labelme": "propagate.formats.labelme:read_labelme",
    },
)
