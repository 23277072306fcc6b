import pytest

from vqgen.codec.level_choice import LevelChoice, TakenLevels
from vqgen.errors import BitstreamError, ConfigError

ENDS = [10, 30, 100]
CUT = BitstreamError("the file is cut short")


@pytest.fixture
def choose(tiny_vqvae_config):
    config = tiny_vqvae_config(downsample=(8, 4, 2))

    def make(*names, allow_partial=True):
        return LevelChoice.of(config, names or None, allow_partial)

    return make


def test_whole_file_gives_the_levels_that_are_asked_for(choose):
    assert choose().take(ENDS, 100, None) == TakenLevels(("top", "middle", "bottom"), 3, True)
    assert choose("middle").take(ENDS, 30, None) == TakenLevels(("middle",), 2, False)
    assert choose("bottom", "top").take(ENDS, 100, None) == TakenLevels(("top", "bottom"), 3, True)


def test_file_is_read_to_its_end_for_the_finest_level_only(choose):
    assert [choose(name).needs_all for name in ("top", "middle", "bottom")] == [False, False, True]
    assert [choose(name).count for name in ("top", "middle", "bottom")] == [1, 2, 3]
    assert choose().needs_all


@pytest.mark.parametrize(
    ("found", "names"), [(10, ("top",)), (29, ("top",)), (30, ("top", "middle")), (100, ("top", "middle", "bottom"))]
)
def test_cut_file_gives_the_levels_that_are_whole_and_no_check(choose, found, names):
    taken = choose().take(ENDS, found, CUT)
    assert (taken.names, taken.count, taken.is_checked) == (names, len(names), False)
    assert taken.cut == f"{CUT}; of its levels top, middle, bottom it has {', '.join(names)} whole"


def test_cut_file_without_a_level_that_is_asked_for_is_refused(choose):
    with pytest.raises(BitstreamError, match=r"cut short; of its levels top, middle, bottom it has none whole$"):
        choose().take(ENDS, 9, CUT)
    with pytest.raises(BitstreamError, match="it has top whole"):
        choose("middle", "bottom").take(ENDS, 29, CUT)
    assert choose("middle", "bottom").take(ENDS, 30, CUT).names == ("middle",)


def test_cut_file_is_refused_unless_partial_files_are_allowed(choose):
    for found in (9, 10, 99):
        with pytest.raises(BitstreamError, match=r"^the file is cut short$"):
            choose(allow_partial=False).take(ENDS, found, CUT)


def test_unknown_level_is_refused_with_those_that_there_are(tiny_vqvae_config):
    with pytest.raises(ConfigError, match="levels: should be some of top, bottom, found 'middle'"):
        LevelChoice.of(tiny_vqvae_config(), ["middle"])
