from importlib import import_module

import pytest

from vqgen import cli
from vqgen.commands import archive


@pytest.mark.parametrize("name", archive.ACTS)
def test_every_act_has_a_module_and_a_help(name, capsys):
    module = import_module(f"vqgen.commands.archive_{name}")
    assert module.__doc__.startswith(f"`vqgen archive {name}`: ")
    with pytest.raises(SystemExit) as stop:
        cli.main(["archive", name, "--help"])
    assert stop.value.code == 0
    printed = capsys.readouterr().out
    assert printed.startswith(f"usage: vqgen archive {name} ")
    assert "FILE" in printed


@pytest.mark.parametrize(
    ("words", "part"), [([], "ACT"), (["lst"], "invalid choice: 'lst'"), (["extract", "x.vqga"], "NAME, --checkpoint")]
)
def test_wrong_words_are_one_line_with_the_command_that_helps(capsys, words, part):
    with pytest.raises(SystemExit) as stop:
        cli.main(["archive", *words])
    assert stop.value.code == 2
    message, usage = capsys.readouterr().err.splitlines()
    assert message.startswith("vqgen: ") and part in message
    assert usage.startswith("`vqgen archive") and usage.endswith("--help` shows the usage")
