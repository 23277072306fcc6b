"""The pipelines that a user holds: models with their labels, ready to generate, encode, decode and compress."""

from vqgen.pipeline.auto import open_pipeline
from vqgen.pipeline.baseline import BaselineOutput, BaselinePipeline
from vqgen.pipeline.vqgen import GenerationOutput, VQGenPipeline

__all__ = ["BaselineOutput", "BaselinePipeline", "GenerationOutput", "VQGenPipeline", "open_pipeline"]
