"""Study plans: those that come with the project, the order of their runs, and what is no plan."""

from pathlib import Path

import pytest

from alexnet_shards.errors import AlexnetError
from alexnet_train.recipe import load_recipe
from alexnet_train.studyplan import load_plan

STUDIES = Path(__file__).parent.parent.parent / "docs" / "studies"
ONE = '[[networks]]\nname = "a"\nrecipe = "small"\n'


@pytest.mark.parametrize("path", sorted(STUDIES.glob("*.toml")), ids=lambda path: path.stem)
def test_the_projects_studies_have_recipes_that_load_and_differ(path: Path) -> None:
    plan = load_plan(path)
    networks = [network for network in plan.networks if not network.trained]
    recipes = [load_recipe(network.recipe, network.settings) for network in networks]
    parts = [(recipe.model, recipe.optim, recipe.input, recipe.train) for recipe in recipes]
    starts = [(part, network.init, network.shards) for part, network in zip(parts, networks, strict=True)]
    assert all(start not in starts[:place] for place, start in enumerate(starts)), "two networks are trained alike"


def test_the_papers_tables_have_its_networks() -> None:
    table1, table2 = (load_plan(STUDIES / f"table{number}.toml") for number in (1, 2))
    assert [(len(network.seeds), network.published) for network in table1.networks] == [(1, "37.5 / 17.0")]
    assert [network.published for network in table2.networks] == ["40.7 / 18.2", "", "39.0 / 16.6"]
    assert [ensemble.published for ensemble in table2.ensembles] == ["38.1 / 16.4", "36.7 / 15.4"]
    members = {network.name: len(network.seeds) for network in table2.networks}
    sizes = {ensemble.name: sum(members[name] for name in ensemble.members) for ensemble in table2.ensembles}
    assert sizes == {"5 CNNs": 5, "7 CNNs": 7}


def test_a_study_cut_short_is_paired(tmp_path: Path) -> None:
    path = tmp_path / "plan.toml"
    path.write_text(f'seeds = [4, 1]\nsettings = ["epochs=2"]\n{ONE}[[networks]]\nname = "b"\nrecipe = "own.toml"\n')
    plan = load_plan(path)
    assert [(network.name, seed) for network, seed in plan.runs()] == [("a", 1), ("b", 1), ("a", 4), ("b", 4)]
    assert plan.networks[1].recipe == str(tmp_path / "own.toml")
    assert plan.networks[0].settings == ("epochs=2",)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "networks are []"),
        ("networks = 3", "networks is no list of tables"),
        (ONE + ONE, "networks are ['a', 'a']"),
        ('[[networks]]\nname = "../a"\nrecipe = "small"', "'../a'"),
        ('[[networks]]\nname = "a"', "recipe is ''"),
        ('[[networks]]\nname = "a"\nrecipe = 3', "recipe is 3"),
        (f"{ONE}trained = 'b'\n", "no key of a training"),
        (f"{ONE}[[networks]]\nname = 'b'\ntrained = 'a'\nrecipe = 'small'", "no key of a training"),
        (f"{ONE}[[networks]]\nname = 'b'\ntrained = ''\n", "recipe is ''"),
        ("[[networks]]\nname = 'b'\ntrained = 'a'\n", "trained is 'a'"),
        (f"{ONE}[[networks]]\nname = 'b'\ntrained = 'a'\nseeds = [7]\n", "from its seeds too"),
        (f"{ONE}[[networks]]\nname='b'\ntrained='a'\n[[networks]]\nname='c'\ntrained='b'", "trained is 'b'"),
        (f"{ONE}[[networks]]\nname = 'b'\nrecipe = 'small'\ninit = 'a'\nseeds = [7]\n", "init is 'a'"),
        (f"seeds = [1, 1]\n{ONE}", "seeds is [1, 1]"),
        (f"seeds = [-1]\n{ONE}", "seeds is [-1]"),
        (f"seeds = [true]\n{ONE}", "seeds is [True]"),
        (f"{ONE}init = 'b'\n", "init is 'b'"),
        (f"{ONE}colour = 'b'\n", "colour"),
        (f"{ONE}[[ensembles]]\nname = 'e'\nmembers = ['x']", "members are ['x']"),
        (f"views = 5\n{ONE}", "views is 5"),
        ("[", "unreadable study"),
    ],
)
def test_what_is_no_plan_is_one_line(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "plan.toml"
    path.write_text(text)
    with pytest.raises(AlexnetError, match="plan.toml") as error:
        load_plan(path)
    assert said in str(error.value)
    assert "\n" not in str(error.value)
    with pytest.raises(AlexnetError, match="no such study"):
        load_plan(tmp_path / "none.toml")
