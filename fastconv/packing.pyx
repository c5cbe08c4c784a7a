"""Weights prepared once for many forward passes: packed for the direct sum, or transformed for Winograd's."""
cimport cython
from libc.stdlib cimport free, malloc
from libc.string cimport memcmp

import numpy

from fastconv.algorithms.direct cimport pack_panels
from fastconv.algorithms.winograd cimport transform_panels
from fastconv.arrays cimport View, open_arrays
from fastconv.axes cimport axis_entries
from fastconv.engine cimport Algorithm, is_empty, make_plans, need_algorithm, read_algorithm
from fastconv.geometry cimport Geometry, Options, read_options, resolve_geometry
from fastconv.plan cimport FORWARD, Plan, panels_bytes
from fastconv.tiles cimport SERVES, Refusal, Winograd, make_winograd

from fastconv.arrays import as_array, common_dtype

# Outputs along each axis of the image that weights are prepared for; its real size is not known yet.
cdef Py_ssize_t USUAL_SIZE = 56


@cython.final
cdef class PackedWeights:
    """Weights that `pack` prepared, for `conv2d` in the place of `w`; they never change.

    Attributes
    ----------
    array : numpy.ndarray, shape (KH, KW, C // groups, O)
        The weights themselves, read-only; `numpy.asarray` gives it, so every function takes them.
    prepared_for : {"direct", "winograd", "nothing"}
        The algorithm; "nothing" where a call would gain nothing, as for depthwise layers.
    nbytes : int
        Of the weights and of what was prepared.
    """

    def __init__(self):
        raise TypeError("PackedWeights must be made by fastconv.pack, got a call of the class")

    def __dealloc__(self):
        free(self.memory)

    @property
    def prepared_for(self):
        return "winograd" if self.prepared.transformed != NULL else "direct" if self.memory != NULL else "nothing"

    @property
    def nbytes(self):
        return self.array.nbytes + self.bytes

    @property
    def shape(self):
        return self.array.shape

    @property
    def dtype(self):
        return self.array.dtype

    def __array__(self, dtype=None, copy=None):
        return numpy.array(self.array, dtype, copy=copy)

    def __reduce__(self):
        return _restore, (self.array, self.options)

    def __repr__(self):
        return f"<PackedWeights of shape {self.shape}, {self.dtype}, prepared for {self.prepared_for}>"

    def holds(self, array):
        """Whether `array` has the same bytes, shape and dtype as the weights."""
        cdef View mine, other
        cdef list views = []
        cdef size_t size
        cdef int differs
        if array.shape != self.shape or array.dtype != self.dtype:
            return False
        if not array.flags.c_contiguous:
            return numpy.array_equal(array.view(f"u{array.itemsize}"), self.array.view(f"u{array.itemsize}"))
        open_arrays(("array", "array"), (array, self.array), views)
        mine, other = views
        size = array.nbytes
        with nogil:
            differs = memcmp(mine.tensor.data, other.tensor.data, size)
        return differs == 0


def _restore(array, options):
    return pack(array, **options)


cdef int prepare(PackedWeights packed, const Geometry *g, View w, Algorithm algorithm) except -1:
    """Pack or transform the weights, as a forward pass of this geometry would."""
    cdef int dtype = packed.prepared.dtype, failed = 0
    cdef Plan plan
    cdef Winograd tiles
    cdef Refusal refusal
    cdef char *workspace = NULL
    cdef Py_ssize_t *entries = <Py_ssize_t *> malloc(axis_entries(g) * sizeof(Py_ssize_t))
    if entries == NULL:
        raise MemoryError("no memory for a plan")
    with nogil:
        refusal = make_plans(&plan, &tiles, FORWARD, g, dtype, &w.tensor, &w.tensor, 1, algorithm, True, entries)
        packed.prepared.kernels, packed.prepared.groups = plan.kernels, plan.groups
        packed.prepared.panels, packed.prepared.narrow = plan.panels, plan.narrow
        if refusal == SERVES:
            make_winograd(&tiles, &plan, &w.tensor, 1, True)
            packed.bytes = tiles.units * tiles.unit_elements * plan.itemsize
            packed.memory = malloc(packed.bytes)
            workspace = <char *> malloc(tiles.workspace_bytes)
            failed = packed.memory == NULL or workspace == NULL
            if not failed:
                packed.prepared.transformed = <char *> packed.memory
                packed.prepared.finite = transform_panels(&tiles, &w.tensor, <char *> packed.memory, workspace)
            free(workspace)
        elif not plan.depthwise and not plan.weights_in_place:
            packed.bytes = panels_bytes(&plan)
            packed.memory = malloc(packed.bytes)
            failed = packed.memory == NULL
            if not failed:
                packed.prepared.packed = <char *> packed.memory
                packed.prepared.finite = pack_panels(&plan, &w.tensor, <char *> packed.memory)
        free(entries)
    if failed:
        raise MemoryError("no memory for prepared weights")
    return 0


def pack(w, *, stride=1, padding=0, dilation=1, groups=1, algorithm="auto"):
    """Prepare weights once that many forward passes will use: ``conv2d(x, pack(w), ...)``.

    A call does one of two things with weights before it computes: it packs them in the order in which the direct
    sum reads them, or, for Winograd's algorithm, transforms them.  Both take a good part of the time where images
    are small.  The result has the same bits as with `w` itself.

    Parameters
    ----------
    w : array_like, shape (KH, KW, C // groups, O)
        Filters; they are copied.
    stride, padding, dilation, groups, algorithm
        What the calls will say.  They decide what is prepared; a call that says something else computes the same,
        but prepares the weights again; so does one whose dilation exceeds half of its image, where Winograd's algorithm
        transforms them in another way.

    Returns
    -------
    PackedWeights
        Immutable, safe to use from several threads, and to pickle.  Holds a copy of `w`, and as much again packed or
        up to four times as much transformed; ``numpy.asarray`` gives the copy.

    Raises
    ------
    ValueError, TypeError
        For what `conv2d` would refuse of these arguments.

    See Also
    --------
    fastconv.Conv2D.eval : a layer that does this, and notices when its weight changes.

    Examples
    --------
    >>> import numpy as np
    >>> import fastconv
    >>> w = np.ones((3, 3, 64, 64), np.float32)
    >>> packed = fastconv.pack(w, padding=1)
    >>> packed
    <PackedWeights of shape (3, 3, 64, 64), float32, prepared for winograd>
    >>> x = np.ones((1, 56, 56, 64), np.float32)
    >>> bool((fastconv.conv2d(x, packed, padding=1) == fastconv.conv2d(x, w, padding=1)).all())
    True
    """
    cdef Options options
    cdef Geometry g
    cdef Algorithm chosen = read_algorithm(algorithm)
    cdef PackedWeights packed
    cdef View view
    cdef list views = []
    read_options(&options, stride, padding, dilation, groups)
    array = as_array(w, "w")
    # Over bytes, which nobody can make writeable again.
    array = numpy.ndarray(array.shape, common_dtype(array.dtype), array.astype(common_dtype(array.dtype)).tobytes())
    packed = PackedWeights.__new__(PackedWeights)
    packed.prepared.dtype = open_arrays(("w",), (array,), views)
    view = views[0]
    if view.axes != 4:
        raise ValueError(f"w must have axes (KH, KW, C // groups, O), got {view.axes} axes")
    g.batch, g.in_channels = 1, view.shape[2] * options.groups
    g.kernel_height, g.kernel_width, g.out_channels = view.shape[0], view.shape[1], view.shape[3]
    g.in_height = (g.kernel_height - 1) * options.dilation[0] + 1 + (USUAL_SIZE - 1) * options.stride[0]
    g.in_width = (g.kernel_width - 1) * options.dilation[1] + 1 + (USUAL_SIZE - 1) * options.stride[1]
    resolve_geometry(&g, &options, "w")
    need_algorithm(chosen, &g)
    packed.array = array
    packed.options = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups,
                      "algorithm": algorithm}
    if not is_empty(FORWARD, &g):
        prepare(packed, &g, view, chosen)
    return packed
