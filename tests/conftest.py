import os
import platform
from pathlib import Path

import pytest

if platform.machine() in ("x86_64", "AMD64"):
    # Read when torch starts. Numbers are compared in float32, also on CPUs with AMX.
    os.environ.setdefault("ATEN_CPU_CAPABILITY", "avx2")


@pytest.fixture(scope="session")
def real_data():
    """Real photographs, MARS's tables and published splits, where a developer has them."""
    folder = os.environ.get("MMAGGA_TEST_DATA")
    if folder is None:
        pytest.skip("no folder of real data: set MMAGGA_TEST_DATA to one")
    if not Path(folder).is_dir():
        pytest.fail(f"MMAGGA_TEST_DATA is {folder}, which is no folder")
    return Path(folder)


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    """The smallest rendered set, made once: read it, or copy it to change it."""
    from mmagga.data.synthetic import render

    return render(tmp_path_factory.mktemp("data") / "tiny", "tiny", workers=1, progress=False)


@pytest.fixture(scope="session", autouse=True)
def _cache_of_its_own(tmp_path_factory):
    """Indexes of test data do not go into the user's cache."""
    before = os.environ.get("MMAGGA_CACHE")
    os.environ["MMAGGA_CACHE"] = str(tmp_path_factory.mktemp("cache"))
    yield
    if before is None:
        del os.environ["MMAGGA_CACHE"]
    else:
        os.environ["MMAGGA_CACHE"] = before
