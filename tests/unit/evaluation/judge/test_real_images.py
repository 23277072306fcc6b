import pytest
import torch

from vqgen.data import evaluation_transform, open_images
from vqgen.errors import CheckpointError, ConfigError, DataError
from vqgen.evaluation.judge.real_images import RealImages, open_real_images, recipe_of


def opened(pipe, splits=("train", "validation", "test"), most=2000, **options):
    return open_real_images(pipe, None, most=most, splits=list(splits), **options)


def test_recipe_of_a_pipeline_is_the_one_in_its_folder(make_pipe):
    assert recipe_of(make_pipe(seed=3)).seed == 3


def test_pipeline_without_a_recipe_is_refused(make_pipe):
    pipe = make_pipe()
    del pipe.parts.texts["recipe.toml"]
    with pytest.raises(CheckpointError, match=r"pipeline 'tiny': has no recipe\.toml, .* give a run folder"):
        recipe_of(pipe)


def test_images_of_each_split_are_those_of_the_training(make_pipe):
    pipe = make_pipe()
    found = opened(pipe)
    assert found.keys() == {"train", "validation"}  # digits have no test images
    images = open_images(pipe.parts.data, 0)
    transform = evaluation_transform(pipe.parts.data)
    for name, own in (("train", images.train), ("validation", images.validation)):
        assert (found[name].split, len(found[name])) == (name, len(own))
        assert found[name].labels.tolist() == own.labels.tolist()
        assert torch.equal(found[name].images[7], transform(own.read(7)))


def test_larger_split_is_sampled_by_the_seed_in_its_own_order(make_pipe):
    pipe = make_pipe()
    whole = opened(pipe, ["validation"])["validation"]
    one, same, other = (opened(pipe, ["validation"], 20, seed=seed)["validation"] for seed in (0, 0, 1))
    default = opened(pipe, ["validation"], 20)["validation"]
    assert len(one) == 20
    assert torch.equal(one.images, same.images)
    assert torch.equal(one.images, default.images)  # the recipe's seed is 0
    assert not torch.equal(one.images, other.images)
    places = [next(i for i, image in enumerate(whole.images) if torch.equal(image, chosen)) for chosen in one.images]
    assert places == sorted(set(places))


def test_number_of_images_below_1_is_refused(make_pipe):
    with pytest.raises(ConfigError, match="--real-images: should be at least 1, found 0"):
        opened(make_pipe(), most=0)


def test_other_images_than_those_of_the_training_are_refused(make_pipe):
    pipe = make_pipe()
    pipe.parts.split = {"train": pipe.parts.split["train"][1:], "validation": pipe.parts.split["validation"]}
    with pytest.raises(DataError, match=r"digits: should be the images that pipeline 'tiny' .* --data-root names"):
        opened(pipe)
    with pytest.raises(DataError, match="found others"):
        opened(make_pipe(labels=("cat", "dog")))


@pytest.fixture
def folder_pipe(make_pipe, tmp_path, monkeypatch):
    """A pipeline of images in a folder, whose own recipe.toml names the folder of a stranger.

    Its attribute `asked` has the configurations of the images that were opened.
    """
    pipe = make_pipe()
    pipe.parts.data = pipe.parts.data.model_copy(update={"source": "folder"})
    text = pipe.parts.texts["recipe.toml"]
    assert "[data]\n" in text
    pipe.parts.texts["recipe.toml"] = text.replace("[data]\n", '[data]\nroot = "/stranger"\nworkers = 99\n')
    pipe.asked = []

    def ask(data, seed, exclusions):
        pipe.asked.append(data)
        raise InterruptedError

    monkeypatch.setattr("vqgen.evaluation.judge.real_images.open_images", ask)
    return pipe


def asked(pipe, root=None):
    with pytest.raises(InterruptedError):
        open_real_images(pipe, root, most=10, splits=["train"])
    return pipe.asked[-1]


def test_folder_of_images_in_a_pipeline_is_not_read(folder_pipe):
    assert recipe_of(folder_pipe).data.root is None
    with pytest.raises(DataError, match=r"--data-root: should name the folder .*give --data-root FOLDER, or the run"):
        open_real_images(folder_pipe, None, most=10, splits=["train"])
    assert not folder_pipe.asked


def test_folder_that_the_user_names_is_read(folder_pipe):
    data = asked(folder_pipe, "/mine")
    assert (data.root, data.workers) == ("/mine", 0)


def test_folder_of_images_of_the_local_run_is_read(folder_pipe, tmp_path):
    text = (
        folder_pipe.parts.texts["recipe.toml"].replace('"/stranger"', '"/here"').replace("workers = 99", "workers = 2")
    )
    (tmp_path / "recipe.toml").write_text(text.replace("workers = 99", "workers = 2"))
    folder_pipe.parts.run_folder = tmp_path
    data = asked(folder_pipe)
    assert (data.root, data.workers) == ("/here", 2)
    assert asked(folder_pipe, "/mine").root == "/mine"


def test_recipe_that_is_no_toml_is_refused_in_one_line(make_pipe):
    pipe = make_pipe()
    pipe.parts.texts["recipe.toml"] = "[" * 100_000
    with pytest.raises(CheckpointError, match=r"^recipe\.toml of pipeline 'tiny': is not a TOML file.*restore it"):
        recipe_of(pipe)


def test_subset_has_the_chosen_images():
    images = torch.arange(4, dtype=torch.uint8).view(4, 1, 1, 1)
    part = RealImages("test", images, torch.tensor([5, 6, 7, 8])).subset(torch.tensor([3, 1]))
    assert (part.split, part.images.flatten().tolist(), part.labels.tolist()) == ("test", [3, 1], [8, 6])


def test_hash_of_images_is_of_their_pixels_their_order_and_their_shape():
    pixels = torch.arange(32, dtype=torch.uint8).view(2, 1, 4, 4)
    labels = torch.zeros(2, dtype=torch.int64)
    whole = RealImages("test", pixels, labels)
    assert whole.sha256 == RealImages("train", pixels.clone(), labels + 1).sha256
    others = [pixels.flip(0), pixels + 1, pixels.view(2, 1, 2, 8), pixels[:1], pixels.transpose(2, 3), pixels[:0]]
    assert len({whole.sha256, *(RealImages("test", other, labels[: len(other)]).sha256 for other in others)}) == 7
