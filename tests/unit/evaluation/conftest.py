from collections.abc import Callable

import pytest
from codec_models import tiny_codec

from vqgen.codec import Codec
from vqgen.pipeline.parts import PipelineParts


@pytest.fixture
def codec(make_parts: Callable[..., PipelineParts]) -> Codec:
    """A codec of two levels; see `tiny_codec`."""
    return tiny_codec(make_parts)
