import math

import pytest
import torch

from vqgen.codes import Codes
from vqgen.config import ClassifierSection
from vqgen.errors import DataError
from vqgen.evaluation.accuracy_score import AccuracyScorer
from vqgen.evaluation.comparison import compare_distributions
from vqgen.evaluation.features import ClassifierSpace, Features, halves
from vqgen.evaluation.judge.judge import Judge, Samples, draw
from vqgen.evaluation.judge.real_images import RealImages
from vqgen.evaluation.manifold import nearest
from vqgen.evaluation.metric import Findings, Metric
from vqgen.pipeline.request import GenerationRequest
from vqgen.runtime.compute import Compute


class PixelSpace:
    """A space of four pixels, with two labels, that counts its calls."""

    def __init__(self, name="pixels 1"):
        self.name = name
        self.dtype = "float64"
        self.calls = 0

    def __call__(self, images):
        self.calls += 1
        values = images[:, 0, :2, :2].flatten(1).double() / 255
        return Features(values, self.name, values[:, :2].log_softmax(1))


class RecordingScorer(AccuracyScorer):
    """A scorer that trains nothing: it records the images that it would train on."""

    def __init__(self):
        self.shown = {}

    def scores(self, sets):
        for each in sets:
            self.shown[each.name] = each.of_seed(5)
            yield Findings([Metric("", each.name, 0.5)])


def noise(count):
    return torch.randint(0, 256, (count, 1, 8, 8), dtype=torch.uint8)


def real_images(split, count):
    return RealImages(split, noise(count), torch.arange(count) % 2)


@pytest.fixture
def make_judge(make_pipe):
    """Builds a judge with 40 training images and 30 held-out ones of two labels. Given fields replace its own."""

    def build(**changes):
        held_out = changes.pop("held_out", None) or real_images("test", 30)
        fields = {"space": PixelSpace(), "section": ClassifierSection.model_validate({})} | changes
        train = real_images("train", 40)
        return Judge(pipe=make_pipe(), train=train, held_out=held_out, seed=0, reference=held_out, **fields)

    return build


@pytest.fixture
def samples():
    return Samples(noise(20), torch.arange(20) % 2)


def values(metrics):
    return {metric.name: metric.value for metric in metrics}


def test_small_sets_are_judged_as_far_as_they_can_be(make_judge):
    judge = make_judge(held_out=real_images("test", 1))
    one = Samples(noise(1), torch.zeros(1, dtype=torch.int64), judge.pipe.encode_tensor(noise(1)))
    distribution = judge.distribution(one)
    assert values(distribution) == {}
    assert distribution.left_out.keys() == {
        "frechet_distance", "kernel_distance", "kernel_distance_of_subsets", "precision", "recall", "density",
        "coverage",
    }  # fmt: skip
    scores = judge.classifier_metrics(one)
    assert values(scores).keys() == {"inception_score", "inception_score_of_real"}
    assert scores.left_out == {"inception_score_of_parts": "it needs at least 10 images, one in each part, found 1"}
    copies, indices = judge.memorisation(one)
    assert values(copies).keys() == {"copies", "nearer"}
    assert len(indices) == 1
    assert values(judge.code_entropy(one)).keys() == {f"entropy_{name}" for name in (
        "top", "bottom", "top_of_real", "bottom_of_real"
    )}  # fmt: skip
    assert all(metric.floor is None for metric in (*scores, *copies))


def test_samples_whose_labels_no_real_image_has_leave_out_what_compares_labels(make_judge):
    judge = make_judge(held_out=RealImages("test", noise(9), torch.zeros(9, dtype=torch.int64)))
    strange = Samples(noise(6), torch.full((6,), 7), judge.pipe.encode_tensor(noise(6)))
    found = judge.code_entropy(strange)
    assert values(found) == {}
    assert found.left_out == dict.fromkeys(
        ("entropy_top", "entropy_bottom"), "no test image has a label of the samples"
    )
    for score in (judge.scored_real_images(strange), judge.scored_reconstructions(strange)):
        assert score.problem == "no training image has a label of the samples"
    assert judge.scored_samples(strange).problem == ""
    unlabelled = Samples(noise(6), torch.full((6,), -1))
    assert judge.scored_samples(unlabelled).problem == "no sample has a label"


def test_accuracies_are_of_the_images_with_labels(make_judge, make_classifier):
    labels = torch.tensor([0, 1, -1, -1, 0, 1])
    held_out = RealImages("test", noise(6), labels)
    space = ClassifierSpace(make_classifier(num_classes=2), "abc", Compute.resolve("cpu"))
    judge = make_judge(held_out=held_out, space=space)
    found = values(judge.classifier_metrics(Samples(noise(6), labels)))
    known = labels >= 0
    right = space(held_out.images[known]).log_probabilities.argmax(1) == labels[known]
    assert found["real_accuracy"] == right.double().mean()
    nothing = make_judge(held_out=RealImages("test", noise(3), torch.full((3,), -1)), space=space)
    without = nothing.classifier_metrics(Samples(noise(6), labels))
    assert without.left_out["real_accuracy"] == "it needs at least 1 image, found 0"
    assert "sample_accuracy" in values(without)


def images_of(codes, labels):
    """Images, labels and codes of one level with these codes."""
    grid = torch.tensor(codes).view(-1, 1, 1)
    return torch.zeros(len(codes), 1, 8, 8, dtype=torch.uint8), torch.tensor(labels), Codes({"top": grid})


@pytest.fixture
def code_entropy(make_judge):
    """Computes the metrics of code entropy, by name, of held-out images and samples with given codes and labels."""

    def compute(real, sampled):
        images, labels, codes = images_of(*real)
        judge = make_judge(held_out=RealImages("test", images, labels))
        judge.pipe.encode_tensor = lambda images: codes
        return {metric.name: metric for metric in judge.code_entropy(Samples(*images_of(*sampled)))}

    return compute


def test_code_entropy_is_of_equally_many_samples_and_real_images_of_each_label(code_entropy):
    """Label 0: 2 real, 6 samples, all different; label 1: 6 real, all different, 3 samples, all alike."""
    found = code_entropy(
        ([1, 2, 1, 2, 3, 4, 5, 6], [0] * 2 + [1] * 6), ([1, 2, 3, 4, 5, 6, 7, 7, 7], [0] * 6 + [1] * 3)
    )
    assert found.keys() == {"entropy_top", "entropy_top_of_real"}
    assert found["entropy_top"].value == pytest.approx(2 / 5 * math.log(2))
    assert found["entropy_top_of_real"].value == pytest.approx(2 / 5 * math.log(2) + 3 / 5 * math.log(3))
    assert found["entropy_top"].counts == {"samples": 5, "test": 5}


def test_code_entropy_of_images_without_labels_takes_all_as_one_label(code_entropy):
    found = code_entropy(([1, 1, 2, 2], [-1] * 4), ([1, 2, 3, 4], [-1] * 4))
    assert found["entropy_top"].value == pytest.approx(math.log(4))
    assert found["entropy_top_of_real"].value == pytest.approx(math.log(2))
    assert found["entropy_top_of_real"].floor is not None


def test_distribution_is_of_samples_and_reference_with_the_halves_of_the_reference_as_floor(make_judge, samples):
    judge = make_judge()
    space = PixelSpace()
    real = space(judge.held_out.images)
    one, other = (real.subset(half) for half in halves(30, 0))
    metrics = judge.distribution(samples)
    whole = compare_distributions(real, space(samples.images), 0)
    assert values(metrics) == whole.values
    assert metrics.left_out == whole.left_out
    assert {metric.name: metric.floor for metric in metrics} == compare_distributions(one, other, 0).values
    assert metrics.metrics[0].counts == {"samples": 20, "test": 30}


def test_features_are_computed_once_for_all_metrics_of_the_same_samples(make_judge, samples):
    judge = make_judge()
    judge.distribution(samples)
    judge.classifier_metrics(samples)
    assert judge.space.calls == 2  # reference and samples
    judge.distribution(Samples(noise(20), samples.labels))
    assert judge.space.calls == 3


def test_features_of_the_reference_are_stored_and_read_back(make_judge, samples, tmp_path):
    path = tmp_path / "reference.safetensors"
    first = make_judge(features_file=path)
    again = make_judge(features_file=path, held_out=first.held_out)
    assert values(first.distribution(samples)) == values(again.distribution(samples))
    assert again.space.calls == 1  # samples only


def test_stored_features_of_other_images_or_spaces_are_refused(make_judge, samples, tmp_path):
    path = tmp_path / "reference.safetensors"
    first = make_judge(features_file=path)
    first.distribution(samples)
    with pytest.raises(DataError, match=r"features of 29 images .*found those of 30 .*number of images; name another"):
        make_judge(features_file=path, held_out=real_images("test", 29)).distribution(samples)
    with pytest.raises(DataError, match=r"other images, or another transform of them; name another file"):
        make_judge(features_file=path, held_out=real_images("test", 30)).distribution(samples)
    with pytest.raises(DataError, match=r"in the space 'pixels 2' .*found those of 30 .* 'pixels 1'.*another network"):
        make_judge(features_file=path, held_out=first.held_out, space=PixelSpace("pixels 2")).distribution(samples)


def test_accuracy_needs_a_classifier_of_our_own_and_labels(make_judge, make_classifier, samples):
    of_pixels = values(make_judge().classifier_metrics(samples))
    assert of_pixels.keys() == {
        "inception_score", "inception_score_of_parts", "inception_score_deviation", "inception_score_of_real"
    }  # fmt: skip
    judge = make_judge(space=ClassifierSpace(make_classifier(), "0123", Compute.resolve("cpu")))
    metrics = {metric.name: metric for metric in judge.classifier_metrics(samples)}
    assert metrics.keys() == of_pixels.keys() | {"sample_accuracy", "real_accuracy"}
    assert metrics["sample_accuracy"].floor == metrics["real_accuracy"].floor is not None
    unlabelled = Samples(samples.images, torch.full((20,), -1))
    assert values(judge.classifier_metrics(unlabelled)).keys() == of_pixels.keys()


def test_score_of_real_images_and_reconstructions_is_of_as_many_as_there_are_samples(make_judge):
    scorer = RecordingScorer()
    judge = make_judge(scorer=scorer)
    samples = Samples(noise(7), torch.tensor([0, 0, 0, 0, 0, 1, 1]))
    sets = [
        scored(samples) for scored in (judge.scored_samples, judge.scored_real_images, judge.scored_reconstructions)
    ]
    assert [list(values(score)) for score in judge.accuracy_scores(sets)] == [
        ["cas"], ["cas_of_real"], ["cas_of_reconstructions"]
    ]  # fmt: skip
    assert scorer.shown["cas"].images is samples.images
    real = scorer.shown["cas_of_real"]
    assert real.labels.bincount().tolist() == [5, 2]
    decoded = scorer.shown["cas_of_reconstructions"]
    assert torch.equal(decoded.labels, real.labels)
    assert torch.equal(decoded.images, judge.pipe.reconstruct_tensor(real.images, real.labels))


def test_copies_of_training_images_are_found_with_their_originals(make_judge):
    judge = make_judge()
    metrics, indices = judge.memorisation(Samples(judge.train.images[[9, 4]], torch.tensor([1, 0])))
    assert values(metrics) == {"copies": 1, "nearer": 1}
    assert indices.tolist() == [9, 4]
    assert all(metric.floor is not None for metric in metrics)
    assert metrics.metrics[0].counts == {"samples": 2, "train": 40, "test": 30}


def test_neighbours_are_nearest_in_intensities(make_judge, samples):
    judge = make_judge()
    points, train = (images.flatten(1).double() / 255 for images in (samples.images, judge.train.images))
    assert torch.equal(judge.memorisation(samples)[1], nearest(points, train)[1])


def test_samples_are_drawn_with_their_labels_and_codes(make_pipe):
    pipe = make_pipe()
    request = GenerationRequest(labels=[3, None], images_per_label=2, seed=1)
    drawn = draw(pipe, request)
    assert drawn.labels.tolist() == [3, 3, -1, -1]
    assert torch.equal(drawn.images, pipe.generate(request).pixels)
    assert torch.equal(drawn.codes.bottom, pipe.generate(request).codes.bottom)
