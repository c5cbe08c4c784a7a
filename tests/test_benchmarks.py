"""The benchmark's arithmetic, its layer files and one small run; never a time."""

import json
import math
import os
import subprocess
import sys

import pytest

import fastconv
from fastconv.benchmarks import catalogue, ratios, timing, workers
from fastconv.benchmarks.compare import Result, compare
from fastconv.benchmarks.problem import PASSES, Problem
from fastconv.benchmarks.report import comparison, means
from fastconv.benchmarks.table import Table

ALL_LAYERS = [layer for network in catalogue.networks() for layer in catalogue.load(network)]


def layer(**changes):
    """A small layer, with other values where given."""
    table = {"name": "one", "input": [5, 5, 3], "filters": 16, "kernel": 3} | changes
    return catalogue.Layer.from_table("net", table)


def bench(*arguments):
    """Run the command line."""
    return subprocess.run(
        [sys.executable, "-m", "fastconv", "bench", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


# Statistics


def test_ratio_pairs_the_rounds():
    found = ratios.ratio(peer=[2.0, 30.0, 4.0], ours=[1.0, 10.0, 8.0])
    assert (found.median, found.least, found.most) == (2.0, 0.5, 3.0)


def test_ratio_refuses_series_of_different_length():
    with pytest.raises(ValueError, match="zip"):
        ratios.ratio([1.0], [1.0, 2.0])


def test_geometric_mean():
    assert ratios.geometric_mean([0.5, 2.0, 8.0]) == pytest.approx(2.0)
    assert math.isnan(ratios.geometric_mean([]))


def test_fastest_variant_is_the_one_with_the_least_median():
    assert ratios.fastest({"nchw": [1.0, 5.0, 5.0], "channels_last": [4.0, 4.0, 4.0]}) == (
        "channels_last"
    )


def test_best_time_calls_often_enough():
    calls = []
    assert timing.best_time(lambda: calls.append(1), budget=1e-3) > 0
    assert len(calls) > timing.LEAST_REPEATS


# Layers and what they cost


@pytest.mark.parametrize("one", ALL_LAYERS, ids=lambda one: one.id)
def test_layer_files_have_the_output_shapes_of_fastconv(one):
    assert one.output_shape == fastconv.conv2d_output_shape(
        one.input_shape,
        one.weight_shape,
        stride=one.stride,
        padding=one.padding,
        dilation=one.dilation,
        groups=one.groups,
    )


@pytest.mark.parametrize(
    ("network", "count", "first", "last"),
    [
        ("design", 10, (4, 56, 56, 64), (1, 3, 3, 16)),
        ("lenet", 3, (32, 28, 28, 6), (32, 1, 1, 120)),
        ("mobilenetv2", 30, (4, 112, 112, 32), (4, 7, 7, 1280)),
        ("resnet50", 23, (4, 112, 112, 64), (4, 7, 7, 512)),
        ("tiny", 1, (1, 3, 3, 16), (1, 3, 3, 16)),
        ("vgg16", 9, (1, 224, 224, 64), (1, 14, 14, 512)),
    ],
)
def test_networks(network, count, first, last):
    layers = catalogue.load(network)
    assert len({one.name for one in layers}) == len(layers) == count
    assert (layers[0].output_shape, layers[-1].output_shape) == (first, last)


@pytest.mark.parametrize(
    ("changes", "macs"),
    [
        ({}, 3 * 3 * 16 * 3 * 3 * 3),
        ({"batch": 7, "stride": 2}, 7 * 2 * 2 * 16 * 3 * 3 * 3),
        ({"filters": 3, "groups": 3, "padding": 1}, 5 * 5 * 3 * 3 * 3),
        ({"kernel": [1, 2], "dilation": [1, 3]}, 5 * 2 * 16 * 1 * 2 * 3),
    ],
)
@pytest.mark.parametrize("op", PASSES)
def test_flops_count_each_multiplication_and_addition(changes, macs, op):
    assert Problem(layer(**changes), op).flops == 2 * macs


def test_bytes_count_operands_and_result_once():
    elements = 5 * 5 * 3 + 3 * 3 * 3 * 16 + 3 * 3 * 16
    assert Problem(layer(), "forward").bytes_moved == 4 * elements
    assert Problem(layer(), "forward", "float64").bytes_moved == 8 * elements


@pytest.mark.parametrize(
    ("op", "absent"), [("forward", "dy"), ("input_grad", "x"), ("weight_grad", "w")]
)
def test_inputs_are_the_operands_of_the_pass(op, absent):
    problem = Problem(layer(), op, "float64")
    inputs = problem.inputs()._asdict()
    assert inputs.pop(absent) is None
    shapes = {"x": (1, 5, 5, 3), "w": (3, 3, 3, 16), "dy": (1, 3, 3, 16)}
    assert {name: array.shape for name, array in inputs.items()} == {
        name: shape for name, shape in shapes.items() if name != absent
    }
    assert all(array.dtype == "float64" for array in inputs.values())


def test_problem_survives_json():
    problem = Problem(layer(stride=[2, 1], padding=1), "input_grad", "float64", "direct")
    assert Problem.from_json(json.loads(json.dumps(problem.to_json()))) == problem


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"colour": 3}, "unknown keys.*colour"),
        ({"kernel": 9}, "output is empty"),
        ({"groups": 2}, "groups must divide"),
        ({"input": [5, 5]}, "input must be"),
    ],
)
def test_layers_that_make_no_sense_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        layer(**changes)


def test_select_by_network_and_by_pattern():
    assert catalogue.select(["tiny"]) == catalogue.load("tiny")
    chosen = catalogue.select(["vgg16/conv1_*", "vgg16/conv1_2", "tiny"])
    assert [one.id for one in chosen] == ["vgg16/conv1_1", "vgg16/conv1_2", "tiny/5x5_3-16_3x3"]
    with pytest.raises(ValueError, match="no layer matches 'alexnet'"):
        catalogue.select(["alexnet"])


# Reports


def test_table_aligns_and_renders_markdown():
    table = Table(["name", "n"])
    table.add("a", "10")
    assert table.render() == "name   n\n--------\na     10"
    assert table.render(markdown=True).splitlines()[1:] == ["| ---- | -: |", "| a    | 10 |"]
    with pytest.raises(ValueError, match="expected 2 cells, got 1"):
        table.add("b")


def test_report_takes_the_better_layout_and_names_a_failure():
    result = Result(Problem(layer(), "forward"))
    result.times = {
        "fastconv": {"": [1e-6, 1e-6]},
        "torch": {"nchw": [4e-6, 5e-6], "channels_last": [2e-6, 4e-6]},
    }
    result.fma_peak = [1e11, 1e11]
    result.copy = [1e-7, 1e-7]
    result.failed = {"jax": "another result"}
    row = comparison([result], ["torch", "jax"]).rows[0]
    assert " ".join(row) == "net/one forward 1.0 7.8 8% 10% 2.6 cl 3.00 (2.00) failed - -"
    mean = means([result], ["torch", "jax"])
    assert [cells[:5] for cells in mean.rows] == [("PyTorch", "3.00", "-", "-", "3.00")]


# Workers


@pytest.mark.parametrize("pythons", [{}, {"abacus": "no-such-python"}])
def test_a_peer_that_is_not_there_is_absent(pythons):
    with workers.running(("abacus",), 1, pythons) as (running, absent):
        assert running == {}
        assert list(absent) == ["abacus"]


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="no CPU affinity here")
def test_a_worker_gets_as_many_cpus_as_threads():
    allowed = os.sched_getaffinity(0)
    for threads in range(1, len(allowed) + 2):
        chosen = workers.cpus_for(threads)
        assert len(chosen) == len(set(chosen)) == min(threads, len(allowed))
        assert set(chosen) <= allowed


def test_a_peer_whose_process_ended_serves_the_next_problem():
    with workers.running(("fastconv",), 1, {}) as (running, _):
        worker = running["fastconv"]
        worker._process.kill()
        with pytest.raises(workers.Failed, match=r"the process of fastconv ended"):
            worker.ask("prepare", problem=Problem(layer(), "forward").to_json())
        assert compare(running, Problem(layer(), "forward"), 1).complete


# The command line


def test_a_small_run_without_peers(tmp_path):
    file = tmp_path / "result.json"
    ran = bench("--peers", "none", "--layers", "tiny", "--rounds", 1, "--json", file)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.count("tiny/5x5_3-16_3x3") == len(PASSES)
    for word in ("forward", "dL/dx", "dL/dW", "GFLOP/s", fastconv.__version__):
        assert word in ran.stdout
    record = json.loads(file.read_text())
    assert record["facts"]["threads"] == "1"
    assert record["failures"] == []
    assert [result["op"] for result in record["results"]] == list(PASSES)
    for result in record["results"]:
        assert result["flops"] == 2 * 3 * 3 * 16 * 27
        assert len(result["seconds"]["fastconv"][""]) == 1
        assert result["gflops"]["fastconv"] > 0


def test_the_roofline(tmp_path):
    pytest.importorskip("matplotlib", reason="not run: needs matplotlib")
    file = tmp_path / "roof.png"
    ran = bench("--peers", "none", "--layers", "tiny", "--rounds", 1, "--roofline", file)
    assert ran.returncode == 0, ran.stderr
    assert file.read_bytes().startswith(b"\x89PNG")


def test_scaling_has_a_column_for_each_number_of_threads():
    ran = bench("--scaling", "--threads", 2, "--layers", "tiny", "--rounds", 1, "--markdown")
    assert ran.returncode == 0, ran.stderr
    assert "|   x2 |" in ran.stdout


def test_a_call_that_fastconv_refuses_is_reported():
    arguments = ["--peers", "none", "--layers", "tiny", "--rounds", 1, "--passes", "forward"]
    ran = bench(*arguments, "--algorithm", "sorcery")
    assert ran.returncode == 1
    assert "ValueError" in ran.stderr


@pytest.mark.parametrize(
    "arguments",
    [["--layers", "alexnet"], ["--peers", "abacus"], ["--rounds", "0"], ["--passes", ","]],
)
def test_wrong_options_are_refused(arguments):
    ran = bench(*arguments)
    assert ran.returncode == 2
    assert "error:" in ran.stderr


def test_calls_from_c_have_a_row_for_each_pass(tmp_path):
    ran = bench("--calls", "--rounds", 1, "--markdown", "--json", tmp_path / "calls.json")
    assert ran.returncode == 0, ran.stderr
    rows = [line.split("|") for line in ran.stdout.splitlines() if line.startswith("| tiny/")]
    assert [row[2].strip() for row in rows] == ["forward", "dL/dx", "dL/dW"]
    forward, *gradients = json.loads((tmp_path / "calls.json").read_text())["calls"]
    assert len(forward["call_ns"]) == len(forward["arithmetic_ns"]) == 1
    assert all(cost["call_ns"] and not cost["arithmetic_ns"] for cost in gradients)


def test_accuracy_has_a_row_for_each_size_and_set_of_points(tmp_path):
    file = tmp_path / "accuracy.json"
    ran = bench("--accuracy", "--passes", "weight_grad", "--rounds", 1, "--json", file)
    assert ran.returncode == 0, ran.stderr
    found = json.loads(file.read_text())
    assert len(found["errors"]) == 2 * 8
    assert all(0 < e["error"] < 1e-4 and e["op"] == "weight_grad" for e in found["errors"])
    ours = [e["error"] for e in found["points"] if "(ours)" in e["what"]]
    assert len(ours) == 1
    assert ours[0] < found["points"][0]["error"]
