"""Masks: from the decoder's low-resolution logits to the size of the image."""
