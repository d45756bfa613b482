"""Prompts: their checks, and the way from pixels of an image to the decoder's tensors."""
