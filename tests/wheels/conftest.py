"""Without Pythons in SLIMSAM_PYTHONS these tests are left out: `make test-wheels` runs them."""

from __future__ import annotations

import os

collect_ignore_glob = [] if os.environ.get("SLIMSAM_PYTHONS") else ["test_*.py"]
