"""What `import fastconv` brings: the public names, and nothing heavy."""

import inspect
import sysconfig
from pathlib import Path

import pytest
from helpers import run_python

import fastconv

PUBLIC = [
    "Conv2D",
    "PackedWeights",
    "__version__",
    "conv2d",
    "conv2d_input_grad",
    "conv2d_matrix",
    "conv2d_output_shape",
    "conv2d_weight_grad",
    "explain",
    "get_default_algorithm",
    "get_include",
    "get_num_threads",
    "num_threads",
    "pack",
    "reference",
    "set_default_algorithm",
    "set_num_threads",
    "show_config",
]
HEAVY = ["matplotlib", "scipy", "sklearn", "torch", "tqdm", "fastconv.benchmarks", "fastconv.demo"]


def test_public_names():
    assert sorted(fastconv.__all__) == PUBLIC
    assert all(hasattr(fastconv, name) for name in PUBLIC)


@pytest.mark.parametrize("name", [name for name in PUBLIC if not name.startswith("_")])
def test_no_public_name_is_hidden_by_a_module_of_the_same_name(name):
    assert inspect.ismodule(getattr(fastconv, name)) == (name == "reference")


def test_the_package_opens_with_its_design():
    first, blank, *_ = fastconv.__doc__.splitlines()
    assert first.startswith("fastconv: ")
    assert not blank


def test_nothing_heavy_is_imported():
    code = f"import sys, fastconv; print([name for name in {HEAVY} if name in sys.modules])"
    assert run_python(code).strip() == "[]"


def test_importing_prints_nothing_and_starts_no_thread():
    code = "import threading, fastconv; assert threading.active_count() == 1"
    assert run_python(code) == ""


@pytest.mark.skipif(
    not sysconfig.get_config_var("Py_GIL_DISABLED"), reason="not run: this Python has a GIL"
)
def test_a_python_without_a_gil_does_not_switch_it_on():
    """As it does, with a warning, for a module that does not say that it can do without."""
    code = "import sys, fastconv, fastconv._kernels; print(sys._is_gil_enabled())"
    assert run_python(code, PYTHON_GIL=None) == "False\n"


def test_every_compiled_module_has_a_stub_or_is_internal():
    """Python code imports only from modules whose types are written down."""
    package = Path(fastconv.__file__).parent
    internal = {"arrays", "axes", "blocks", "engine", "kernel_choice", "plan", "tiles"}
    compiled = {path.name.partition(".")[0] for path in package.glob("*.pyx")}
    stubs = {path.stem for path in package.glob("*.pyi")}
    assert compiled - internal <= stubs
