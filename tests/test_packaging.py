import re
import subprocess
import sys
import tomllib
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[1]
CONDA_NAMES = {"torch": "pytorch"}


def requirements(lines):
    pairs = (re.match(r"([A-Za-z0-9_-]+)(.*)", line).groups() for line in lines)
    return {CONDA_NAMES.get(name, name): bounds for name, bounds in pairs}


def test_environment_yml_is_the_list_of_pyproject():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    conda = yaml.safe_load((ROOT / "environment.yml").read_text())
    assert conda["channels"] == ["conda-forge", "nodefaults"]
    theirs = requirements(conda["dependencies"])
    assert theirs.pop("python").startswith(project["requires-python"])
    theirs.pop("pip")
    assert theirs == requirements(project["dependencies"])


def test_importing_mmagga_is_light():
    code = (
        "import sys, mmagga, mmagga.config, mmagga.__main__\n"
        "print(sorted({'torch', 'numpy', 'matplotlib', 'pandas', 'tyro'} & set(sys.modules)))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


def test_version_is_said_once():
    import mmagga

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["version"] == mmagga.__version__
