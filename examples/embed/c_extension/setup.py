"""Build the module `edges`: python setup.py build_ext --inplace."""

from setuptools import Extension, setup

import fastconv

setup(
    name="edges",
    ext_modules=[Extension("edges", ["edges.c"], include_dirs=[fastconv.get_include(), ".."])],
)
