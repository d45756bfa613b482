"""Label Studio's own decoder of brush masks; its environment runs this.

It reads [{"rle": […], "size": [height, width]}, …] as JSON from standard input, and writes for each
mask its packed bits in base64, or null where its four channels are not the same.
"""

import base64
import json
import sys

import numpy as np
from label_studio_sdk.converter.brush import decode_rle


def bits_of(brush):
    channels = np.reshape(decode_rle(brush["rle"]), [*brush["size"], 4])
    mask = channels[..., 3] > 0
    if not (channels[mask] == 255).all():
        return None
    return base64.b64encode(np.packbits(mask)).decode()


json.dump([bits_of(brush) for brush in json.load(sys.stdin)], sys.stdout)
