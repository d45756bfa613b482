"""The demo checkpoint: a small SAM of our own, trained from scratch on scenes drawn by the script.

It exists so that a newcomer sees real masks in the first minute. It is not SlimSAM.
"""
