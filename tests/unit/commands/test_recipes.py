import argparse

from vqgen.commands import recipes
from vqgen.config import shipped_recipes


def test_every_recipe_has_a_line_with_its_description(capsys):
    assert recipes.run(argparse.Namespace()) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == list(shipped_recipes())
    assert all(line.endswith(".") and "#" not in line for line in lines)
