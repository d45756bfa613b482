"""Clicks on pictures that the server keeps: prompts as JSON, and masks in their usual forms."""
