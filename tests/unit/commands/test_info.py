import argparse

from vqgen.commands import info
from vqgen.pipeline.parts import save_pipeline


def test_checkpoint_is_described_with_its_classifier_and_stages(make_parts, make_classifier, tmp_path, capsys):
    parts = make_parts()
    parts.classifier = make_classifier()
    save_pipeline(parts, tmp_path / "run" / "pipeline")
    assert info.run(argparse.Namespace(checkpoint=str(tmp_path / "run"))) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == ["tiny: 8 x 8 grey", "  data     digits; labels: cat, dog, 10"]
    assert lines[2].startswith("  vqvae    ") and lines[-1].startswith("  classifier  ")
