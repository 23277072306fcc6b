import numpy as np
import pytest
import torch

from vqgen.codes import Codes
from vqgen.data import LabelMap
from vqgen.errors import CheckpointError, ConfigError, DataError
from vqgen.pipeline.baseline import BaselineOutput
from vqgen.pipeline.request import (
    GenerationRequest,
    count_candidates,
    labels_as_tensor,
    part_of_request,
    resolve_labels,
)
from vqgen.pipeline.vqgen import GenerationOutput
from vqgen.sampling import SamplingParams

LABELS = LabelMap(("cat", "dog", "10"))


def generated(count=5, seed=0):
    """Generated images whose fields all depend on the place of the image."""
    places = torch.arange(count)
    return GenerationOutput(
        pixels=places.to(torch.uint8)[:, None, None, None].expand(-1, 3, 4, 4),
        labels=[place if place % 2 else None for place in range(count)],
        seed=seed,
        codes=Codes({"bottom": places[:, None, None].expand(-1, 2, 2)}),
        log_likelihood=-places.double(),
        label_probability=places.double() / count,
    )


def places(images):
    """The places of images in the whole, read from every field; they have to agree."""
    found = images.codes.bottom[:, 0, 0].tolist()
    assert (-images.log_likelihood).tolist() == found
    assert images.labels == [place if place % 2 else None for place in found]
    if len(images.pixels):
        assert images.pixels[:, 0, 0, 0].tolist() == found
    return found


# labels


@pytest.mark.parametrize(
    ("labels", "indices"),
    [
        ("cat", [0]),
        ("10", [2]),  # a name goes before an index
        (1, [1]),
        (np.int64(2), [2]),
        (["dog", 0, 2, None], [1, 0, 2, None]),
        (range(2), [0, 1]),
        ((label for label in ("dog", None)), [1, None]),
        (np.array(["dog", "cat"]), [1, 0]),
        (np.str_("dog"), [1]),
        (["index:2", np.uint8(1)], [2, 1]),
        (("dog", "dog"), [1, 1]),
        (np.array([2, 0]), [2, 0]),
        (torch.tensor([1]), [1]),
        (None, [0, 1, 2]),
        ([None], [None]),
    ],
)
def test_labels_are_names_or_indices(labels, indices):
    assert resolve_labels(labels, LABELS, name="tiny", takes_labels=True) == indices


@pytest.mark.parametrize(("labels", "indices"), [(None, [None]), ([None, None], [None, None])])
def test_unconditional_model_generates_images_without_labels(labels, indices):
    assert resolve_labels(labels, LABELS, name="tiny", takes_labels=False) == indices


def test_label_for_an_unconditional_model_is_refused():
    with pytest.raises(DataError, match=r"pipeline 'tiny' was trained without labels, found \[None, 'cat'\]; leave"):
        resolve_labels([None, "cat"], LABELS, name="tiny", takes_labels=False)


def test_request_for_no_image_is_refused():
    with pytest.raises(DataError, match="labels: should be at least one, found none"):
        resolve_labels([], LABELS, name="tiny", takes_labels=True)


@pytest.mark.usefixtures("unchecked_annotations")  # beartype asks an array without dimensions for its length
@pytest.mark.parametrize("label", [torch.tensor(1), np.array(1), np.uint32(1)])
def test_single_label_may_be_an_array_without_dimensions(label):
    assert resolve_labels(label, LABELS, name="tiny", takes_labels=True) == [1]
    assert GenerationRequest(label).labels == (label,)


@pytest.mark.usefixtures("unchecked_annotations")
@pytest.mark.parametrize("labels", [{"cat"}, frozenset({0}), {"cat": 1}, b"cat", bytearray(b"cat"), memoryview(b"ab")])
def test_labels_without_an_order_are_refused(labels):
    with pytest.raises(DataError, match="labels: should be names or indices, in an order, found a"):
        resolve_labels(labels, LABELS, name="tiny", takes_labels=True)


@pytest.mark.usefixtures("unchecked_annotations")
@pytest.mark.parametrize(
    "label", [1.0, True, np.float64(1), torch.tensor(1.0), np.array([1.0]), [[0]], object(), "", 1j]
)
def test_labels_of_wrong_types_are_refused(label):
    with pytest.raises(DataError, match=r"label:? should be a name or an index"):
        resolve_labels([label], LABELS, name="tiny", takes_labels=True)


def test_request_has_plain_numbers_and_its_labels_can_be_read_twice(unchecked_annotations):
    labels = (label for label in ("cat", 1))
    request = GenerationRequest(labels, np.int64(2), torch.tensor(5), batch_size=np.uint8(7), keep=np.float32(0.5))
    assert request == GenerationRequest(("cat", 1), 2, 5, batch_size=7, keep=0.5)
    assert [type(value) for value in (request.images_per_label, request.seed, request.batch_size)] == [int] * 3
    assert type(request.keep) is float
    assert GenerationRequest("cat").labels == ("cat",)


@pytest.mark.usefixtures("unchecked_annotations")
@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"seed": -1}, "seed: should be at least 0, found -1"),
        ({"seed": np.int64(-1)}, "seed: should be at least 0, found -1"),
        ({"seed": 5.0}, r"seed: should be a whole number of at least 0, found 5\.0 \(float\)"),
        ({"seed": "5"}, r"seed: should be a whole number of at least 0, found '5' \(str\)"),
        ({"images_per_label": True}, r"images_per_label: .*found True \(bool\)"),
        ({"batch_size": np.True_}, r"batch_size: .*found True \(bool\)"),
        ({"seed": float("nan")}, "seed: .*found nan"),
        ({"seed": 2**2000}, r"seed: should be below 2\*\*1024, found a whole number of 2001 bits"),
        ({"images_per_label": 0}, "images_per_label: should be at least 1, found 0"),
        ({"images_per_label": 2.0}, "images_per_label: should be a whole number of at least 1, found 2.0"),
        ({"images_per_label": None}, "images_per_label: .*found None"),
        ({"batch_size": 0}, "batch_size: should be at least 1, found 0"),
        ({"batch_size": "8"}, "batch_size: should be a whole number"),
        ({"keep": "1"}, "keep: should be a finite number"),
        ({"keep": float("nan")}, "keep: should be a finite number"),
        ({"max_memory": 1e9}, r"max_memory: should be a whole number of at least 0, found 1000000000\.0"),
        ({"params": {"temperature": 1}}, "params: should be a SamplingParams, found a dict"),
    ],
)
def test_wrong_value_of_a_request_is_named(changes, match):
    with pytest.raises(ConfigError, match=match):
        GenerationRequest(**changes)


@pytest.mark.parametrize("seed", [2**63 - 1, 2**63, 2**64 - 1, 2**64, 10**40])
def test_large_seeds_are_seeds(seed):
    assert GenerationRequest(seed=seed).seed == seed


def test_image_without_a_label_is_refused_of_a_model_that_never_saw_one():
    for labels in ([None], ["cat", None]):
        with pytest.raises(DataError, match=r"labels: .*, found None: the priors of pipeline 'tiny' were"):
            resolve_labels(labels, LABELS, "tiny", takes_labels=True, takes_none=False)
    assert resolve_labels(["cat"], LABELS, "tiny", takes_labels=True, takes_none=False) == [0]
    assert resolve_labels(None, LABELS, "tiny", takes_labels=True, takes_none=False) == [0, 1, 2]


@pytest.mark.parametrize(
    ("labels", "places", "error", "match"),
    [
        ([], [], DataError, "image_indices: should be one for each of 0 labels, found 0"),
        ([0, 1], [0], DataError, "image_indices: should be one for each of 2 labels, found 1"),
        ([3], [0], DataError, "labels: should be indices of labels, from 0 to 2, or None, found 3"),
        ([-1], [0], DataError, "labels: should be indices of labels, from 0 to 2, or None, found -1"),
        ([0], [-1], ConfigError, "image_indices: should be at least 0, found -1"),
        ([0], [0.0], ConfigError, "image_indices: should be a whole number of at least 0, found 0.0"),
        (["cat"], [0], DataError, "labels: should be indices .*, found 'cat'"),
        (0, [0], DataError, "labels: should be indices .*, found 0"),
    ],
)
def test_part_of_a_request_has_a_place_for_each_label(labels, places, error, match):
    with pytest.raises(error, match=match):
        part_of_request(labels, places, 3)


def test_part_of_a_request_is_made_of_plain_integers():
    assert part_of_request(np.array([2, 0]), torch.tensor([7, 5]), 3) == ([2, 0], [7, 5])
    assert part_of_request((None, np.int8(1)), range(4, 6), 3) == ([None, 1], [4, 5])


def test_image_without_a_label_has_minus_1_in_a_tensor():
    found = labels_as_tensor([2, None, 0])
    assert found.dtype == torch.int64
    assert found.tolist() == [2, -1, 0]


# candidates


@pytest.mark.parametrize(("wanted", "keep", "count"), [(3, 1.0, 3), (3, 0.5, 6), (7, 0.07, 100), (1, 0.4, 3)])
def test_share_to_keep_of_the_candidates_is_enough(wanted, keep, count):
    assert (
        count_candidates(GenerationRequest(images_per_label=wanted, keep=keep), has_classifier=True, name="t") == count
    )


def test_candidates_without_a_classifier_are_refused():
    request = GenerationRequest(keep=0.5)
    with pytest.raises(CheckpointError, match=r"pipeline 't': has no classifier, .*\(keep 0.5\); `vqgen train-classi"):
        count_candidates(request, has_classifier=False, name="t")
    assert count_candidates(GenerationRequest(images_per_label=2), has_classifier=False, name="t") == 2


@pytest.mark.parametrize("images_per_label", [0, -1])
def test_request_without_an_image_per_label_is_refused(images_per_label):
    with pytest.raises(ConfigError, match=f"images_per_label: should be at least 1, found {images_per_label}"):
        count_candidates(GenerationRequest(images_per_label=images_per_label), has_classifier=True, name="t")


def test_description_has_the_parameters_that_change_images():
    request = GenerationRequest(params=SamplingParams(temperature=[0.5, 1.0], top_k=3), keep=0.5, batch_size=7)
    assert request.describe() == {
        "temperature": [0.5, 1.0], "top_k": 3, "top_p": None, "guidance_scale": 1.0, "autoguidance_scale": 1.0,
        "keep": 0.5,
    }  # fmt: skip


# generated images


@pytest.mark.parametrize("indices", [[0, 1, 2, 3, 4], [3, 1], [4, 4], []])
def test_subset_takes_every_field_at_its_indices(indices):
    assert places(generated().subset(torch.tensor(indices, dtype=torch.int64))) == indices


def test_subset_of_images_without_pixels_has_none():
    """A process that is not the main one has no pixels of a shared request."""
    whole = generated()
    without = GenerationOutput(**{name: getattr(whole, name) for name in vars(whole)} | {"pixels": whole.pixels[:0]})
    chosen = without.subset(torch.tensor([3, 1]))
    assert places(chosen) == [3, 1]
    assert chosen.pixels.shape == (0, 3, 4, 4)


def test_parts_are_joined_in_their_order():
    whole = generated()
    parts = [whole.subset(torch.tensor(part)) for part in ([0, 1], [2], [3, 4])]
    joined = GenerationOutput.cat(parts)
    assert places(joined) == [0, 1, 2, 3, 4]
    assert joined.seed == whole.seed
    assert places(GenerationOutput.cat(parts[::-1])) == [3, 4, 2, 0, 1]


def test_absent_fields_stay_absent():
    output = BaselineOutput(
        pixels=torch.zeros(2, 1, 4, 4, dtype=torch.uint8), labels=[0, 1], seed=3, latents=torch.eye(2)
    )
    again = BaselineOutput.cat([output.subset(torch.tensor([1])), output.subset(torch.tensor([0]))])
    assert again.label_probability is None and again.log_likelihood is None
    assert torch.equal(again.latents, torch.eye(2).flip(0))


def test_pictures_are_made_once_and_only_on_request(monkeypatch):
    calls = []
    monkeypatch.setattr("vqgen.pipeline.request.to_pil", lambda pixels: calls.append(len(pixels)) or [])
    images = generated()
    images.subset(torch.tensor([0]))
    assert calls == []
    assert images.images is images.images
    assert calls == [5]
