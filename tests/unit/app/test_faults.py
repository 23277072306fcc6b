import pytest

gr = pytest.importorskip("gradio", reason="vqgen[app] is not installed")

from vqgen.app.faults import plain_errors  # noqa: E402
from vqgen.errors import DataError  # noqa: E402


def fail(error):
    def act():
        raise error

    return plain_errors(act)


def test_error_of_the_user_is_its_sentence_without_html():
    with pytest.raises(gr.Error) as caught:
        fail(DataError("'<img onerror=a>': is <b>not</b> a \x1b[31mpicture"))()
    assert caught.value.message == "'&lt;img onerror=a&gt;': is &lt;b&gt;not&lt;/b&gt; a \\x1b[31mpicture"
    assert not caught.value.print_exception


def test_fault_is_one_plain_line_and_its_traceback_stays_on_the_server(capsys):
    with pytest.raises(gr.Error) as caught:
        fail(ZeroDivisionError("secret path"))()
    assert caught.value.message.startswith("A fault of vqgen;")
    assert "ZeroDivisionError: secret path" in capsys.readouterr().err


def test_errors_of_a_generator_are_plain_too():
    def act():
        yield 1
        raise DataError("no")

    items = plain_errors(act)()
    assert next(items) == 1
    with pytest.raises(gr.Error, match="no"):
        next(items)


def test_error_of_gradio_passes():
    with pytest.raises(gr.Error, match="own"):
        fail(gr.Error("own"))()


def test_function_keeps_its_signature():
    def act(seed: int = 3) -> int:
        return seed

    assert plain_errors(act).__name__ == "act"
    assert plain_errors(act)(4) == 4
