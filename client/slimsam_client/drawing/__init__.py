"""Masks as pictures: overlays, contact sheets and their colors."""
