from collections.abc import Callable
from functools import partial

import pytest
from codec_models import tiny_codec

from vqgen.codec import Codec
from vqgen.pipeline.parts import PipelineParts


@pytest.fixture
def make_codec(make_parts: Callable[..., PipelineParts]) -> Callable[..., Codec]:
    """Builds a codec of 1 to 3 levels; see `tiny_codec`."""
    return partial(tiny_codec, make_parts)


@pytest.fixture
def codec(make_codec: Callable[..., Codec]) -> Codec:
    """A codec of two levels."""
    return make_codec()
