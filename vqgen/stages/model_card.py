"""The model card of a run: what the model is, what was measured on the way, how to use it."""

from collections.abc import Sequence

from vqgen.stages.bookkeeping import StageRecord


def figure_rows(records: Sequence[StageRecord]) -> list[str]:
    """A line of the card's table for each figure of these stages."""
    return [
        f"| {record.stage} | {name} | {value:.5g} |" for record in records for name, value in record.figures.items()
    ]


def model_card(name: str, what: str, source: str, labels: str, rows: Sequence[str], units: str, opening: str) -> str:
    """The text of the card.

    Args:
        name: Name of the run.
        what: A sentence that says what the model is.
        source: Where its images came from.
        labels: Their labels, in words.
        rows: What `figure_rows` gave.
        units: A sentence that says what the figures are measured in.
        opening: Two lines of Python, the second of which makes `pipe` from "path/to/this/folder".
    """
    table = "\n".join(["| stage | figure | value |", "|---|---|---|", *rows])
    return f"""# {name}

{what}

- Data: `{source}`; `split.json` says which of its images were held out.
- Labels: {labels}
- Recipe: `recipe.toml` beside this file.

## Measured in training

By `vqgen run recipe.toml`; validation figures are over the whole validation split.

{table}

{units}

## Use

```python
{opening}
images = pipe(images_per_label=4, seed=0).images
```
"""
