"""The file names of the official archives of each year, for who reads them and for who draws some like them."""

from dataclasses import dataclass
from pathlib import Path

# How an archive may be kept: as it is, compressed as a whole, or, as a text file, the address where it is.
ADDRESS_SUFFIX = ".url"
FORMS = ("", ".gz", ".zst", ADDRESS_SUFFIX)


def in_any_form(path: Path) -> Path | None:
    """The first of FORMS in which the file `path` is there."""
    forms = (path.with_name(path.name + form) for form in FORMS)
    return next((form for form in forms if form.is_file()), None)


def plain_name(name: str) -> str:
    """The name of an archive, or of another file that is elsewhere, without its form."""
    name = name.removesuffix(ADDRESS_SUFFIX)
    form = next((form for form in FORMS[1:] if name.lower().endswith(".tar" + form)), "")
    return name[: len(name) - len(form)]


@dataclass(frozen=True, kw_only=True)
class Edition:
    """File names of one year's archives; of `tests` the first that is there is used."""

    year: str
    train: str
    val: str
    tests: tuple[str, ...]
    devkit: str
    patch: str = ""
    test_truth: str = ""

    def archive(self, directory: Path, split: str) -> Path | None:
        """The archive of `split` in `directory`, in any of FORMS, None where it is not there."""
        found = (in_any_form(directory / name) for name in self._names(split))
        return next((path for path in found if path is not None), None)

    def patch_archive(self, directory: Path) -> Path | None:
        """The archive of patches in `directory`, None where it is not there or the year has none."""
        return in_any_form(directory / self.patch) if self.patch else None

    def name_of(self, split: str) -> str:
        """The file name that `split` is expected under."""
        return self._names(split)[0]

    def _names(self, split: str) -> tuple[str, ...]:
        return {"train": (self.train,), "val": (self.val,), "test": self.tests}[split]


EDITIONS = {
    "2010": Edition(
        year="2010",
        train="ILSVRC2010_images_train.tar",
        val="ILSVRC2010_images_val.tar",
        tests=("ILSVRC2010_images_test.tar",),
        devkit="ILSVRC2010_devkit-1.0.tar.gz",
        patch="patch_images.tar",
        test_truth="ILSVRC2010_test_ground_truth.txt",
    ),
    "2012": Edition(
        year="2012",
        train="ILSVRC2012_img_train.tar",
        val="ILSVRC2012_img_val.tar",
        tests=("ILSVRC2012_img_test_v10102019.tar", "ILSVRC2012_img_test.tar"),
        devkit="ILSVRC2012_devkit_t12.tar.gz",
    ),
}
