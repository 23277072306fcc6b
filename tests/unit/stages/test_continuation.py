from dataclasses import asdict

import pytest

from vqgen.config.lengths import Length
from vqgen.stages.continuation import Continuation, follow, source_of


@pytest.mark.parametrize("length", [Length(24), Length(1000, 2.5)])
def test_written_continuation_is_read_again(length):
    continuation = Continuation(24, length, 8, open=False)
    assert Continuation.read(asdict(continuation)) == continuation


@pytest.mark.parametrize("found", [{}, {"since": 1}, {"since": 1, "length": {"weeks": 2}}, {"colour": 1, "length": {}}])
def test_other_keys_are_no_continuation(found):
    with pytest.raises(TypeError):
        Continuation.read(found)


@pytest.mark.parametrize(
    ("changed", "continued", "answer"),
    [
        (set(), {"vqvae"}, False),
        ({"vqvae"}, {"vqvae"}, True),  # of the codes
        ({"vqvae", "codes"}, {"vqvae"}, True),  # of a prior
        ({"vqvae", "prior-top", "prior-bottom", "guide-top"}, {"vqvae"}, True),  # of the samples
        ({"prior-top"}, {"prior-top"}, True),
        ({"guide-top"}, {"prior-top"}, True),
        ({"prior-top", "guide-top"}, {"prior-top"}, True),
        ({"prior-top", "prior-bottom"}, {"prior-top"}, False),  # the other one changed for another reason
        ({"codes"}, {"vqvae"}, False),  # the codes were made again, by other copies of the images for example
        ({"vqvae", "images"}, {"vqvae"}, False),  # the pictures changed, too
        ({"vqvae", "classifier"}, {"vqvae"}, False),
        ({"autoencoder"}, {"autoencoder"}, True),
        ({"vqvae"}, set(), False),
    ],
)
def test_stage_follows_if_more_steps_are_the_only_reason(changed, continued, answer):
    assert follow(changed, continued) == answer


def test_guide_comes_from_the_stage_of_its_prior():
    assert [source_of(name) for name in ("guide-top", "prior-top", "codes")] == ["prior-top", "prior-top", "codes"]
