"""The settings of the networks of a VQ-VAE that depend on each other."""

from typing import TYPE_CHECKING, Literal

from vqgen.config.bounds import MOST_ATTENDED, MOST_CHANNELS

if TYPE_CHECKING:
    from vqgen.config.models import VQVAESettings

Architecture = Literal["paper", "residual"]

Upsampling = Literal["transposed", "nearest"]


def network_problems(settings: "VQVAESettings", image_size: int) -> list[str]:
    """Lists the settings of the networks that do not fit each other: path, requirement, value found, remedy.

    Args:
        settings: The settings of a VQ-VAE.
        image_size: Side of the training images, in pixels.
    """
    if unused := _unused_options(settings):
        return unused
    problems = []
    multipliers = settings.channel_multipliers
    halvings = settings.downsample[0].bit_length() - 1
    if len(multipliers) > halvings:
        problems.append(
            f"channel_multipliers: should be at most {halvings}, one for each halving of the image down to "
            f"downsample.0 = {settings.downsample[0]}, found {len(multipliers)}"
        )
    widest = max(multipliers) * max(settings.channels, settings.residual_channels)
    if widest > MOST_CHANNELS:
        problems.append(f"channel_multipliers: should give at most {MOST_CHANNELS:,} channels, found {widest:,}")
    return [*problems, *_attention_problems(settings, image_size)]


def _unused_options(settings: "VQVAESettings") -> list[str]:
    """Lists the options that the network of the paper does not have."""
    if settings.architecture != "paper":
        return []
    found = {
        "channel_multipliers": (list(settings.channel_multipliers), [1]),
        "attention_heads": (settings.attention_heads, 0),
    }
    return [
        f'{name}: should be {neutral} with architecture = "paper", which has no such option, found {value}; '
        'set architecture = "residual", or leave it out'
        for name, (value, neutral) in found.items()
        if value != neutral
    ]


def _attention_problems(settings: "VQVAESettings", image_size: int) -> list[str]:
    heads = settings.attention_heads
    if not heads:
        return []
    factor = settings.downsample[0]
    channels = settings.channels_of(factor)
    side = image_size // factor
    problems = []
    if channels % heads:
        problems.append(f"attention_heads: should divide {channels}, the channels of the coarsest grid, found {heads}")
    if side**2 > MOST_ATTENDED:
        problems.append(
            f"attention_heads: should be 0 on a grid of more than {MOST_ATTENDED:,} positions, found {heads} on a "
            f"grid of {side} x {side}"
        )
    return problems
