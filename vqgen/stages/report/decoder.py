"""The part of a pipeline that a report needs: the VQ-VAE alone."""

from vqgen.models.vqvae import VQVAE
from vqgen.pipeline import VQGenPipeline
from vqgen.pipeline.folder import load_part, read_document
from vqgen.pipeline.parts import FREQUENCIES, PipelineParts
from vqgen.runtime.compute import Compute
from vqgen.stages.report.run_folder import ReportedRun
from vqgen.storage.tensors import load_tensors


def open_decoder(run: ReportedRun) -> VQGenPipeline:
    """Opens the pipeline of a run on the CPU, without the priors and the classifier: they may be large."""
    folder = run.folder / "pipeline"
    document = read_document(folder)
    vqvae, sha256 = load_part(folder / "vqvae", [VQVAE], document.hashes, "cpu")
    frequencies = load_tensors(folder / FREQUENCIES)[0] if (folder / FREQUENCIES).is_file() else {}
    parts = PipelineParts(
        name=document.name,
        data=document.data,
        label_map=document.label_map,
        vqvae=vqvae,
        frequencies=frequencies,
        vqvae_hash=sha256,
    )
    return VQGenPipeline(parts, Compute.resolve("cpu", "float32"))
