from vqgen.codec.batching import batches

MOST = 1 << 18


def test_batches_are_neighbours_of_one_size_within_the_limit():
    side = 1 << 8
    sizes = [(side, side)] * 9 + [(8, 8)] * 3 + [(side, side)] + [(2048, 2048)] * 2
    groups = list(batches(sizes, MOST))
    assert [index for part in groups for index in range(len(sizes))[part]] == list(range(len(sizes)))
    for part in groups:
        assert len(set(sizes[part])) == 1
        height, width = sizes[part][0]
        assert len(sizes[part]) == 1 or len(sizes[part]) * height * width <= MOST
    assert [part.stop - part.start for part in groups] == [4, 4, 1, 3, 1, 1, 1]
