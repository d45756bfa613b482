"""Health check by a real inference: exits 0 if the ensemble answers, 1 with the reason if not."""

from __future__ import annotations

import sys

import numpy as np

from slimsam_client import SlimSam, SlimSamError


def main() -> int:
    """Segment an empty image by one click."""
    url = sys.argv[1] if len(sys.argv) > 1 else "localhost:8001"
    try:
        with SlimSam(url, timeout=20) as sam:
            sam.segment(np.zeros((64, 64, 3), np.uint8), points=[(32, 32)])
    except SlimSamError as error:
        print(f"unhealthy: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
