"""The options of the commands that write an animation beside their picture."""

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from vqgen.commands.arguments import whole_number
from vqgen.errors import ConfigError
from vqgen.storage.names import counted

if TYPE_CHECKING:
    from PIL import Image

FORMATS = ("gif", "apng", "webp")
"""The formats of `vqgen.reports.animations`, which imports more than a help text needs."""

_MOST_FRAMES = 1000
"""Pictures of an animation, at most. They are in memory together."""

_LONGEST = 3600.0


@dataclass(frozen=True)
class AnimationOptions:
    """The animation that a user asked for.

    Attributes:
        path: File to write.
        frames: Pictures from one end to the other, both included.
        seconds: Time from one end to the other.
        plays: Number of times that it is played; 0 for ever.
        back: True if it goes back to the first end, too.
    """

    path: Path
    frames: int
    seconds: float
    plays: int
    back: bool

    def write(self, draw: Callable[[int], "list[Image.Image]"]) -> str:
        """Draws the pictures and writes the animation.

        Args:
            draw: Returns that number of pictures from one end to the other.

        Returns:
            A line for the user.
        """
        from vqgen.reports.animations import save_animation, there_and_back

        pictures = draw(self.frames)
        shown = there_and_back(pictures) if self.back else pictures
        seconds = self.seconds * len(shown) / len(pictures)
        save_animation(shown, self.path, seconds=seconds, plays=self.plays)
        plays = "again and again" if self.plays == 0 else counted(self.plays, "time")
        return f"{self.path}: {len(shown)} pictures{', there and back' if self.back else ''}, played {plays}"


def add_animation_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds --animate and the options of the animation."""
    parser.add_argument("--animate", choices=FORMATS, help="write an animation too; apng and webp keep every pixel")
    parser.add_argument(
        "--frames",
        type=whole_number,
        default=41,
        metavar="N",
        help="pictures of the animation from one end to the other, both included (default: 41)",
    )
    parser.add_argument(
        "--seconds", type=float, default=2.0, metavar="S", help="time from one end to the other (default: 2)"
    )
    parser.add_argument("--back", action="store_true", help="let the animation go back to the first end, too")
    parser.add_argument(
        "--plays",
        type=whole_number,
        default=0,
        metavar="N",
        help="times that the animation is played; 0 for ever (default)",
    )


def animation_options(arguments: argparse.Namespace, name: str) -> AnimationOptions | None:
    """Returns the animation that the arguments of `add_animation_arguments` ask for; None without --animate.

    Args:
        arguments: The arguments of the command.
        name: Name of the file in the folder of the outputs, without its suffix.

    Raises:
        ConfigError: A number is out of its range.
    """
    if arguments.animate is None:
        return None
    if not 2 <= arguments.frames <= _MOST_FRAMES:
        raise ConfigError(f"--frames: should be from 2 (the two ends) to {_MOST_FRAMES}, found {arguments.frames}")
    if not 0 < arguments.seconds <= _LONGEST:
        raise ConfigError(f"--seconds: should be above 0 and at most {_LONGEST:g}, found {arguments.seconds:g}")
    if not 0 <= arguments.plays < 2**16:
        raise ConfigError(f"--plays: should be from 0 (for ever) to {2**16 - 1}, found {arguments.plays}")
    path = Path(arguments.output) / f"{name}.{arguments.animate}"
    return AnimationOptions(path, arguments.frames, arguments.seconds, arguments.plays, arguments.back)
