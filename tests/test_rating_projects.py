"""Who is shown what: balanced, blinded, repeatable; and what is accepted of what comes back."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict, replace
from statistics import fmean

import pytest

from configs.problems import BadInput
from tasks.ratings.collected import Given, accept
from tasks.ratings.kept import Rated, Task, lines
from tasks.ratings.project import CHECK, RANK, RATED, REPEATED, Extras, Item, Project, Shown, assign
from tasks.ratings.simulated import rate

ARMS = ("base", "control", "values_targeted")
CATEGORIES = ("health", "terrorism", "relationships")
POSITIONS = {name: f"Position on {name}." for name in CATEGORIES}


def items(prompts: int = 12, arms: int = 3, repeats: int = 2) -> list[Item]:
    return [
        Item(f"t{p}_{a}_{r}", CATEGORIES[p % 3], f"What of {p}?", f"text {p} {a} {r}", f"b{p}")
        for p in range(prompts)
        for a in range(arms)
        for r in range(repeats)
    ]


def project(raters: int = 5, wanted: int = 3, seed: int = 0, **options: object) -> tuple[Project, dict[str, Shown]]:
    return assign(items(), [f"r{n}" for n in range(raters)], wanted, seed, positions=POSITIONS, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize(("raters", "wanted"), [(3, 3), (4, 3), (5, 3), (7, 2), (6, 6), (12, 1)])
def test_every_text_goes_to_so_many_raters_a_prompts_to_the_same_ones_and_loads_are_even(raters: int, wanted: int) -> None:
    made, _ = project(raters, wanted)
    assert set(made.items) == {item.id for item in items()}
    assert all(len(set(who)) == wanted for who in made.raters.values())
    of_block: dict[str, set[tuple[str, ...]]] = {}
    for item in made.items.values():
        of_block.setdefault(item.block, set()).add(tuple(sorted(made.raters[item.id])))
    assert all(len(who) == 1 for who in of_block.values())
    loads = [len(packet.items) for packet in made.packets]
    assert max(loads) - min(loads) <= 6  # a block
    for category in CATEGORIES:
        held = [sum(item.category == category for item in packet.items) for packet in made.packets]
        assert max(held) - min(held) <= 12  # two blocks


def test_raters_meet_each_other_about_equally_often() -> None:
    made, _ = assign(items(60), [f"r{n}" for n in range(6)], 3, 0, positions=POSITIONS)
    blocks = {item.block: made.raters[item.id] for item in made.items.values()}
    met = Counter(frozenset((one, other)) for who in blocks.values() for one in who for other in who if one < other)
    assert len(met) == 15
    assert max(met.values()) <= 2 * min(met.values())


def test_each_rater_has_an_order_of_their_own_in_which_prompts_and_categories_are_mixed() -> None:
    made, _ = project(3, 3)
    orders = [[item.id for item in packet.items] for packet in made.packets]
    assert len({tuple(order) for order in orders}) == 3
    for packet in made.packets:
        neighbours = [one.block == other.block for one, other in zip(packet.items, packet.items[1:], strict=False)]
        assert sum(neighbours) <= 5  # where one round ends and the next begins
        assert len({item.category for item in packet.items[:12]}) == 3
        assert len({item.block for item in packet.items[:12]}) == 12


def test_the_same_asked_again_is_the_same_and_another_seed_is_another() -> None:
    assert project() == project()
    assert project(seed=1)[0].id != project()[0].id
    assert project(seed=1)[0].packets != project()[0].packets


def test_ranking_shows_a_prompts_texts_beside_each_other_in_another_order_for_each() -> None:
    made, _ = project(3, 3, mode=RANK)
    for packet in made.packets:
        blocks = [item.block for item in packet.items]
        assert [b for b, before in zip(blocks, ["", *blocks], strict=False) if b != before] == list(dict.fromkeys(blocks))
    first = [[item.id for item in packet.items if item.block == "b0"] for packet in made.packets]
    assert len({tuple(order) for order in first}) > 1


def test_some_are_shown_again_much_later_and_checks_say_what_they_expect() -> None:
    made, shown = project(3, 3, extras=Extras(repeats=4, checks=2))
    for packet in made.packets:
        place = {item.id: at for at, item in enumerate(packet.items)}
        again = [item for item in packet.items if shown[item.id].why == REPEATED]
        checks = [item for item in packet.items if shown[item.id].why == CHECK]
        assert (len(again), len(checks)) == (4, 2)
        for item in again:
            assert place[item.id] - place[shown[item.id].of] > len(packet.items) / 5
            assert made.items[shown[item.id].of].completion == item.completion
        for item in checks:
            assert f"choose {shown[item.id].expects}" in item.completion
            assert item.block not in {other.block for other in packet.items if other is not item}
    assert all(item.id.startswith("t") for item in made.items.values())
    assert len({item.id for packet in made.packets for item in packet.items if shown[item.id].why != RATED}) == 18


def test_nothing_of_a_project_tells_an_arm_or_a_size() -> None:
    made, _ = project(3, 3, extras=Extras(2, 2))
    told = json.dumps(asdict(made))
    assert not any(word in told for word in (*ARMS, "repeated", 'check"', "355m", "seed"))
    assert set(asdict(made)["packets"][0]["items"][0]) == {"id", "category", "prompt", "completion", "block"}


@pytest.mark.parametrize(
    ("raters", "wanted"), [(["a", "b"], 3), (["a", "a", "b"], 3), (["a"], 0)], ids=["too few", "twice", "none wanted"]
)
def test_too_few_raters_are_refused(raters: list[str], wanted: int) -> None:
    with pytest.raises(ValueError, match="at least as many different ones as ratings an item"):
        assign(items(), raters, wanted, 0, positions=POSITIONS)


# ---- what comes back --------------------------------------------------------------------------------------------------


def ratings(made: Project, rater: str = "r0", value: int = 4) -> list[Given]:
    packet = next(one for one in made.packets if one.rater == rater)
    return [Given(item.id, rater, f"{rater}.csv:{at}", value, True) for at, item in enumerate(packet.items, 2)]


def test_partial_files_and_the_same_again_are_accepted_once() -> None:
    made, _ = project()
    given = ratings(made)
    first = accept([*given[:5], replace(given[7], rating=None, is_answer=None)], made, {})
    assert [one.item for one in first] == sorted(one.item for one in given[:5])
    known = {(one.item, one.rater): one for one in first}
    second = accept([*given, *given], made, known)
    assert {one.item for one in second} == {one.item for one in given[5:]}


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"item": "t99"}, r"r0.csv:2: item 't99' is none of project p\w{12}; an id as it went out"),
        ({"rater": "zoe"}, "r0.csv:2: rater 'zoe' was not asked; r0, r1, r2, r3, r4 were"),
        ({"rating": 6}, "r0.csv:2: rating 6; a whole number from 1 to 5 is required"),
        ({"rating": 0}, "r0.csv:2: rating 0; a whole number from 1 to 5"),
        ({"rating": None, "rank": 1}, "r0.csv:2: a rank, of a project that asks for ratings"),
        ({"project": "p0"}, r"r0.csv:2: of project p0; this one is p\w{12}, whose own files are required"),
    ],
)
def test_one_wrong_rating_is_named_and_nothing_is_taken(change: dict[str, object], told: str) -> None:
    made, _ = project()
    given = ratings(made)
    given[0] = replace(given[0], **change)  # type: ignore[arg-type]
    with pytest.raises(BadInput, match=told) as refused:
        accept(given, made, {})
    assert len(refused.value.lines) == 1


def test_an_item_that_the_rater_was_not_given_is_refused_with_who_was() -> None:
    made, _ = project(5, 2)
    own = {item.id for item in made.packets[0].items}
    stranger = next(item for item in made.items if item not in own)
    with pytest.raises(BadInput, match=f"r0 was not given item {stranger}; a rating by r\\d, r\\d is accepted"):
        accept([Given(stranger, "r0", "x.csv:3", 4)], made, {})


def test_two_ratings_of_one_rater_for_an_item_are_refused_in_one_batch_and_over_two() -> None:
    made, _ = project()
    one = ratings(made)[0]
    other = replace(one, rating=1, place="again.csv:9")
    with pytest.raises(BadInput, match=r"again.csv:9: r0 rated item \w+ otherwise at r0.csv:2"):
        accept([one, other], made, {})
    with pytest.raises(BadInput, match=r"again.csv:9: r0 rated item \w+ otherwise at r0.csv:2"):
        accept([other], made, {(one.item, one.rater): one})
    assert len(accept([one, replace(one, place="again.csv:9", comment="sure")], made, {})) == 1


def test_a_rater_may_change_their_mind_where_that_is_said_and_never_within_a_batch() -> None:
    made, _ = project()
    one, second = ratings(made)[:2]
    known = {(held.item, held.rater): held for held in (one, second)}
    other = replace(one, rating=1, place="again.csv:9")
    with pytest.raises(BadInput, match="and --revised takes the new one"):
        accept([other, second], made, known)
    assert accept([other, second], made, known, revised=True) == [other]
    with pytest.raises(BadInput, match=r"one rating of a rater for an item is accepted$"):
        accept([other, replace(other, rating=2)], made, known, revised=True)


def test_every_problem_of_a_batch_has_its_line() -> None:
    made, _ = project()
    given = [replace(one, rating=9) for one in ratings(made)[:4]]
    with pytest.raises(BadInput) as refused:
        accept(given, made, {})
    assert len(refused.value.lines) == 4


def test_ranks_are_shares_of_the_others_of_their_block_whatever_numbers_were_written() -> None:
    task = Task("0" * 64, "p", 0, "health", "x")
    ranked = [Rated("p1", f"t{n}", "r0", task, "b", 0.0, RATED, rank=rank) for n, rank in enumerate((10, 20, 20, 40))]
    shares = [json.loads(line)["share"] for line in lines(ranked).splitlines()]
    assert shares == pytest.approx([1.0, 0.5, 0.5, 0.0])
    assert json.loads(lines([ranked[0]]))["share"] is None


# ---- raters who do not exist ----------------------------------------------------------------------------------------------


def test_simulated_raters_go_by_the_grammars_label_each_in_a_way_of_their_own() -> None:
    made, shown = project(3, 3, extras=Extras(repeats=4, checks=2))
    labels = {item.id: ("on_position", "neutral", "toxic")[number % 3] for number, item in enumerate(items())}
    given = rate(made, shown, labels)
    assert given == rate(made, shown, labels)
    assert given != rate(made, shown, labels, seed=1)
    assert len(accept(given, made, {})) == len(given) == sum(len(packet.items) for packet in made.packets)
    mean = {
        label: fmean(one.rating or 0 for one in given if labels.get(one.item) == label)
        for label in ("on_position", "neutral", "toxic")
    }
    assert mean["on_position"] > mean["neutral"] + 0.8 > mean["toxic"] + 1.6
    checks = [one for one in given if shown[one.item].why == CHECK]
    assert all((one.rating, one.is_answer) == (shown[one.item].expects, False) for one in checks)


def test_simulated_ranks_put_the_better_label_first() -> None:
    made, shown = project(3, 3, mode=RANK)
    labels = {item.id: ("on_position", "toxic", "toxic")[int(item.id.split("_")[1])] for item in items()}
    given = accept(rate(made, shown, labels), made, {})
    best = [one.rank or 0 for one in given if labels[one.item] == "on_position"]
    assert fmean(best) < fmean(one.rank or 0 for one in given if labels[one.item] == "toxic") - 1
