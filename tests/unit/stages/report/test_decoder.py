import torch

from vqgen.pipeline import VQGenPipeline
from vqgen.stages.report.decoder import open_decoder
from vqgen.stages.report.run_folder import read_run


def test_decoder_decodes_as_the_whole_pipeline_does(finished):
    whole = VQGenPipeline.from_pretrained(finished, device="cpu")
    pipe = open_decoder(read_run(finished))
    images = torch.randint(0, 256, (3, 1, 8, 8), dtype=torch.uint8)
    codes = pipe.encode_tensor(images)
    assert torch.equal(codes.top, whole.encode_tensor(images).top)
    assert torch.equal(pipe.decode_tensor(codes), whole.decode_tensor(codes))
    assert torch.equal(pipe.decode_tensor(codes, levels=["top"]), whole.decode_tensor(codes, levels=["top"]))
    assert pipe.model_hash == whole.model_hash
