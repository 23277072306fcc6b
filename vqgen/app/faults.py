"""Errors on the page: the sentence of an error that the user can mend, and one plain line for a fault of vqgen."""

import functools
import inspect
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from html import escape
from typing import Any

import gradio as gr

from vqgen.errors import VQGenError
from vqgen.storage.names import shown_lines

_FAULT = "A fault of vqgen; the log of the server has its details. The page goes on."


def plain_errors(act: Callable[..., Any]) -> Callable[..., Any]:
    """Returns a function of the page, or a generator of it, whose errors are plain lines on the page."""
    if inspect.isgeneratorfunction(inspect.unwrap(act)):

        @functools.wraps(act)
        def generate(*values: Any, **named: Any) -> Any:
            with _as_lines():
                yield from act(*values, **named)

        return generate

    @functools.wraps(act)
    def call(*values: Any, **named: Any) -> Any:
        with _as_lines():
            return act(*values, **named)

    return call


@contextmanager
def _as_lines() -> Iterator[None]:
    try:
        yield
    except gr.Error:
        raise
    except VQGenError as error:
        # Gradio shows messages as HTML, and a message may quote a file's name.
        text = escape(shown_lines(str(error)), quote=False)
        raise gr.Error(text, title="Please change this", print_exception=False) from error
    except Exception as error:
        traceback.print_exc()
        raise gr.Error(_FAULT, title="Fault", print_exception=False) from error
