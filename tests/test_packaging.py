import ast
import re
import subprocess
import sys
import tomllib
import zipfile
from email import message_from_bytes
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
CONDA_NAMES = {"torch": "pytorch", "opencv-python-headless": "py-opencv"}
# Before 1.5.7 the wheel of grad-cam brings the other build of OpenCV; conda has one build.
CONDA_BOUNDS = {"grad-cam": ">=1.5.5"}
# Modules that bear another name than what brings them.
BRINGS = {
    "IPython": "ipython", "PIL": "pillow", "cv2": "opencv-python-headless",
    "jupyter_client": "jupyter-client", "pytorch_grad_cam": "grad-cam", "sklearn": "scikit-learn",
    "yaml": "pyyaml",
}  # fmt: skip


def requirements(lines):
    pairs = (re.match(r"([A-Za-z0-9_-]+)(.*)", line).groups() for line in lines)
    return {CONDA_NAMES.get(name, name): bounds for name, bounds in pairs}


def test_environment_yml_is_the_list_of_pyproject():
    conda = yaml.safe_load((ROOT / "environment.yml").read_text())
    assert conda["channels"] == ["conda-forge", "nodefaults"]
    theirs = requirements(conda["dependencies"])
    assert theirs.pop("python").startswith(PROJECT["requires-python"])
    theirs.pop("pip")
    assert theirs == requirements(PROJECT["dependencies"]) | CONDA_BOUNDS


def imported(folders):
    """Name the modules outside the standard library that files import, by their first part."""
    paths = [path for folder in folders for path in (ROOT / folder).rglob("*.py")]
    names = set()
    for path in paths:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                names.add(node.module.partition(".")[0])
    here = {"mmagga"} | {name for path in paths for name in (path.stem, path.parent.name)}
    return names - set(sys.stdlib_module_names) - here


@pytest.mark.parametrize(
    ("folders", "extras"),
    [(["mmagga"], ["onnx", "tensorboard"]), (["tests", "benchmarks", "notebooks"], ["dev"])],
)
def test_what_is_imported_is_declared(folders, extras):
    lines = [*PROJECT["dependencies"]]
    for extra in extras:
        lines += PROJECT["optional-dependencies"][extra]
    declared = {Requirement(line).name for line in lines}
    assert {BRINGS.get(name, name) for name in imported(folders)} <= declared


def test_a_pin_that_cannot_be_had_is_an_error():
    """Versions that nobody chose would be installed without a word."""
    make = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert make.count("pip install") == 1
    assert 'make VERSIONS= $(MAKECMDGOALS)"; exit 1' in make


def test_constraints_pin_every_dependency_within_its_bounds():
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = dict(line.split("==") for line in lines if not line.startswith("#"))
    assert list(pins) == sorted(pins)
    assert not [pin for pin in pins.values() if "+" in pin], "builds for one device"
    for line in (*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["dev"]):
        wanted = Requirement(line)
        assert wanted.specifier.contains(pins[wanted.name]), line


@pytest.mark.parametrize(
    "call",
    ["", "main(['--help'])", "main(['--version'])", "main(['status', '--runs', 'nowhere'])"],
)
def test_what_needs_no_torch_does_not_import_it(call):
    code = (
        "import sys, mmagga.config\n"
        "from mmagga.__main__ import main\n"
        f"{call}\n"
        "print(sorted({'torch', 'numpy', 'matplotlib', 'pandas'} & set(sys.modules)))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.endswith("[]\n")


def test_version_is_the_same_everywhere():
    import mmagga

    assert PROJECT["version"] == mmagga.__version__
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == mmagga.__version__
    assert citation["preferred-citation"]["doi"] == "10.1109/TCSVT.2022.3183011"
    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.search(r"^## (\S+)", changes, re.MULTILINE)[1] == mmagga.__version__


# --- the wheel ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """What `pip install .` installs, as a zip file."""
    folder = tmp_path_factory.mktemp("wheel")
    words = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(words, cwd=ROOT, check=True, capture_output=True)
    (path,) = folder.glob("mmagga-*-py3-none-any.whl")
    with zipfile.ZipFile(path) as file:
        yield file


def test_the_wheel_has_the_package_and_nothing_else(wheel):
    files = {path for path in (ROOT / "mmagga").rglob("*") if path.is_file()}
    sources = {p.relative_to(ROOT).as_posix() for p in files if p.parent.name != "__pycache__"}
    installed = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert installed == sources
    assert {Path(name).suffix for name in installed} <= {
        ".py",
        ".html",
        ".css",
        ".js",
        ".typed",
        ".json",
        ".safetensors",
    }
    assert "mmagga/py.typed" in installed


def test_the_wheel_says_what_it_is(wheel):
    info = f"mmagga-{PROJECT['version']}.dist-info"
    metadata = message_from_bytes(wheel.read(f"{info}/METADATA"))
    assert metadata["Requires-Python"] == PROJECT["requires-python"]
    assert metadata["License-Expression"] == "MIT"
    assert "MIT License" in wheel.read(f"{info}/licenses/LICENSE").decode()
    needed = [line for line in metadata.get_all("Requires-Dist") if "extra ==" not in line]
    assert sorted(needed) == sorted(PROJECT["dependencies"])
    scripts = wheel.read(f"{info}/entry_points.txt").decode()
    assert "mmagga = mmagga.__main__:main" in scripts
