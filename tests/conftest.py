"""Fixtures and settings for all tests."""

import hypothesis
import pytest

import fastconv
import fastconv.reference

# The sweeps are for finding failures on any machine: no deadline, since a first call or a busy
# machine may be slow, and one fixed seed unless a developer asks for fresh examples with
# --hypothesis-profile=explore.
hypothesis.settings.register_profile(
    "suite", deadline=None, derandomize=True, max_examples=150, print_blob=True
)
hypothesis.settings.register_profile("explore", deadline=None, max_examples=2000, print_blob=True)
hypothesis.settings.load_profile("suite")


@pytest.fixture(params=["engine", "reference"], scope="session")
def api(request):
    """The public functions, and the same functions of the reference, which promise the same."""
    return fastconv if request.param == "engine" else fastconv.reference
