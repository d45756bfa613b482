"""Everything mode: a mask for each object of an image, without a prompt.

The method is SAM's (segment-anything, `SamAutomaticMaskGenerator`), with its names and defaults.
"""

from __future__ import annotations

from slimsam_client.everything.generator import Progress
from slimsam_client.everything.record import MaskRecord
from slimsam_client.everything.settings import GenerateSettings

__all__ = ["GenerateSettings", "MaskRecord", "Progress"]
