"""Writes the JSON Schema of slimsam_click's prompts beside this file, for `make docs`."""

from __future__ import annotations

import json
from pathlib import Path

from slimsam_client.clicks.request import SCHEMA

text = json.dumps(SCHEMA, indent=2) + "\n"
(Path(__file__).parent / "click-prompt.schema.json").write_text(text, "utf-8")
