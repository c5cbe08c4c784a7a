"""`conv2d_matrix`: the same convolution as a sparse matrix."""

from __future__ import annotations

import subprocess
import sys

import numpy
import pytest

import fastconv
from fastconv import reference

sparse = pytest.importorskip("scipy.sparse")


def geometries(count):
    """Yield `count` random (w, input_shape, options) that make an output."""
    rng = numpy.random.default_rng(0)
    while count:
        groups, per_group, filters, top, bottom, left, right = map(
            int, rng.integers((1, 1, 1, 0, 0, 0, 0), (4, 3, 3, 4, 4, 4, 4))
        )
        same = rng.random() < 0.2
        # An image without rows or columns has an output only where numbers pad it.
        height, width = map(int, rng.integers(int(same), 9, 2))
        options = {
            "stride": tuple(map(int, rng.integers(1, 4, 2))),
            "dilation": tuple(map(int, rng.integers(1, 4, 2))),
            "padding": "same" if same else ((top, bottom), (left, right)),
            "groups": groups,
        }
        w = rng.normal(size=(*rng.integers(1, 4, 2), per_group, filters * groups))
        shape = (height, width, per_group * groups)
        try:
            fastconv.conv2d_output_shape(shape, w.shape, **options)
        except ValueError:
            continue
        count -= 1
        yield w, shape, options


def test_forward_and_transpose_agree_with_the_reference():
    rng = numpy.random.default_rng(1)
    for w, shape, options in geometries(200):
        m = fastconv.conv2d_matrix(w, shape, **options)
        x = rng.normal(size=shape)
        y = reference.conv2d(x, w, **options)
        numpy.testing.assert_allclose(m @ x.ravel(), y.ravel(), rtol=0, atol=1e-12)
        dy = rng.normal(size=y.shape)
        dx = reference.conv2d_input_grad(dy, w, shape, **options)
        numpy.testing.assert_allclose(m.T @ dy.ravel(), dx.ravel(), rtol=0, atol=1e-12)


def test_it_agrees_with_the_engine():
    rng = numpy.random.default_rng(2)
    x, w = rng.normal(size=(5, 5, 3)), rng.normal(size=(3, 3, 3, 16))
    m = fastconv.conv2d_matrix(w, x.shape)
    assert m.shape == (144, 75)
    numpy.testing.assert_allclose(m @ x.ravel(), fastconv.conv2d(x, w).ravel(), atol=1e-12)


def test_four_rows_sixteen_columns():
    m = fastconv.conv2d_matrix(numpy.arange(1, 10).reshape(3, 3, 1, 1), (4, 4, 1))
    expected = numpy.zeros((4, 16))
    for row, first in enumerate((0, 1, 4, 5)):
        expected[row, [first + d for d in (0, 1, 2, 4, 5, 6, 8, 9, 10)]] = range(1, 10)
    numpy.testing.assert_array_equal(m.toarray(), expected)


def test_it_is_canonical_csr():
    for w, shape, options in geometries(50):
        m = fastconv.conv2d_matrix(w, shape, **options)
        assert m.format == "csr"
        assert m.indices.dtype == m.indptr.dtype == numpy.int32
        m.has_canonical_format = False  # forget, so that it is looked up and not just believed
        m.sum_duplicates()
        rebuilt = sparse.csr_array(m.toarray())
        assert (abs(m - rebuilt)).sum() == 0


def test_structure_does_not_depend_on_the_weights():
    options = {"padding": 1, "stride": 2}
    zeros = fastconv.conv2d_matrix(numpy.zeros((3, 3, 2, 4)), (6, 6, 2), **options)
    ones = fastconv.conv2d_matrix(numpy.ones((3, 3, 2, 4)), (6, 6, 2), **options)
    numpy.testing.assert_array_equal(zeros.indptr, ones.indptr)
    numpy.testing.assert_array_equal(zeros.indices, ones.indices)
    assert zeros.nnz == ones.nnz == numpy.count_nonzero(ones.toarray())


@pytest.mark.parametrize(
    ("given", "expected"),
    [("f4", "f4"), ("f8", "f8"), (">f4", "f4"), ("i4", "f8"), ("u1", "f8"), ("?", "f8")],
)
def test_dtype(given, expected):
    m = fastconv.conv2d_matrix(numpy.ones((2, 2, 1, 1), given), (3, 3, 1))
    assert m.dtype == expected
    assert m.dtype.isnative
    numpy.testing.assert_array_equal(m @ numpy.ones(9, expected), 4)


def test_layout_of_the_weights_does_not_matter():
    w = numpy.random.default_rng(0).normal(size=(4, 2, 3, 2))[::-1].transpose(2, 1, 3, 0)
    a, b = (fastconv.conv2d_matrix(each, (5, 5, 2)) for each in (w, w.copy()))
    assert (a != b).nnz == 0


@pytest.mark.parametrize(
    ("w", "shape", "options", "error"),
    [
        (numpy.ones((3, 3, 1)), (5, 5, 1), {}, ValueError),
        (numpy.ones((3, 3, 1, 1)), (1, 5, 5, 1), {}, ValueError),
        (numpy.ones((3, 3, 1, 1)), (5, 5), {}, ValueError),
        (numpy.ones((3, 3, 1, 1)), 5, {}, TypeError),
        (numpy.ones((3, 3, 2, 1)), (5, 5, 1), {}, ValueError),
        (numpy.ones((3, 3, 1, 1)), (2, 2, 1), {}, ValueError),
        (numpy.ones((3, 3, 1, 1)), (5, 5, 1), {"stride": 0}, ValueError),
        (numpy.ones((3, 3, 1, 1), complex), (5, 5, 1), {}, TypeError),
        (numpy.ones((3, 3, 1, 1), numpy.longdouble), (5, 5, 1), {}, TypeError),
    ],
)
def test_bad_arguments(w, shape, options, error):
    with pytest.raises(error, match="got "):
        fastconv.conv2d_matrix(w, shape, **options)


def run_python(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)


def test_scipy_is_not_imported_before_it_is_needed():
    done = run_python("import sys, fastconv; print('scipy' in sys.modules)")
    assert done.stdout.strip() == "False"


def test_without_scipy_the_error_says_what_to_install():
    done = run_python(
        "import sys, numpy, fastconv\n"
        "sys.modules['scipy'] = None\n"
        "try: fastconv.conv2d_matrix(numpy.ones((1, 1, 1, 1)), (2, 2, 1))\n"
        "except ImportError as error: print(error)\n"
    )
    assert 'pip install "fastconv[sparse]"' in done.stdout
