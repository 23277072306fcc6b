"""Hooks of mkdocs: the generated references, files of the repository inside pages, links that leave the pages.

A page asks for generated text by a comment on a line of its own:

    <!-- commands -->           a section for each command, from its argument parser
    <!-- recipe -->             a table for each section of a recipe, from its pydantic model
    <!-- include: PATH -->      a Markdown file of the repository, without its title

The comments do not show in the repository, so each of these pages also names its source.
"""

import argparse
import posixpath
import re
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

ROOT = Path(__file__).resolve().parent.parent

PICTURES = {
    f"images/{name}-samples.png": f"checkpoints/pretrained/{name}/samples.png" for name in ("digits", "fashion-mnist")
}
"""Address in the site -> file of the repository."""

_COMMENT = re.compile(r"^<!-- (?P<name>[a-z]+)(?:: (?P<path>\S+))? -->$", re.MULTILINE)
_LINK = re.compile(r"(?P<image>!?)\[(?P<text>[^\]]*)\]\((?P<target>[^)\s#]+)(?P<anchor>#[^)\s]*)?\)")


def on_files(files: Any, config: Any) -> Any:
    """Adds the pictures that lie outside docs/ to the site."""
    from mkdocs.structure.files import File

    for address, source in PICTURES.items():
        files.append(File.generated(config, address, abs_src_path=str(ROOT / source)))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Fills in the generated text of a page, and mends links that leave docs/."""
    return mend_links(fill(markdown), page.file.src_uri)


def fill(markdown: str) -> str:
    """Replaces the comments of a page with generated text."""
    makers: dict[str, Callable[[str], str]] = {"commands": _commands, "recipe": _recipe, "include": _included}

    def replace(found: re.Match[str]) -> str:
        maker = makers.get(found["name"])
        return found[0] if maker is None else maker(found["path"] or "")

    return _COMMENT.sub(replace, markdown)


def mend_links(markdown: str, page: str) -> str:
    """Rewrites links to files of the repository: pictures to their address in the site, others to plain text.

    Args:
        markdown: Text of the page.
        page: Path of the page below docs/.
    """
    folder = posixpath.dirname(page)

    def replace(found: re.Match[str]) -> str:
        if ":" in found["target"]:
            return found[0]
        inside_docs = posixpath.normpath(posixpath.join(folder, found["target"]))
        if not inside_docs.startswith("../"):
            return found[0]
        source = inside_docs.removeprefix("../")
        for address, picture in PICTURES.items():
            if source == picture:
                return f"![{found['text']}]({posixpath.relpath(address, folder or '.')})"
        return found["text"]

    return _LINK.sub(replace, markdown)


def _included(path: str) -> str:
    text = (ROOT / path).read_text(encoding="utf-8")
    return text.partition("\n")[2] if text.startswith("# ") else text


# Commands


def _commands(_: str) -> str:
    from vqgen.cli import COMMANDS

    return "\n".join(_command(name, text) for name, text in COMMANDS.items())


def _command(name: str, text: str) -> str:
    """Returns the section of one command. `vqgen.cli` builds its parser in the same way."""
    module = import_module(f"vqgen.commands.{name.replace('-', '_')}")
    parser = argparse.ArgumentParser(prog=f"vqgen {name}", description=f"{text}.", allow_abbrev=False)
    module.add_arguments(parser)
    return _parser_section(parser, "##")


def _parser_section(parser: argparse.ArgumentParser, heading: str) -> str:
    """Returns the section of a command, or of an act of one; a command has its acts in sections below it."""
    actions = [action for action in parser._actions if not isinstance(action, argparse._HelpAction)]
    positionals = [_value(action) for action in actions if not action.option_strings]
    options = any(action.option_strings for action in actions)
    usage = " ".join([parser.prog, *positionals, *(["[options]"] if options else [])])
    text = parser.description or ""
    lines = [f"{heading} {parser.prog}", "", f"{text[:1].upper()}{text[1:]}", "", f"    {usage}", ""]
    if actions:
        lines += ["| argument | meaning |", "|---|---|"]
        lines += [f"| {_shown(action)} | {_cell(_help(action))} |" for action in actions]
    acts = [
        act for action in actions if isinstance(action, argparse._SubParsersAction) for act in action.choices.items()
    ]
    sections = [_parser_section(own, f"{heading}#") for _, own in acts]
    return "\n".join([*lines, "", _epilog(parser), "", *sections])


def _epilog(parser: argparse.ArgumentParser) -> str:
    """Returns the text after the arguments: in a block if it is laid out, or else as a paragraph."""
    text = parser.epilog or ""
    is_laid_out = parser.formatter_class is argparse.RawDescriptionHelpFormatter
    return f"```text\n{text.strip()}\n```" if text and is_laid_out else text


def _shown(action: argparse.Action) -> str:
    """Returns an argument as a user types it."""
    value = _value(action)
    if not action.option_strings:
        return f"`{value}`"
    names = ", ".join(f"`{name}`" for name in action.option_strings)
    return f"{names} `{value}`" if value else names


def _value(action: argparse.Action) -> str:
    """Returns the placeholder of an argument's value; empty for a flag."""
    if action.nargs == 0:
        return ""
    name = action.metavar or (_choices(action) if action.choices else action.dest.upper())
    return f"{name} ..." if action.nargs in ("+", "*") else str(name)


def _choices(action: argparse.Action) -> str:
    return "{" + ",".join(str(choice) for choice in action.choices or ()) + "}"


def _help(action: argparse.Action) -> str:
    text = (action.help or "") % {**vars(action), "prog": "vqgen"}
    return f"{text} (required)" if action.required and action.option_strings else text


# Recipe


def _recipe(_: str) -> str:
    from vqgen import config

    sections: dict[str, tuple[str, type]] = {
        "The top of the file": ("name", config.Recipe),
        "`[data]`": ("data", config.DataConfig),
        "`[vqvae]`": ("vqvae", config.VQVAESection),
        "`[vqvae.losses]`, `[autoencoder.losses]`": ("vqvae.losses", config.LossSettings),
        "`[vqvae.quantizer]`": ("vqvae.quantizer", config.QuantizerSettings),
        "`[[priors]]`": ("priors.0", config.PriorSection),
        "`[classifier]`": ("classifier", config.ClassifierSection),
        "`[autoencoder]`": ("autoencoder", config.AutoencoderSection),
        "`[generate]`": ("generate", config.GenerateConfig),
        "`[vqvae.train]`, `[priors.train]`, `[classifier.train]`, `[autoencoder.train]`": (
            "vqvae.train",
            config.TrainConfig,
        ),
    }
    return "\n".join(_section(title, prefix, model) for title, (prefix, model) in sections.items())


def _section(title: str, prefix: str, model: Any) -> str:
    lines = [f"## {title}", "", _first_line(model), "", "| field | default | allowed | meaning |", "|---|---|---|---|"]
    for name, info in model.model_fields.items():
        if _is_section(info.annotation):
            continue
        runtime = isinstance(info.json_schema_extra, dict) and info.json_schema_extra.get("runtime")
        meaning = f"{info.description or ''}{' Changes no result.' if runtime else ''}"
        lines.append(f"| `{name}` | {_default(info)} | {_allowed(info)} | {_cell(meaning)} |")
    example = next(iter(model.model_fields)) if prefix == "name" else f"{prefix}.{_example(model)}"
    return "\n".join([*lines, "", f"On the command line: `--{example.replace('_', '-')} VALUE`.", ""])


def _example(model: Any) -> str:
    """Returns the name of the first field of a section that is a number."""
    return next(name for name, info in model.model_fields.items() if info.annotation in (int, float))


def _first_line(model: Any) -> str:
    return (model.__doc__ or "").strip().partition("\n\n")[0].replace("\n", " ")


def _is_section(annotation: Any) -> bool:
    from vqgen.config.base import Config

    parts = (annotation, *get_args(annotation))
    return any(isinstance(part, type) and issubclass(part, Config) for part in parts)


def _default(info: Any) -> str:
    if info.is_required():
        return "required"
    return "none" if info.default is None else f"`{_toml(info.default)}`"


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return f"[{', '.join(_toml(part) for part in value)}]"
    return f'"{value}"' if isinstance(value, str) else f"{value:g}" if isinstance(value, float) else str(value)


def _allowed(info: Any) -> str:
    """Describes the values of a field in words."""
    words = list(_kinds(info.annotation))
    signs = {"gt": "above", "ge": "at least", "lt": "below", "le": "at most", "multiple_of": "a multiple of"}
    for constraint in info.metadata:
        for attribute, sign in signs.items():
            bound = getattr(constraint, attribute, None)
            if bound is not None:
                words.append(f"{sign} {bound:g}")
    return ", ".join(words)


def _kinds(annotation: Any) -> Iterator[str]:
    names = {int: "integer", float: "number", str: "text", bool: "`true` or `false`"}
    origin = get_origin(annotation)
    if origin is Literal:
        yield " or ".join(f"`{_toml(choice)}`" for choice in get_args(annotation))
    elif origin is tuple:
        member = get_args(annotation)[0]
        yield "list of integers" if member is int else f"list of {' or '.join(_kinds(member))}"
    elif annotation in names:
        yield names[annotation]
    else:
        kinds = [kind for part in get_args(annotation) if part is not type(None) for kind in _kinds(part)]
        yield " or ".join(kinds)


def _cell(text: str) -> str:
    """Returns the text of a table's cell: one line, with `|` and `<` escaped."""
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")
