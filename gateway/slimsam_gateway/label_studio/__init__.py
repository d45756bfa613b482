"""Label Studio's ML backend: its tools' clicks and boxes in, brush masks out."""

from __future__ import annotations

from slimsam_gateway.label_studio.endpoints import WEBHOOK, LabelStudio

__all__ = ["WEBHOOK", "LabelStudio"]
