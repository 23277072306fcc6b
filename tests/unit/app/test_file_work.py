import pytest
from codec_models import noise_picture
from PIL import Image

from vqgen.app.compressing import Compressed
from vqgen.app.context import AppContext, Limits
from vqgen.app.file_work import compress_file, enlarged, open_file, save_file
from vqgen.errors import BitstreamError, DataError
from vqgen.pipeline.parts import save_pipeline


@pytest.fixture
def picture(tmp_path):
    path = tmp_path / "a picture.png"
    noise_picture(12, 9).save(path)
    return str(path)


def test_steps_come_before_the_result(context, picture):
    *steps, result = compress_file(context, "tiny", picture, None)
    assert steps[0] == "encode"
    assert isinstance(result, Compressed)
    path = save_file(context, picture, result)
    assert path.name == "a picture.vqg"
    assert path.read_bytes() == result.ours.data


def test_closing_the_steps_ends_the_work(context, picture):
    steps = compress_file(context, "tiny", picture, None)
    next(steps)
    steps.close()
    with context.use("tiny"):  # nobody holds the model any more
        pass


def test_refusals_come_before_the_work(context, tmp_path):
    (tmp_path / "text.png").write_text("hello")
    with pytest.raises(DataError, match="it is a text"):
        next(compress_file(context, "tiny", str(tmp_path / "text.png"), None))


def test_file_is_opened_by_the_model_that_made_it(make_parts, tmp_path, picture):
    for seed, name in enumerate(("one", "other")):
        save_pipeline(make_parts(seed), tmp_path / name)
    with AppContext([tmp_path / "one", tmp_path / "other"], Limits(), tmp_path) as context:
        *_, result = compress_file(context, "other", picture, None)
        opened, maker = open_file(context, "one", str(save_file(context, picture, result)))
        assert maker == "other"
        assert opened.picture.tobytes() == result.ours.picture.tobytes()


def test_file_of_no_model_of_the_page_is_refused(context, make_parts, tmp_path, picture):
    save_pipeline(make_parts(7), tmp_path / "stranger")
    with AppContext([tmp_path / "stranger"], Limits(), tmp_path) as other:
        *_, result = compress_file(other, "stranger", picture, None)
        path = save_file(context, picture, result)
    with pytest.raises(BitstreamError, match="VQ-VAE"):
        open_file(context, "tiny", str(path))


def test_small_pictures_are_enlarged_by_whole_factors_and_large_ones_stay():
    small = noise_picture(12, 9)
    large = enlarged(small)
    assert large.size == (384, 288)
    assert large.resize((12, 9), Image.Resampling.NEAREST).tobytes() == small.tobytes()
    wide = Image.new("L", (500, 10))
    assert enlarged(wide) is wide
