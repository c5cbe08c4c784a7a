"""A small network for handwritten digits whose convolutions are `fastconv.Conv2D`.

    data.py     1,797 digits of 8x8 pixels from scikit-learn, split and shifted
    network.py  the layers around the convolutions, the loss and Adam, in plain NumPy
    train.py    the loop, and a report of where the time went
    picture.py  one PNG: curves, filters, feature maps, mistakes

Run it as ``python -m fastconv demo``.  It needs the extra "demo": matplotlib, scikit-learn, tqdm.
"""

from fastconv.demo.train import run

__all__ = ["run"]
