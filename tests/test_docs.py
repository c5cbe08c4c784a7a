"""Every example in the documents and in the public docstrings runs and prints what it says."""

from __future__ import annotations

import doctest
import importlib
import inspect
import re
from pathlib import Path

import pytest

import fastconv

ROOT = Path(__file__).parent.parent
DOCUMENTS = [
    path for path in (ROOT / "README.md", *sorted(ROOT.glob("docs/**/*.md"))) if path.exists()
]
BLOCK = re.compile(r"^```(?:python|pycon)\n(.*?)^```", re.MULTILINE | re.DOTALL)
PICTURE = re.compile(r"!\[[^]]*\]\(([^)\s]+)")
MODULES = ["fastconv", "fastconv.capi", "fastconv.layers", "fastconv.sparse", "fastconv.reference"]


def check(text, names, name, path=None, line=0):
    """Run the examples in `text` with the variables in `names`, which later blocks see, too."""
    test = doctest.DocTestParser().get_doctest(text, names, name, str(path), line)
    printed = []
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE)
    failed, _ = runner.run(test, out=printed.append, clear_globs=False)
    names.update(test.globs)
    assert not failed, "".join(printed)


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_document(path):
    """Blocks with `>>>` are doctests; the others are run.  All of a page share variables."""
    text, names = path.read_text(encoding="utf-8"), {"__name__": "__main__"}
    for block in BLOCK.finditer(text):
        line = text.count("\n", 0, block.start(1))
        if ">>>" in block[1]:
            check(block[1], names, path.name, path, line)
        else:
            exec(compile("\n" * line + block[1], str(path), "exec"), names)


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_pictures_exist_and_are_small(path):
    for target in PICTURE.findall(path.read_text(encoding="utf-8")):
        if "://" not in target:
            assert (path.parent / target).stat().st_size < 200_000, target


def public():
    """Yield (name, object, its module) of everything public that may have a docstring."""
    for module in map(importlib.import_module, MODULES):
        yield module.__name__, module, module
        for name in getattr(module, "__all__", ()):
            found = getattr(module, name)
            if inspect.ismodule(found):
                continue
            yield f"{module.__name__}.{name}", found, module
            if inspect.isclass(found):
                for method, code in inspect.getmembers(found, callable):
                    if not method.startswith("_"):
                        yield f"{module.__name__}.{name}.{method}", code, module


@pytest.mark.parametrize(
    ("found", "module"), [pytest.param(found, module, id=name) for name, found, module in public()]
)
def test_docstring(found, module):
    text = inspect.getdoc(found) or ""
    check(text, dict(vars(module)), getattr(found, "__name__", "docstring"))


@pytest.mark.parametrize(
    "name", ["conv2d", "conv2d_input_grad", "conv2d_weight_grad", "conv2d_output_shape", "Conv2D",
             "conv2d_matrix", "explain", "set_num_threads", "get_num_threads", "num_threads",
             "show_config", "get_include"],
)  # fmt: skip
def test_public_names_are_documented_with_an_example(name):
    text = inspect.getdoc(getattr(fastconv, name))
    assert ">>>" in text
