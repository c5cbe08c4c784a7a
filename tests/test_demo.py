"""``python -m fastconv``: the demo and the command line around it."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

import fastconv
from fastconv.__main__ import main

needs_demo = pytest.mark.usefixtures("_demo_extra")


@pytest.fixture(scope="module")
def _demo_extra():
    for name in ("matplotlib", "sklearn", "tqdm"):
        pytest.importorskip(name, reason=f"not run: needs {name}")


def run(*arguments, cwd):
    """Run ``python -m fastconv`` in `cwd`, and return what it printed."""
    return subprocess.run(
        [sys.executable, "-m", "fastconv", *arguments],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def accuracy(printed):
    """Return the percentage on the accuracy line."""
    return float(re.search(r"^test accuracy\s+([\d.]+)\s*%", printed, re.MULTILINE)[1])


@pytest.fixture(scope="module")
def two_epochs(_demo_extra, tmp_path_factory):
    """The folder and the output of a short run with all defaults but the epochs."""
    folder = tmp_path_factory.mktemp("demo")
    return folder, run("demo", "--epochs", "2", cwd=folder)


def test_it_writes_one_picture_and_says_where(two_epochs):
    folder, done = two_epochs
    assert done.returncode == 0, done.stderr
    picture = folder / "fastconv-demo.png"
    assert list(folder.iterdir()) == [picture]
    assert picture.read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    assert picture.stat().st_size > 20_000
    assert done.stdout.splitlines()[-1].endswith(picture.name)


def test_it_learns_and_reports(two_epochs):
    printed = two_epochs[1].stdout
    assert accuracy(printed) > 70
    assert re.search(r"^time a batch +[\d.]+ ms", printed, re.MULTILINE)
    shares = [float(share) for share in re.findall(r"^  .*?([\d.]+)%", printed, re.MULTILINE)]
    assert len(shares) == 4
    assert sum(shares) == pytest.approx(100, abs=0.3)
    for name in ("forward", "dL/dx", "dL/dW", "the rest"):
        assert name in printed
    assert "training" in two_epochs[1].stderr  # the progress bar


def test_a_seed_reproduces(two_epochs):
    folder, first = two_epochs
    again = run("demo", "--epochs=2", "--seed=0", "--output=again.png", cwd=folder)
    assert accuracy(again.stdout) == accuracy(first.stdout)
    pictures = [(folder / name).read_bytes() for name in ("fastconv-demo.png", "again.png")]
    (folder / "again.png").unlink()
    assert pictures[0] == pictures[1]


@needs_demo
def test_one_epoch_one_large_batch_another_seed(tmp_path):
    done = run(
        "demo", "--epochs=1", "--batch-size=2000", "--seed=3", "--output=a.png", cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "a.png").exists()


@needs_demo
def test_accuracy_with_the_defaults(tmp_path):
    assert accuracy(run("demo", cwd=tmp_path).stdout) >= 98.5


@pytest.mark.parametrize(
    "arguments",
    [
        ["demo", "--epochs=0"],
        ["demo", "--batch-size=-1"],
        ["demo", "--seed=-1"],
        ["demo", "--epochs=two"],
        ["demo", "--output=no/such/folder/a.png"],
        ["demo", "--no-such-option"],
        ["no-such-command"],
    ],
    ids=" ".join,
)
def test_bad_arguments_are_refused_at_once(arguments, capsys):
    with pytest.raises(SystemExit) as left:
        main(arguments)
    assert left.value.code == 2
    assert "error:" in capsys.readouterr().err


def test_no_command_prints_help(capsys):
    assert main([]) == 0
    printed = capsys.readouterr().out
    assert "demo" in printed
    assert "bench" in printed


def test_cflags(capsys):
    assert main(["--cflags"]) == 0
    assert capsys.readouterr().out.strip() == f"-I{fastconv.get_include()}"


@pytest.mark.parametrize(
    ("option", "file"),
    [
        ("include", "fastconv.h"),
        ("cmakedir", "fastconv-config.cmake"),
        ("pkgconfigdir", "fastconv.pc"),
    ],
)
def test_folders_for_embedders(capsys, option, file):
    assert main([f"--{option}"]) == 0
    folder = Path(capsys.readouterr().out.rstrip("\n"))
    assert folder.is_absolute()
    assert (folder / file).is_file()


def test_version(capsys):
    with pytest.raises(SystemExit):
        main(["--version"])
    assert capsys.readouterr().out.strip() == f"fastconv {fastconv.__version__}"


def test_a_missing_package_is_named_with_its_extra(monkeypatch):
    for name in [name for name in sys.modules if name.startswith("fastconv.demo")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "sklearn", None)
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(SystemExit, match=re.escape('pip install "fastconv[demo]"')):
        main(["demo"])


def test_bench_hands_over_its_arguments(monkeypatch):
    seen = []

    class Benchmarks:
        @staticmethod
        def main(argv):
            seen.append(argv)
            return 3

    monkeypatch.setitem(sys.modules, "fastconv.benchmarks", Benchmarks)
    assert main(["bench", "--layers", "resnet50", "-h", "more"]) == 3
    assert seen == [["--layers", "resnet50", "-h", "more"]]
