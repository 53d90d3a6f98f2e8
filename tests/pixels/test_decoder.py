"""Which Pillow runs."""

from PIL import __version__, features

from alexnet_pixels.decoder import decoder_facts, is_simd


def test_facts_name_what_runs() -> None:
    facts = decoder_facts()
    assert __version__ in facts.values()
    assert ("pillow-simd" in facts) == is_simd(__version__)
    assert facts["libjpeg-turbo"] == features.version_feature("libjpeg_turbo")
