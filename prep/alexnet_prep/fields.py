"""Where a sample's picture and label stand in a source of many samples a file, as the user says it."""

from dataclasses import dataclass
from typing import Any

from alexnet_shards.labels import LabelPlace


@dataclass(frozen=True, kw_only=True)
class Fields:
    """The image and the label column of parquet files ("": told by their types), and the members that hold the labels of
    webdataset tars (None: .cls)."""

    image: str = ""
    label: str = ""
    place: LabelPlace | None = None

    @classmethod
    def parse(cls, columns: str = "", place: str = "") -> "Fields":
        """From `image=IMG,label=LABEL` (one of the two suffices) and `cls`, `txt` or `json:FIELD`.

        Raises ValueError for anything else.
        """
        found: dict[str, str] = {}
        for part in filter(None, columns.split(",")):
            name, _, column = part.partition("=")
            if name.strip() not in ("image", "label") or not column.strip() or name.strip() in found:
                raise ValueError(f"{columns!r}: expected image=COLUMN,label=COLUMN")
            found[name.strip()] = column.strip()
        return cls(**found, place=LabelPlace.parse(place) if place else None)

    def choices(self) -> dict[str, Any]:
        """What was said, as it stands in a manifest; nothing where nothing was."""
        columns = ",".join(f"{name}={column}" for name in ("image", "label") if (column := getattr(self, name)))
        return {**({"columns": columns} if columns else {}), **({"label_place": str(self.place)} if self.place else {})}

    @classmethod
    def of(cls, choices: dict[str, Any]) -> "Fields":
        """As the `source` of a manifest has it; raises ValueError where that is nonsense."""
        return cls.parse(str(choices.get("columns", "")), str(choices.get("label_place", "")))
