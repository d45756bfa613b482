"""Images: from what a caller has to RGB pixels, and on to the encoder's frame."""
