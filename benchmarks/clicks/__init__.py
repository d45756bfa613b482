"""Clicks on pictures that the server keeps, beside clicks that carry their embedding."""
