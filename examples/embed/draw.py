"""Draw a grey picture with round and straight edges: python draw.py picture.pgm."""

import sys
from pathlib import Path

import numpy as np

HEIGHT, WIDTH = 96, 128

row, column = np.mgrid[:HEIGHT, :WIDTH]
picture = 40.0 + 0.8 * row  # a slow ramp, in which there is no edge
picture[(row - 48) ** 2 + (column - 40) ** 2 < 30**2] = 220
picture[20:76, 80:116] = 20
picture[30:66, 90:106] = 180
header = f"P5\n{WIDTH} {HEIGHT}\n255\n".encode()
Path(sys.argv[1]).write_bytes(header + picture.astype(np.uint8).tobytes())
