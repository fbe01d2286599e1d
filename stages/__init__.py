"""The stages, in the order in which an image meets them."""

from __future__ import annotations

from pipeline.stage import Stage
from stages.check import Check
from stages.convert import Convert
from stages.identify import Identify
from stages.inspect_disk import InspectDisk
from stages.inspect_guest import InspectGuest
from stages.upload import Upload
from stages.verify import Verify

INSPECTION: tuple[Stage, ...] = (Identify(), InspectDisk(), InspectGuest())
"""What the image is."""

CHECK: tuple[Stage, ...] = (*INSPECTION, Check())
"""… and what a cloud says about it."""

CONVERSION: tuple[Stage, ...] = (*CHECK, Convert())
"""… and how it becomes what that cloud takes."""

ALL: tuple[Stage, ...] = (*CONVERSION, Upload(), Verify())
"""The whole way into the store."""
