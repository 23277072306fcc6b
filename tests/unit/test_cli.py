import argparse
import io
import logging
import os
import signal
import subprocess
import sys
import warnings
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest
import torch

from vqgen import __version__, cli
from vqgen.commands.arguments import add_compute_arguments
from vqgen.errors import ConfigError, DataError, VQGenError, VQGenWarning


@pytest.fixture(autouse=True)
def restored_process(monkeypatch):
    """A process without a launcher, which finds its handlers of signals and of the logger as they were."""
    for name in ("RANK", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    handlers = logging.getLogger("vqgen").handlers
    yield
    for number, handler in before.items():
        assert signal.getsignal(number) is handler
    assert logging.getLogger("vqgen").handlers is handlers


@pytest.fixture
def command(monkeypatch):
    """Registers a command `try` that calls a function, and returns the arguments to run it with."""

    def register(act, **attributes) -> list[str]:
        module = ModuleType("vqgen.commands.try")
        module.add_arguments = lambda parser: parser.add_argument("recipe", nargs="?")
        module.run = act
        vars(module).update(attributes)
        monkeypatch.setitem(sys.modules, "vqgen.commands.try", module)
        monkeypatch.setitem(cli.COMMANDS, "try", "try something")
        return ["try"]

    return register


def raising(error: BaseException):
    def act(arguments: argparse.Namespace) -> int:
        raise error

    return act


# the list of commands


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_every_command_has_a_module_that_declares_and_runs_it(name):
    module = import_module(f"vqgen.commands.{name.replace('-', '_')}")
    assert module.__doc__.startswith(f"`vqgen {name}`:")
    parser = argparse.ArgumentParser(prog=f"vqgen {name}", allow_abbrev=False)
    module.add_arguments(parser)
    assert f"vqgen {name}" in parser.format_help()
    assert callable(module.run)


def test_every_module_with_a_run_is_a_command():
    folder = Path(cli.__file__).parent / "commands"
    names = {path.stem.replace("_", "-") for path in folder.glob("*.py") if path.stem != "__init__"}
    runs = {name for name in names if hasattr(import_module(f"vqgen.commands.{name.replace('-', '_')}"), "run")}
    assert runs == set(cli.COMMANDS)


def test_help_lists_every_command_with_its_description(capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(["--help"])
    assert stop.value.code == 0
    out = capsys.readouterr().out
    for name, text in cli.COMMANDS.items():
        assert any(line.split(maxsplit=1) == [name, text] for line in out.splitlines())


def test_version_is_the_package_version(capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(["--version"])
    assert stop.value.code == 0
    assert capsys.readouterr().out == f"vqgen {__version__}\n"


def test_unknown_command_is_refused_with_the_nearest_ones(capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(["genrate"])
    assert stop.value.code == 2
    err = capsys.readouterr().err
    assert err.startswith("vqgen: command: should be one of the commands of vqgen, found 'genrate'; the nearest are:")
    assert "generate" in err.splitlines()[0]


def test_unknown_option_is_refused_with_the_way_to_the_usage(capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(["recipes", "--nonsense"])
    assert stop.value.code == 2
    assert "`vqgen recipes --help` shows the usage" in capsys.readouterr().err


# exit codes


@pytest.mark.parametrize("code", [0, 1])
def test_exit_code_of_a_command_is_passed_on(command, code):
    assert cli.main(command(lambda arguments: code)) == code


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (ConfigError("seed: should be at least 0, found -1"), "seed: should be at least 0, found -1"),
        (DataError("x.png: is damaged"), "x.png: is damaged"),
        (PermissionError(13, "Permission denied", "/x/y"), "/x/y: Permission denied; nothing that was there before"),
        (OSError("no space"), "no space; nothing that was there before has changed"),
    ],
)
def test_error_that_a_user_can_mend_is_code_2_without_a_traceback(command, capsys, error, message):
    assert cli.main(command(raising(error))) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith(f"vqgen: {message}")
    assert len(captured.err.splitlines()) == 1
    assert captured.out == ""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_is_128_and_its_number(command, capsys, number):
    assert cli.main(command(lambda arguments: os.kill(os.getpid(), number) or 0)) == 128 + number
    assert capsys.readouterr().err == "vqgen: stopped; run the same command again to go on\n"


@pytest.mark.parametrize("fault", [RuntimeError("shapes differ"), KeyError("top"), RecursionError("too deep")])
def test_fault_of_vqgen_has_a_code_of_its_own_and_keeps_its_traceback(command, capsys, fault):
    assert cli.main(command(raising(fault))) == 70  # 1 would mean that some files could not be read
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "Traceback (most recent call last):"
    assert lines[-2].startswith(f"{type(fault).__name__}: ")
    assert lines[-1].startswith("vqgen: a fault of vqgen; please report it")


def test_error_that_nobody_reads_keeps_its_exit_code(command, monkeypatch):
    class Gone(io.StringIO):
        def write(self, text):
            raise BrokenPipeError

    monkeypatch.setattr(sys, "stderr", Gone())
    assert cli.main(command(raising(ConfigError("seed: wrong")))) == 2


def test_error_of_a_command_matters_more_than_one_of_its_output(command, monkeypatch, capsys):
    class Full(io.StringIO):
        def flush(self):
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(sys, "stdout", Full())
    assert cli.main(command(raising(ConfigError("seed: wrong")))) == 2
    assert cli.main(command(lambda arguments: 0)) == 2
    assert [line.split(";")[0] for line in capsys.readouterr().err.splitlines()] == [
        "vqgen: seed: wrong", "vqgen: stdout: No space left on device",
    ]  # fmt: skip


# processes of a launch


@pytest.mark.parametrize("variables", [{"RANK": "1"}, {"RANK": "1", "WORLD_SIZE": "1"}, {"RANK": "x"}])
def test_rank_without_other_processes_has_no_effect(command, capsys, monkeypatch, variables):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert cli.main(command(raising(ConfigError("seed: wrong")))) == 2
    assert capsys.readouterr().err == "vqgen: seed: wrong\n"


def test_error_that_all_processes_raise_is_printed_by_the_first_one(command, capsys, monkeypatch):
    monkeypatch.setattr(cli, "_HEAD_START", 0.0)
    monkeypatch.setenv("WORLD_SIZE", "2")
    for rank, printed in (("0", "vqgen: seed: wrong\n"), ("1", "")):
        monkeypatch.setenv("RANK", rank)
        assert cli.main(command(raising(ConfigError("seed: wrong")))) == 2
        assert capsys.readouterr().err == printed


def test_error_of_one_process_is_printed_with_its_number(command, capsys, monkeypatch):
    monkeypatch.setenv("RANK", "3")
    monkeypatch.setenv("WORLD_SIZE", "4")
    error = VQGenError("x.png: is damaged")
    error.alike = False
    assert cli.main(command(raising(error))) == 2
    assert capsys.readouterr().err == "vqgen, process 3: x.png: is damaged\n"


def test_lost_process_is_named_and_code_2(command, capsys, monkeypatch):
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "1")
    assert cli.main(command(raising(RuntimeError("Connection closed by peer")))) == 2
    assert "another process of this launch has stopped" in capsys.readouterr().err


def test_device_without_float64_is_named_in_one_line(command, capsys):
    error = TypeError("Cannot convert a MPS Tensor to float64 dtype as the MPS framework doesn't support float64.")
    assert cli.main(command(raising(error))) == 2
    assert capsys.readouterr().err == (
        "vqgen: device: should have float64, which this command computes in, found mps; use --device cpu\n"
    )


def test_closed_connection_without_a_launch_keeps_its_traceback(command, capsys):
    assert cli.main(command(raising(RuntimeError("Connection closed by peer")))) == 70
    assert "RuntimeError: Connection closed by peer" in capsys.readouterr().err


@pytest.mark.parametrize(("rank", "printed"), [("0", "vqgen: data: gone\n"), ("1", "")])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_during_the_report_of_an_error_changes_neither_report_nor_code(
    command, capsys, monkeypatch, rank, printed, number
):
    reports = []

    def complain(*words, **options):
        reports.append(words)
        os.kill(os.getpid(), number)
        report(*words, **options)

    report = cli._complain
    monkeypatch.setenv("RANK", rank)
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr(cli, "_complain", complain)
    monkeypatch.setattr(cli, "_HEAD_START", 0.0)
    error = DataError("data: gone")
    error.alike = True
    assert cli.main(command(raising(error))) == 2
    assert len(reports) == 1
    assert capsys.readouterr().err == printed


# warnings and options


@pytest.mark.filterwarnings("default")  # pytest turns warnings into errors
def test_warnings_of_vqgen_are_printed_and_others_are_not(command, capsys):
    def act(arguments: argparse.Namespace) -> int:
        warnings.warn("hiding_keeps is now called rescale", VQGenWarning, stacklevel=2)
        warnings.warn("something about an internal", UserWarning, stacklevel=2)
        logging.getLogger("vqgen").warning("the disk is slow")
        return 0

    assert cli.main(command(act)) == 0
    assert capsys.readouterr().err.splitlines() == [
        "vqgen: warning: hiding_keeps is now called rescale",
        "vqgen: warning: the disk is slow",
    ]


def test_unknown_options_become_overrides_of_a_command_that_takes_a_recipe(command):
    seen = []
    words = command(lambda arguments: seen.append(arguments) or 0, TAKES_OVERRIDES=True)
    assert cli.main([*words, "digits", "--vqvae.codebook-size", "3"]) == 0
    assert seen[0].overrides == ["--vqvae.codebook-size", "3"]


def test_override_before_the_recipe_is_refused(command, capsys):
    words = command(lambda arguments: 0, TAKES_OVERRIDES=True)
    with pytest.raises(SystemExit) as stop:
        cli.main([*words, "--seed", "7", "digits"])
    assert stop.value.code == 2
    assert "RECIPE: should come before --seed" in capsys.readouterr().err


def test_command_line_only_parses_and_prints():
    """Neither torch nor a room that computes is imported before a command runs."""
    program = (
        "import sys, vqgen.cli; print(*sorted(name for name in sys.modules if name.startswith(('torch', 'vqgen'))))"
    )
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert found.stdout.split() == [
        "vqgen",
        "vqgen.cli",
        "vqgen.errors",
        "vqgen.runtime",
        "vqgen.runtime.ambient",
        "vqgen.runtime.host",
        "vqgen.runtime.launch",
        "vqgen.runtime.process_start",
        "vqgen.runtime.signals",
        "vqgen.runtime.streams",
        "vqgen.storage",
        "vqgen.storage.home",
        "vqgen.storage.names",
        "vqgen.storage.refusals",
    ]


def test_threads_are_set_while_the_command_runs(command):
    before = torch.get_num_threads()
    found = []
    words = command(lambda arguments: found.append(torch.get_num_threads()) or 0)
    sys.modules["vqgen.commands.try"].add_arguments = add_compute_arguments
    assert cli.main([*words, "--threads", "3"]) == 0
    assert found == [3]
    assert torch.get_num_threads() == before


@pytest.mark.parametrize("value", ["0", "-1", "1.5", "two", ""])
def test_wrong_number_of_threads_is_refused(command, capsys, value):
    words = command(lambda arguments: 0)
    sys.modules["vqgen.commands.try"].add_arguments = add_compute_arguments
    with pytest.raises(SystemExit) as stop:
        cli.main([*words, f"--threads={value}"])
    assert stop.value.code == 2
    assert f"should be a number of threads, at least 1, found {value!r}" in capsys.readouterr().err
