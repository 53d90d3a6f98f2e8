"""Which Pillow runs, and the trap of two installed over each other."""

import pytest
from PIL import __version__, features

from alexnet_pixels.decoder import decoder_facts, decoder_warning, is_simd, overwritten


def test_facts_name_what_runs() -> None:
    facts = decoder_facts()
    assert __version__ in facts.values()
    assert ("pillow-simd" in facts) == is_simd(__version__)
    assert facts["libjpeg-turbo"] == features.version_feature("libjpeg_turbo")
    assert decoder_warning() is None


@pytest.mark.parametrize(
    ("pillow", "simd", "running", "words"),
    [
        (None, "12.1.1.post0", "12.1.1.post0", None),
        ("12.1.1", None, "12.1.1", None),
        ("13.0.0", "12.1.1.post0", "13.0.0", "are both installed, PIL is 13.0.0"),
        ("13.0.0", "12.1.1.post0", "12.1.1.post0", "are both installed"),
        (None, "12.1.1.post0", "13.0.0", "it was overwritten"),
    ],
)
def test_two_installed_over_each_other_are_told(
    pillow: str | None, simd: str | None, running: str, words: str | None
) -> None:
    warning = overwritten(pillow, simd, running)
    assert (warning is None) == (words is None)
    if warning is not None and words is not None:
        assert words in warning
        assert "pip uninstall -y pillow pillow-simd" in warning
