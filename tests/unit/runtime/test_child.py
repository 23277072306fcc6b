import io
import pickle
import time

from stand_in_jobs import refuse, talk, train

from vqgen.errors import DataError
from vqgen.runtime.child import (
    Began,
    Failed,
    Finished,
    Printed,
    Refused,
    Stopped,
    Warned,
    load_message,
    main,
)
from vqgen.runtime.fresh_python import FreshPython
from vqgen.runtime.progress import ProgressReport


def answers(function, *arguments, end=True, after=None):
    """Runs a child, and returns its messages and its exit code. Its stdin ends once the file `after` exists."""
    process = FreshPython(main, {})
    if function is not None:
        pickle.dump((function, arguments), process.stdin)
    process.stdin.flush()
    latest = time.monotonic() + 60
    while after is not None and not after.exists():
        assert time.monotonic() < latest
        time.sleep(0.01)
    if end:
        process.stdin.close()
    messages = list(iter(lambda: load_message(process.stdout), None))
    process.stdin.close()
    process.stdout.close()
    return messages, process.wait()


def test_messages_tell_the_begin_the_progress_the_texts_and_the_outcome(capfd):
    messages, code = answers(talk, "prior-top", 4, end=False)
    assert code == 0
    assert messages[0] == Began()
    assert messages[1] == Printed("prior-top begins")
    assert messages[2] == ProgressReport(4, "prior-top", "step", start=1, done=1)
    assert messages[-5] == ProgressReport(4, "prior-top", "step", 1, 4, {"loss": 1 / 3}, is_over=True)
    assert messages[-4:] == [Warned("prior-top is old"), Printed("prior-top"), Printed("ends"), Finished()]
    assert "print of a library" in capfd.readouterr().err


def test_end_of_stdin_stops_the_job(tmp_path):
    messages, code = answers(train, tmp_path, after=tmp_path / "steps")
    assert (messages, code) == ([Began(), Stopped()], 0)
    assert (tmp_path / "saved").read_text() == (tmp_path / "steps").read_text()


def test_error_of_the_user_arrives_as_it_is():
    messages, code = answers(refuse, "broken", end=False)
    assert code == 0
    (refused,) = messages[1:]
    assert isinstance(refused, Refused)
    assert isinstance(refused.error, DataError)
    assert (str(refused.error), refused.error.alike) == ("broken", False)


def test_parent_that_ends_before_it_sends_a_job_ends_the_child():
    messages, code = answers(None)
    assert code == 0
    assert [type(message) for message in messages] == [Failed]


def test_messages_are_read_up_to_the_end_or_a_cut():
    stream = pickle.dumps(Began()) + pickle.dumps(Printed("text"))
    file = io.BytesIO(stream)
    assert [load_message(file) for _ in range(3)] == [Began(), Printed("text"), None]
    file = io.BytesIO(stream[:-3])
    assert [load_message(file) for _ in range(2)] == [Began(), None]


class _Unreadable(DataError):
    def __init__(self, one: str, other: str) -> None:
        super().__init__(f"{one} {other}")


def test_message_that_cannot_be_read_is_a_failure():
    file = io.BytesIO(pickle.dumps(Refused(_Unreadable("a", "b"))))
    failed = load_message(file)
    assert isinstance(failed, Failed)
    assert "missing 1 required positional argument" in failed.traceback
