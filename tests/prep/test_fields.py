"""Where pictures and labels stand, as it is said."""

import pytest

from alexnet_prep.fields import Fields


def test_what_is_said_is_what_a_manifest_keeps() -> None:
    assert Fields.parse() == Fields()
    assert Fields().choices() == {}
    fields = Fields.parse("image=img, label = cls", "json:a.b")
    assert (fields.image, fields.label, str(fields.place)) == ("img", "cls", "json:a.b")
    assert fields.choices() == {"columns": "image=img,label=cls", "label_place": "json:a.b"}
    assert Fields.of({**fields.choices(), "members": "x"}) == fields
    assert Fields.parse("label=fine") == Fields(label="fine")


@pytest.mark.parametrize("columns", ["image", "image=", "picture=a", "image=a,image=b", "=", "image=a;label=b=,"])
def test_what_cannot_be_said(columns: str) -> None:
    if columns == "image=a;label=b=,":
        assert Fields.parse(columns).image == "a;label=b="  # any column may be called anything
        return
    with pytest.raises(ValueError, match="expected image=COLUMN,label=COLUMN"):
        Fields.parse(columns)
