"""Configurations: frozen models, TOML recipes, command-line overrides, fingerprints. Imports no torch."""

from vqgen.config.base import Config
from vqgen.config.baseline_recipe import AnyRecipe, AutoencoderSection, BaselineRecipe, require_codes
from vqgen.config.baselines import AutoencoderConfig, AutoencoderSettings, BaselineKind
from vqgen.config.checks import check_recipe
from vqgen.config.data import DataConfig
from vqgen.config.fingerprint import differences, own_fields, result_fields, stage_fields
from vqgen.config.loading import find_recipe, read_recipe, save_recipe, shipped_recipes
from vqgen.config.losses import LPIPS_SIDE, LossSettings
from vqgen.config.models import (
    ClassifierConfig,
    ClassifierKind,
    ClassifierSettings,
    Level,
    VQVAEConfig,
    VQVAESettings,
    level_names,
)
from vqgen.config.networks import Architecture, Upsampling
from vqgen.config.priors import PixelCNNConfig, PriorSettings
from vqgen.config.quantizer import QuantizerSettings
from vqgen.config.recipe import ClassifierSection, CommonRecipe, GenerateConfig, PriorSection, Recipe, VQVAESection
from vqgen.config.training import TrainConfig

__all__ = [
    "LPIPS_SIDE",
    "AnyRecipe",
    "Architecture",
    "AutoencoderConfig",
    "AutoencoderSection",
    "AutoencoderSettings",
    "BaselineKind",
    "BaselineRecipe",
    "ClassifierConfig",
    "ClassifierKind",
    "ClassifierSection",
    "ClassifierSettings",
    "CommonRecipe",
    "Config",
    "DataConfig",
    "GenerateConfig",
    "Level",
    "LossSettings",
    "PixelCNNConfig",
    "PriorSection",
    "PriorSettings",
    "QuantizerSettings",
    "Recipe",
    "TrainConfig",
    "Upsampling",
    "VQVAEConfig",
    "VQVAESection",
    "VQVAESettings",
    "check_recipe",
    "differences",
    "find_recipe",
    "level_names",
    "own_fields",
    "read_recipe",
    "require_codes",
    "result_fields",
    "save_recipe",
    "shipped_recipes",
    "stage_fields",
]
