"""Judging samples: small functions of features, images and codes; `vqgen evaluate` puts them together."""

from vqgen.evaluation.accuracy_score import AccuracyScorer, as_many_per_label
from vqgen.evaluation.bounds import IMPORTANCE_SAMPLES, LatentLikelihood, latent_likelihood
from vqgen.evaluation.comparison import compare_distributions, inception_scores
from vqgen.evaluation.distribution import (
    SUBSET_SIZE,
    Spread,
    frechet_distance,
    frechet_distance_of_gaussians,
    kernel_distance,
    kernel_distance_of_subsets,
)
from vqgen.evaluation.features import (
    ClassifierSpace,
    Features,
    FeatureSpace,
    check_same_space,
    halves,
    load_features,
    save_features,
)
from vqgen.evaluation.figures import Figure, difference, figures_table, figures_with_floor
from vqgen.evaluation.likelihood import CodeLikelihood, code_likelihood
from vqgen.evaluation.manifold import Manifold, compare_manifolds, density_coverage, nearest, precision
from vqgen.evaluation.memorisation import Memorisation, memorisation
from vqgen.evaluation.reconstruction import find_lpips_weights, load_lpips, reconstruction_errors
from vqgen.evaluation.scores import (
    SCORE_PARTS,
    accuracy,
    candidates_for,
    inception_score,
    inception_score_of_parts,
    keep_surest,
    label_probability,
)
from vqgen.evaluation.variety import code_entropies
from vqgen.training.classifier import ClassifierObjective, as_image_set, train_on

__all__ = [
    "IMPORTANCE_SAMPLES",
    "SCORE_PARTS",
    "SUBSET_SIZE",
    "AccuracyScorer",
    "ClassifierObjective",
    "ClassifierSpace",
    "CodeLikelihood",
    "FeatureSpace",
    "Features",
    "Figure",
    "LatentLikelihood",
    "Manifold",
    "Memorisation",
    "Spread",
    "accuracy",
    "as_image_set",
    "as_many_per_label",
    "candidates_for",
    "check_same_space",
    "code_entropies",
    "code_likelihood",
    "compare_distributions",
    "compare_manifolds",
    "density_coverage",
    "difference",
    "figures_table",
    "figures_with_floor",
    "find_lpips_weights",
    "frechet_distance",
    "frechet_distance_of_gaussians",
    "halves",
    "inception_score",
    "inception_score_of_parts",
    "inception_scores",
    "keep_surest",
    "kernel_distance",
    "kernel_distance_of_subsets",
    "label_probability",
    "latent_likelihood",
    "load_features",
    "load_lpips",
    "memorisation",
    "nearest",
    "precision",
    "reconstruction_errors",
    "save_features",
    "train_on",
]
