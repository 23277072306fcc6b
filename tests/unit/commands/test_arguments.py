import argparse
from pathlib import Path

import pytest

from vqgen.commands.arguments import (
    add_evaluation_arguments,
    add_run_arguments,
    add_sampling_arguments,
    generation_request,
    judge_options,
    memory_size,
    parallel_stages,
    whole_number,
)
from vqgen.errors import ConfigError
from vqgen.evaluation.judge.build import JudgeOptions
from vqgen.pipeline.request import GenerationRequest
from vqgen.sampling import SamplingParams


def parse(add, *words, **options):
    parser = argparse.ArgumentParser()
    add(parser, **options)
    return parser.parse_args(words)


def test_request_without_options_samples_the_model():
    arguments = parse(add_sampling_arguments, images_per_label=7)
    assert generation_request(arguments) == GenerationRequest(
        images_per_label=7, params=SamplingParams(temperature=[1.0], guidance_scale=[1.0], autoguidance_scale=[1.0])
    )


def test_request_has_every_option():
    words = (
        "--images-per-label 3 --seed 5 --temperature 0.5 1 --top-k 4 --top-p 0.9 --guidance-scale 2 "
        "--autoguidance-scale 1 3 --keep 0.25 --batch-size 6"
    )
    arguments = parse(add_sampling_arguments, *words.split(), images_per_label=7)
    arguments.labels = ["cat", "3"]
    arguments.max_memory = 99
    params = SamplingParams([0.5, 1.0], 4, 0.9, [2.0], [1.0, 3.0])
    assert generation_request(arguments) == GenerationRequest(["cat", "3"], 3, 5, params, 0.25, 6, 99)


@pytest.mark.parametrize(
    "text", ["5.0", "1e3", "1_0", " 5", "0x10", "", "-", "five", "nan", "True", "\uff15", "9" * 1001]
)
def test_text_that_is_no_whole_number_is_refused(text):
    with pytest.raises(argparse.ArgumentTypeError, match="should be a whole number, found '"):
        whole_number(text)


def test_whole_numbers_may_have_a_sign_and_any_size():
    numbers = [0, -1, 2**63, 2**64 - 1, 10**40]
    assert [whole_number(str(number)) for number in numbers] == numbers
    assert whole_number("+007") == 7


@pytest.mark.parametrize(
    ("words", "match"),
    [
        (["--seed", "-1"], "seed: should be at least 0, found -1"),
        (["--seed", str(2**1024)], r"seed: should be below 2\*\*1024"),
        (["--images-per-label", "0"], "images_per_label: should be at least 1, found 0"),
        (["--batch-size", "-3"], "batch_size: should be at least 1, found -3"),
        (["--temperature", "nan"], "temperature: should be a finite number, found nan"),
        (["--keep", "inf"], "keep: should be a finite number, found inf"),
    ],
)
def test_number_out_of_range_is_refused_before_a_checkpoint_is_opened(words, match):
    with pytest.raises(ConfigError, match=match):
        generation_request(parse(add_sampling_arguments, *words, images_per_label=7))


def test_judging_without_options_is_the_default_of_the_judge():
    assert judge_options(parse(add_evaluation_arguments)) == JudgeOptions()


def test_judging_has_every_option():
    words = (
        "--data-root d --real-images 9 --reference train --inception-weights i --classifier c --reference-features r "
        "--classifier-steps 8 --score-seeds 3 --judging-seed 4 --quiet"
    )
    assert judge_options(parse(add_evaluation_arguments, *words.split())) == JudgeOptions(
        "d", 9, "train", Path("i"), "c", Path("r"), 8, 3, 4, True
    )


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("2000000", 2_000_000),
        ("500MB", 500_000_000),
        ("1.5G", 1_500_000_000),
        ("2 kb", 2000),
        ("1T", 10**12),
        ("3b", 3),
    ],
)
def test_memory_size_has_decimal_units(text, size):
    assert memory_size(text) == size


@pytest.mark.parametrize("text", ["", "0", "0.0G", "-1G", "lots", "1GiB", "1e3"])
def test_text_that_is_not_a_memory_size_is_refused(text):
    with pytest.raises(argparse.ArgumentTypeError, match=f"should be a size like 500MB or 2G, found '{text}'"):
        memory_size(text)


@pytest.mark.parametrize(("text", "number"), [("auto", None), ("1", 1), ("12", 12)])
def test_parallel_stages_are_a_number_or_automatic(text, number):
    assert parallel_stages(text) == number


@pytest.mark.parametrize("text", ["0", "-1", "1.5", "", "all", "\u0662"])
def test_text_that_is_not_a_number_of_stages_is_refused(text):
    with pytest.raises(
        argparse.ArgumentTypeError, match=f"should be auto or a whole number of at least 1, found '{text}'"
    ):
        parallel_stages(text)


def test_options_of_a_run_leave_the_fields_of_the_recipe():
    parser = argparse.ArgumentParser(allow_abbrev=False)
    add_run_arguments(parser)
    arguments, rest = parser.parse_known_args(["digits", "--redo", "--seed", "3", "--run-name", "x"])
    assert (arguments.recipe, arguments.redo, arguments.run_name, arguments.force) == ("digits", True, "x", False)
    assert rest == ["--seed", "3"]
