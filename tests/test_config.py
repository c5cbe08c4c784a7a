"""What `show_config` and `get_include` tell."""

import importlib.metadata
import re
import sys
from pathlib import Path

import pytest
from helpers import run_python

import fastconv
from fastconv import _kernels, config, threads


def test_version_is_the_one_of_the_distribution():
    assert fastconv.__version__ == importlib.metadata.version("fastconv")


def test_dicts_say_what_the_modules_say():
    found = fastconv.show_config(mode="dicts")
    assert list(found) == ["versions", "build", "cpu", "algorithm", "threads"]
    assert found["versions"]["fastconv"] == fastconv.__version__
    assert found["build"]["OpenMP"] is threads.has_openmp()
    assert found["build"]["compiler"]
    assert re.fullmatch(r"\d+\.\d+\.\d+", found["build"]["Cython"])
    assert found["cpu"]["instruction sets"] == _kernels.available()
    assert found["cpu"]["in use"] == _kernels.current()
    assert found["threads"]["at most"] == fastconv.get_num_threads()


def test_printed_is_the_same_and_returns_none(capsys):
    assert fastconv.show_config() is None
    printed = capsys.readouterr().out
    for section, values in fastconv.show_config(mode="dicts").items():
        assert f"{section}:" in printed
        for name in values:
            assert re.search(rf"^  {re.escape(name)} +\S", printed, re.MULTILINE), name
    for isa in _kernels.available():
        assert isa in printed


def test_a_build_with_one_thread_says_so(capsys, monkeypatch):
    monkeypatch.setattr(threads, "has_openmp", lambda: False)
    fastconv.show_config()
    assert re.search(r"OpenMP +no: .*one thread$", capsys.readouterr().out, re.MULTILINE)


def test_another_mode_is_refused():
    with pytest.raises(ValueError, match=r'mode must be "stdout" or "dicts", got \'json\''):
        fastconv.show_config(mode="json")


def test_the_environment_is_shown():
    code = "import fastconv; fastconv.show_config()"
    printed = run_python(code, FASTCONV_ISA="portable", FASTCONV_NUM_THREADS="1")
    assert re.search(r"in use +portable$", printed, re.MULTILINE)
    assert re.search(r"FASTCONV_NUM_THREADS +1$", printed, re.MULTILINE)
    assert re.search(r"at most +1$", printed, re.MULTILINE)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux lists what a process has loaded")
def test_openmp_runtime_is_found_where_there_is_one():
    runtimes = fastconv.show_config(mode="dicts")["threads"]["OpenMP runtime"]
    assert bool(runtimes) >= threads.has_openmp()
    assert all(Path(runtime).is_file() for runtime in runtimes)


def test_no_runtime_is_told_where_the_system_does_not(monkeypatch):
    monkeypatch.setattr(config.sys, "platform", "darwin")
    assert fastconv.show_config(mode="dicts")["threads"]["OpenMP runtime"] is None


def test_include_folder_has_the_declarations():
    folder = Path(fastconv.get_include())
    assert folder.is_absolute()
    assert "fastconv_import" in (folder / "fastconv.h").read_text(encoding="utf-8")
