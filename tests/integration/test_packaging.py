"""The wheel and the imports: recipes and types are in the wheel, and no module loads more than it needs."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from small_runs import ENVIRONMENT, run_installed

pytestmark = pytest.mark.slow

CHECKOUT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    pytest.importorskip("hatchling")
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "-q", "-w", folder, CHECKOUT]
    subprocess.run(command, check=True, capture_output=True, cwd=folder, timeout=120)
    return next(folder.glob("vqgen-*.whl"))


def test_wheel_contains_recipes_and_types(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    assert "vqgen/py.typed" in names
    for path in (CHECKOUT / "vqgen" / "reports" / "page" / "templates").iterdir():
        assert f"vqgen/reports/page/templates/{path.name}" in names
    for path in (CHECKOUT / "pipelines").rglob("*.toml"):
        assert f"vqgen/_pipelines/{path.relative_to(CHECKOUT / 'pipelines').as_posix()}" in names
    assert not [name for name in names if name.startswith(("tests/", "pipelines/", "checkpoints/"))]


@pytest.mark.slow
def test_wheel_works_away_from_the_checkout(wheel, tmp_path):
    unpacked = tmp_path / "site"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(unpacked)
    # A path that comes first hides the editable install.
    launcher = (sys.executable, "-m", "vqgen")
    finished = run_installed("recipes", launcher=launcher, cwd=tmp_path, PYTHONPATH=str(unpacked))
    assert finished.code == 0, finished.err
    assert "digits" in finished.out
    where = "import vqgen.config.loading as loading; print(loading.recipe_folder())"
    command = [sys.executable, "-c", where]
    variables = ENVIRONMENT | {"PYTHONPATH": str(unpacked)}
    found = subprocess.run(command, cwd=tmp_path, env=variables, capture_output=True, text=True, check=True).stdout
    assert Path(found.strip()) == unpacked / "vqgen" / "_pipelines"
    finished = run_installed("run", "digits", "--dry-run", launcher=launcher, cwd=tmp_path, PYTHONPATH=str(unpacked))
    assert finished.code == 0, finished.err


@pytest.mark.parametrize(
    "words", [["--help"], ["run", "--help"], ["plan", "--help"], ["generate", "--help"], ["recipes"], ["trian"]]
)
def test_command_without_need_of_torch_does_not_import_it(words):
    program = f"""
import sys
from vqgen.cli import main
try:
    main({words!r})
except SystemExit:
    pass
print("torch" in sys.modules, "accelerate" in sys.modules)
"""
    command = [sys.executable, "-c", program]
    finished = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, check=True)
    assert finished.stdout.splitlines()[-1] == "False False"


def test_names_of_the_package_load_on_first_use():
    program = """
import sys, vqgen
assert "torch" not in sys.modules
from vqgen import Recipe, CausalOrder
assert "torch" not in sys.modules
assert set(vqgen.__all__) <= set(dir(vqgen))
from vqgen import VQGenPipeline, VQVAE, PixelCNN, Codes
"""
    subprocess.run([sys.executable, "-c", program], env=ENVIRONMENT, check=True)


def test_generating_needs_no_torchvision():
    """Torchvision takes longer to load than torch, and would double the time to the first image."""
    program = """
import sys
import vqgen.commands.generate, vqgen.pipeline, vqgen.reports.samples, vqgen.pipeline.sharing
assert "torchvision" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", program], check=True, env=ENVIRONMENT, timeout=60)


@pytest.mark.parametrize(
    "program",
    ["from vqgen import VQGenPipeline; VQGenPipeline", "import vqgen.codec", "import vqgen.sampling"],
    ids=["pipeline", "codec", "sampling"],
)
def test_using_a_model_imports_nothing_that_trains_it(program):
    """A machine that only generates or compresses needs no Accelerate, and starts faster."""
    program += """
import sys
assert "torch" in sys.modules
training = ("accelerate", "vqgen.training", "vqgen.stages")
found = [name for name in sys.modules if name in training or name.startswith(tuple(f"{each}." for each in training))]
assert not found, found
"""
    subprocess.run([sys.executable, "-c", program], check=True, env=ENVIRONMENT, timeout=60)
