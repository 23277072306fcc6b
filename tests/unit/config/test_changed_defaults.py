import pytest

from vqgen.config import BaselineRecipe, Recipe
from vqgen.config.base import Config, added_field, is_new_behaviour
from vqgen.config.changed_defaults import changed_defaults, continued, with_behaviour_of_then


class Inner(Config):
    """A section."""

    plain: int = 0
    """A plain field."""
    same: int = added_field(1)
    """An added field whose default is the behaviour of before."""
    rules: int = added_field(2, before=1)
    """An added field with a new behaviour."""


class Outer(Config):
    """A recipe."""

    share: float = added_field(0.1, before=0.0)
    """An added field with a new behaviour."""
    inner: Inner = Inner()
    """A section."""
    other: Inner | None = None
    """A section that may be missing."""
    many: tuple[Inner, ...] = ()
    """A repeated section."""


def test_fields_with_another_default_are_found_below_every_section():
    assert dict(changed_defaults(Outer)) == {("share",): 0.0, ("inner", "rules"): 1, ("other", "rules"): 1}


@pytest.mark.parametrize("kind", [Recipe, BaselineRecipe])
def test_fields_of_recipes_are_found(kind):
    paths = {".".join(path) for path, _ in changed_defaults(kind)}
    assert "data.reading_rules" in paths
    assert ("vqvae.level_dropout" in paths) == (kind is Recipe)


def test_stored_document_gets_the_behaviour_of_then_where_it_is_silent():
    document = {"inner": {"plain": 3}}
    assert with_behaviour_of_then(document, Outer) == {"share": 0.0, "inner": {"plain": 3, "rules": 1}}
    assert document == {"inner": {"plain": 3}}
    spoken = {"share": 0.3, "inner": {"rules": 2}, "other": {"rules": 2}}
    assert with_behaviour_of_then(spoken, Outer) == spoken
    assert with_behaviour_of_then({"inner": 5}, Outer) == {"share": 0.0, "inner": 5}  # refused later


def test_recipe_follows_the_run_that_it_continues():
    saved = Outer(share=0.0, inner=Inner(rules=1, plain=7))
    document = continued(Outer(), saved, {}, [])
    assert Outer.model_validate(document) == Outer(share=0.0, inner=Inner(rules=1))  # a plain field is the recipe's
    assert continued(Outer(), Outer(), {}, []) == {}


@pytest.mark.parametrize("option", ["--inner.rules", "--inner.rules=2"])
def test_field_that_the_user_names_stays(option):
    saved = Outer(share=0.0, inner=Inner(rules=1))
    assert Outer.model_validate(continued(Outer(), saved, {}, [option, "2"])) == Outer(share=0.0)
    assert Outer.model_validate(continued(Outer(), saved, {"share": 0.1}, [])) == Outer(inner=Inner(rules=1))
    assert continued(Outer(), saved, {"share": 0.1, "inner": {"rules": 2}}, []) == {}


def test_option_with_dashes_names_a_field():
    class Dashed(Config):
        """A recipe."""

        long_name: int = added_field(2, before=1)
        """An added field with a new behaviour."""

    assert is_new_behaviour(Dashed, "long_name")
    assert continued(Dashed(), Dashed(long_name=1), {}, ["--long-name", "2"]) == {}


def test_section_that_one_of_the_recipes_lacks_is_left_alone():
    assert continued(Outer(other=Inner()), Outer(), {}, []) == {}
    assert continued(Outer(), Outer(other=Inner(rules=1)), {}, []) == {}
