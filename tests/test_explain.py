"""What `explain` says of a call, and that the workspace it names stays within its bounds."""

import itertools
import re

import numpy as np
import pytest
from helpers import DTYPES, PASSES, Conv
from hypothesis import given
from hypothesis import strategies as st

import fastconv
from fastconv import _kernels
from fastconv.threads import has_openmp

MIB = 1 << 20


def explain(conv, which="forward", **options):
    return fastconv.explain(conv.x, conv.w, op=which, **conv.kwargs, **options)


def test_counts_of_a_known_layer():
    found = explain(Conv((2, 10, 12, 3), (3, 3, 3, 8)))
    assert found.flops == 2 * (2 * 8 * 10 * 8) * (3 * 3 * 3)
    assert found.bytes["input"] == 4 * 2 * 10 * 12 * 3
    assert found.bytes["weights"] == 4 * 3 * 3 * 3 * 8
    assert found.bytes["output"] == 4 * 2 * 8 * 10 * 8
    moved = sum(found.bytes[name] for name in ("input", "weights", "output"))
    assert found.intensity == found.flops / moved


def test_more_flops_than_64_bits_count():
    size, channels = 2**23, 512
    found = explain(Conv((1, size, size, channels), (3, 3, channels, channels), padding=1))
    assert found.flops == 2 * size**2 * 3 * 3 * channels**2 > 2**64


@pytest.mark.parametrize("op", ["backward", None, []], ids=str)
def test_an_unknown_pass_is_named(op):
    expected = re.escape(f"op must be one of forward, input_grad, weight_grad, got {op!r}")
    with pytest.raises(ValueError, match=f"^{expected}$"):
        fastconv.explain((1, 5, 5, 3), (3, 3, 3, 16), op=op)


def test_a_dtype_must_be_of_real_numbers():
    for dtype in (complex, object):
        with pytest.raises(TypeError, match=r"^dtype must be of real numbers .*, got \w+$"):
            fastconv.explain((1, 5, 5, 3), (3, 3, 3, 16), dtype=dtype)


def test_float64_moves_twice_the_bytes():
    conv = Conv((2, 10, 12, 3), (3, 3, 3, 8))
    single, double = (explain(conv, dtype=dtype).bytes for dtype in (np.float32, np.float64))
    assert all(double[name] == 2 * single[name] for name in ("input", "weights", "output"))


@pytest.mark.parametrize(
    ("conv", "bound"),
    [
        (Conv((4, 28, 28, 256), (3, 3, 256, 256), padding=1), "arithmetic"),
        # So few products that this holds for vectors of two lanes, too.
        (Conv((4, 112, 112, 32), (1, 3, 1, 32), padding=(0, 1), groups=32), "memory"),
        (Conv((1, 5, 5, 3), (3, 3, 3, 16)), "the call itself"),
    ],
    ids=str,
)
def test_what_bounds_a_call(conv, bound):
    assert {explain(conv, which).bound for which in PASSES} == {bound}


def test_half_an_idle_vector_takes_shorter_ones_where_these_cost_nothing():
    widest = _kernels.current()
    shorter = "avx2" if widest == "avx512" and _kernels.splits_vectors() else widest
    for filters, expected in ((24, shorter), (8, shorter), (32, widest), (64, widest)):
        conv = Conv((1, 30, 30, 64), (3, 3, 64, filters), padding=1)
        assert explain(conv, algorithm="direct").isa == expected, filters
    assert explain(Conv((1, 30, 30, 16), (1, 1, 16, 8))).isa == shorter  # however short the sums


@pytest.mark.parametrize(
    ("conv", "kernel"),
    [
        (Conv((1, 30, 30, 64), (3, 3, 64, 64)), "register tile of"),
        (Conv((1, 30, 30, 64), (3, 3, 64, 1)), "vectors along the input channels"),
        (Conv((1, 30, 30, 64), (3, 3, 1, 64), groups=64), "one filter a channel"),
        (Conv((1, 30, 30, 64), (3, 3, 2, 64), groups=32), "groups of 2 channels in a vector"),
        (Conv((1, 30, 30, 64), (3, 3, 4, 32), groups=16), "groups of 2 channels in a vector"),
        (Conv((1, 28, 28, 512), (3, 3, 16, 128), stride=2, groups=32), "register tile"),
        (Conv((1, 60, 60, 1), (3, 3, 1, 1)), "a vector takes"),
        (Conv((2, 1, 1, 70), (1, 1, 70, 45)), "weights row by row"),
        (Conv((1, 30, 30, 3), (3, 3, 3, 4)), "each input channel beside its filters"),
        (Conv((1, 30, 30, 4), (3, 3, 1, 20), groups=4), "one filter a channel"),
        (Conv((1, 30, 30, 4), (5, 5, 1, 64), groups=4), "register tile of"),
    ],
    ids=str,
)
def test_the_kernel_is_named(conv, kernel):
    # Groups of two do not fit a vector of two lanes.
    assert kernel in explain(conv, dtype=np.float32).blocking["kernel"]


@pytest.mark.parametrize(
    ("which", "stride"), [*itertools.product(PASSES[:2], (1, 2)), ("weight_grad", 1)]
)
def test_groups_in_a_vector_are_not_copied(which, stride):
    conv = Conv((1, 30, 30, 32), (3, 3, 2, 32), padding=1, stride=stride, groups=16)
    blocking = explain(conv, which, dtype=np.float32).blocking
    assert blocking["kernel"] == "groups of 2 channels in a vector"
    if which != "weight_grad":  # which may copy x to where it is aligned
        assert blocking["input"] == "read in place"


def test_a_vector_of_filters_over_a_channel_goes_down_columns():
    convs = [Conv((1, 30, 30, 4), (3, 3, 1, 4 * lanes), groups=4) for lanes in (4, 8, 16)]
    kernels = {explain(conv, dtype=np.float32).blocking["kernel"] for conv in convs}
    assert any("each input channel beside its filters" in kernel for kernel in kernels)


def test_what_a_stride_skips_is_not_gathered_for_groups():
    conv = Conv((1, 30, 30, 64), (1, 1, 2, 64), stride=2, groups=32)
    assert explain(conv).blocking["input"] == "read in place"


def test_short_runs_share_a_tile_in_weight_grad():
    short, long = (Conv((1, 30, 30, c), (3, 1, c, 64)) for c in (1, 30))
    assert "all kernel rows together" in explain(short, "weight_grad").blocking["kernel"]
    for conv, which in ((short, "forward"), (long, "weight_grad")):
        said = explain(conv, which, algorithm="direct").blocking["kernel"]
        assert "together" not in said


def test_padding_is_left_out_where_it_is_much():
    conv = Conv((2, 33, 33, 64), (3, 3, 64, 64), padding=12, dilation=12)
    said = {explain(conv, which).blocking["padding"] for which in PASSES}
    assert said == {"left out of the sums"}
    conv = Conv((2, 33, 33, 64), (3, 3, 64, 64))
    assert "padding" not in explain(conv, algorithm="direct").blocking


def test_rows_of_padding_take_no_scratch():
    """Or dL/dx of a kernel as high as the image would gather zeros for each row again."""
    for conv in (
        Conv((1, 80, 200, 1), (80, 3, 1, 64), padding=(0, 1)),
        Conv((4, 64, 128, 8), (64, 1, 1, 16), groups=8),
    ):
        said = explain(conv, "input_grad", algorithm="direct")
        assert said.blocking["blocks"] <= 8
        assert said.bytes["workspace"] < 2 * MIB


def test_columns_are_channels_where_kernels_lie_side_by_side():
    for conv, panel in (
        (Conv((1, 64, 300, 1), (3, 300, 1, 100)), "of 300 output channels a group"),
        (Conv((1, 224, 224, 3), (16, 16, 3, 192), stride=16), "of 48 output channels a group"),
    ):
        assert explain(conv, "input_grad", algorithm="direct").blocking["panel"].endswith(panel)


def test_a_single_column_is_laid_down():
    conv = Conv((1, 100, 1, 8), (5, 1, 8, 64), padding=(2, 0))
    for which in PASSES:
        said = explain(conv, which, algorithm="direct").blocking
        assert "1 rows x 100 columns" in said["pixels a block"]


def test_pixels_in_the_same_sets_of_the_cache_go_a_few_rows_at_a_time():
    for channels, strip in ((480, "14 rows"), (512, "3 rows")):
        conv = Conv((1, 14, 14, channels), (3, 3, 1, channels), groups=channels, padding=1)
        with fastconv.num_threads(1):
            for which in ("forward", "input_grad"):
                assert explain(conv, which).blocking["strip"] == f"{strip} x a tile"


def test_rows_of_a_large_image_of_few_channels_go_some_at_a_time():
    """Each is in pages of its own."""
    conv = Conv((1, 1080, 1920, 1), (3, 3, 1, 4), padding=1)
    rows = int(explain(conv).blocking["strip"].split()[0])
    assert 8 <= rows < 100


def test_a_single_pixel_is_shared_among_threads():
    """By columns of its weights: 25 MB here, and 256 filters."""
    conv = Conv((1, 7, 7, 512), (7, 7, 512, 256))
    with fastconv.num_threads(2):
        said = explain(conv).blocking
    assert "row by row" in said["kernel"]
    assert said["tasks"].startswith("2 on 2" if has_openmp() else "1 on 1")


def test_few_channels_to_few_share_vectors():
    for which in ("forward", "input_grad"):
        said = explain(Conv((1, 128, 128, 3), (1, 1, 3, 2)), which).blocking
        assert said["kernel"] == "several pixels in a vector"


@pytest.mark.parametrize("which", PASSES)
@pytest.mark.parametrize("groups", [1, 12])
def test_a_call_too_small_for_threads_is_cut_as_for_one(which, groups):
    conv = Conv((1, 18, 18, 12), (3, 3, 12 // groups, 12), padding=1, groups=groups)
    said = []
    for threads in (1, 16):
        with fastconv.num_threads(threads):
            said.append(explain(conv, which).blocking)
    assert said[0] == said[1]


def test_threads_share_panels_where_a_block_takes_all_pixels():
    conv = Conv((4, 8, 8, 128), (7, 7, 128, 256))
    for which in ("forward", "input_grad"):
        with fastconv.num_threads(2):
            said = explain(conv, which, algorithm="direct").blocking
        assert said["blocks"] == 1
        assert said["tasks"].startswith("2 on 2" if has_openmp() else "1 on 1")


@pytest.mark.parametrize("which", PASSES)
@pytest.mark.parametrize(
    "conv",
    [
        Conv((1, 27, 27, 64), (5, 5, 64, 64), padding=2),
        Conv((1, 56, 56, 64), (7, 7, 64, 64), padding=3),
        Conv((4, 28, 28, 128), (1, 1, 128, 512)),
        Conv((3, 20, 20, 64), (3, 3, 64, 64), padding=1),
        Conv((1, 1, 8000, 64), (1, 1, 64, 64)),
        Conv((1, 8000, 1, 64), (1, 1, 64, 64)),
    ],
    ids=str,
)
def test_threads_end_together(conv, which):
    """Each has as many blocks, or a share of each."""
    with fastconv.num_threads(2):
        said = explain(conv, which, algorithm="direct").blocking
    assert int(said["tasks"].split()[0]) % (2 if has_openmp() else 1) == 0


@pytest.mark.parametrize(
    "conv",
    [
        Conv((4, 28, 28, 128), (1, 1, 128, 512)),
        Conv((1, 112, 112, 128), (3, 3, 128, 128), padding=1),  # by Winograd's algorithm
    ],
    ids=str,
)
def test_pieces_of_weight_grad_are_even(conv):
    said = explain(conv, "weight_grad").blocking
    assert said["blocks"] % int(said["pieces"].split()[0]) == 0


def test_large_weights_are_packed_in_parts():
    many_weights = Conv((4, 30, 30, 512), (3, 3, 512, 512))
    assert explain(many_weights).blocking["weights"].startswith("transformed in 4 parts")
    few_tiles = Conv((1, 9, 9, 512), (3, 3, 512, 512), padding=1)
    assert explain(few_tiles).blocking["weights"].startswith("transformed in slices")
    two_tiles = Conv((1, 4, 8, 512), (3, 3, 512, 512), padding=1)
    few = explain(two_tiles, "weight_grad", algorithm="winograd")
    assert few.blocking["pieces"] == "none, sums stay in registers"
    one_tile = Conv((1, 4, 4, 512), (3, 3, 512, 512), padding=1)
    assert explain(one_tile).blocking["weights"] == "multiplied as they are transformed"
    said = explain(many_weights, algorithm="direct").blocking["weights"]
    assert said.startswith("packed in ")
    few_pixels = explain(Conv((1, 7, 7, 512), (7, 7, 512, 256)))
    assert few_pixels.blocking["weights"].startswith("read in place")


def test_halves_of_vectors_of_kernel_rows_pair_up():
    """A row's 24 values are a vector and a half of 16, but whole ones of 8 or 4."""
    conv = Conv((1, 28, 28, 256), (3, 3, 8, 256), padding=1, groups=32)
    said = explain(conv, "weight_grad", algorithm="direct")
    assert ("together" in said.blocking["kernel"]) == (said.isa == "avx512")


@pytest.mark.skipif(not has_openmp(), reason="not run: a build without OpenMP has one thread")
def test_every_thread_has_as_many_panels_of_few_tiles():
    for kernel in ((7, 1), (1, 3), (3, 3)):
        conv = Conv((1, 8, 8, 160), (*kernel, 160, 192), padding=tuple(n // 2 for n in kernel))
        with fastconv.num_threads(2):
            said = explain(conv, algorithm="winograd").blocking["tasks"]
        assert int(said.split()[0]) % 2 == 0


def test_larger_kernels_are_cut_into_squares():
    for taps, squares in ((3, 1), (4, 4), (5, 4), (7, 9)):
        conv = Conv((1, 56, 56, 64), (taps, taps, 64, 64), padding=taps // 2)
        for which in PASSES:
            said = explain(conv, which, algorithm="winograd").blocking
            assert said["taps"] == f"{squares} of 3 x 3"
    for kernel, said in (((1, 3), "1 of 1 x 3"), ((7, 1), "3 of 3 x 1")):
        assert explain(Conv((1, 28, 28, 256), (*kernel, 256, 256))).blocking["taps"] == said
    assert explain(Conv((1, 27, 27, 64), (5, 5, 64, 192), padding=2)).algorithm == "winograd"


def test_a_refused_algorithm_says_why():
    conv = Conv((1, 5, 5, 1), (3, 3, 1, 16))
    assert explain(conv).algorithm == explain(conv, algorithm="direct").algorithm == "direct"
    assert re.search("channels|cost", explain(conv).refused["winograd"])
    conv = Conv((4, 28, 28, 64), (3, 3, 64, 64), padding=1)
    assert explain(conv).algorithm == "winograd"
    assert not explain(conv).refused
    assert "asked for" in explain(conv, algorithm="direct").refused["winograd"]
    assert "float64" in explain(conv, dtype=np.float64).refused["winograd"]
    tiny = Conv((1, 2, 2, 64), (3, 3, 64, 64), padding=1)
    assert "cost more" in explain(tiny).refused["winograd"]
    for conv in (Conv((1, 9, 9, 64), (1, 1, 64, 64)), Conv((1, 9, 9, 64), (3, 3, 64, 64), 2)):
        assert "only" in explain(conv).refused["winograd"]
        with pytest.raises(ValueError, match=r"algorithm must be able to serve.*got 'winograd'$"):
            explain(conv, algorithm="winograd")


@pytest.mark.parametrize("which", PASSES)
@pytest.mark.parametrize("algorithm", ["auto", "winograd"])
def test_sizes_that_no_machine_holds(which, algorithm):
    """Up to the limit of an array, 2**60 bytes: nothing overflows, nothing takes long."""
    for channels, size in ((1, 2**28), (16, 2**26), (512, 2**23)):
        conv = Conv((1, size, size, channels), (3, 3, channels, channels), padding=1)
        sizes = explain(conv, which, algorithm=algorithm).bytes
        used = sizes["workspace"] - sizes.get("transformed weights", 0)
        assert 0 < used <= 8 * MIB * fastconv.get_num_threads()


@pytest.mark.parametrize("which", PASSES)
def test_the_choice_depends_on_neither_batch_nor_threads(which):
    chosen = set()
    for size, channels in itertools.product((1, 2, 4, 7, 14, 31), (8, 16, 64, 300)):
        found = set()
        for batch, threads in itertools.product((1, 2, 64), (1, 2, 16)):
            with fastconv.num_threads(threads):
                conv = Conv((batch, size, size, channels), (3, 3, channels, channels), padding=1)
                found.add(explain(conv, which).algorithm)
        assert len(found) == 1
        chosen |= found
    assert chosen == {"direct", "winograd"}


def test_an_empty_sum_needs_nothing():
    found = explain(Conv((0, 5, 5, 3), (3, 3, 3, 16)))
    assert (found.flops, found.intensity, found.bytes["workspace"]) == (0, 0, 0)


def test_it_prints_a_line_for_every_fact():
    conv = Conv((4, 28, 28, 64), (3, 3, 64, 64), padding=1)
    for algorithm, which in itertools.product(("auto", "direct"), PASSES):
        found = explain(conv, which, algorithm=algorithm)
        lines = str(found).splitlines()
        refused = [f"not {name}" for name in found.refused]
        for name in ("pass", "algorithm", *refused, *found.blocking, "FLOPs  ", "bound by"):
            assert sum(line.startswith(f"{name} ") for line in lines) == 1, name


LARGE = [
    Conv((8, 224, 224, 64), (3, 3, 64, 64), padding=1),
    Conv((32, 28, 28, 512), (3, 3, 512, 512), padding=1),
    Conv((4, 7, 7, 2048), (3, 3, 2048, 2048), padding=1),
    Conv((2, 7, 7, 512), (7, 7, 512, 4096)),
    Conv((1, 33, 33, 4096), (3, 3, 4096, 512), padding=12, dilation=12),
    Conv((1, 28, 28, 4096), (3, 3, 4096, 2048), padding=1),
    Conv((1, 66, 98, 1285), (4, 4, 1285, 51), padding=3),
    Conv((1, 74, 70, 1820), (2, 2, 1820, 24), padding=1),
    Conv((1, 2000, 3000, 3), (11, 11, 3, 96), stride=4),
    Conv((1, 2000, 3000, 1), (31, 31, 1, 1), padding=15),
    Conv((16, 112, 112, 960), (5, 5, 1, 960), padding=2, groups=960),
    Conv((1, 5000, 40, 64), (4096, 1, 1, 64), groups=64),
    Conv((4, 64, 64, 1024), (3, 3, 32, 1024), padding=1, groups=32, stride=2),
    Conv((1, 5, 100_000, 64), (3, 3, 64, 64), padding=1),
    Conv((1000, 1, 1, 4096), (1, 1, 4096, 1000)),
]


@pytest.mark.parametrize("conv", LARGE, ids=str)
def test_workspace_of_large_layers(conv):
    check_workspace(conv)


@given(
    st.integers(1, 64), st.integers(1, 400), st.integers(1, 400), st.integers(1, 3000),
    st.integers(1, 13), st.integers(1, 3000), st.integers(1, 4), st.integers(1, 9),
)  # fmt: skip
def test_workspace_is_bounded(batch, height, width, channels, kernel, filters, stride, dilation):
    padding = dilation * (kernel - 1)
    check_workspace(
        Conv((batch, height, width, channels), (kernel, kernel, channels, filters),
             stride=stride, dilation=dilation, padding=padding)
    )  # fmt: skip


def check_workspace(conv):
    for which, dtype, threads in itertools.product(PASSES, DTYPES, (1, 4)):
        with fastconv.num_threads(threads):
            sizes = explain(conv, which, dtype=dtype).bytes
        transformed = sizes.get("transformed weights", 0)
        assert transformed <= 10 * MIB, (which, dtype, threads, transformed / MIB)
        used = sizes["workspace"] - transformed
        assert used <= 8 * MIB * threads, (which, dtype, threads, used / MIB)
