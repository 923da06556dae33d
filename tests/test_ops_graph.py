"""Graphs: merging, components, communities within communities."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gristmill import BadInput
from gristmill.ops import graph as module
from gristmill.ops.graph import Graph, communities, largest_component, partition


def test_mentions_are_merged_by_name_and_type_and_strengths_are_summed():
    graph = Graph()
    for text in ("first", "second", "first"):
        graph.mention("A", "geo", text)
    graph.mention("A", "person", "another A")
    graph.mention("B", "geo", "")
    graph.relate("A", "B", "near", 3)
    graph.relate("A", "B", "very near", 4)
    one, other, _ = graph.entities.values()
    assert (one.descriptions, one.frequency, one.id) == (["first", "second"], 3, 0)
    assert (other.type, other.id) == ("person", 1)
    [edge] = graph.relations.values()
    assert (edge.weight, edge.descriptions) == (7, ["near", "very near"])


def test_a_relation_with_an_end_that_nobody_mentioned_is_taken_out():
    graph = Graph()
    graph.mention("A", "geo", "")
    graph.mention("B", "geo", "")
    graph.relate("A", "C", "", 1)
    graph.relate("A", "B", "", 1)
    assert [(one.source, one.target) for one in graph.orphans()] == [("A", "C")]
    assert [(one.id, one.target) for one in graph.relations.values()] == [(0, "B")]
    assert graph.degrees() == {"A": 1, "B": 1}


def test_both_directions_are_one_edge_and_a_loop_is_none():
    graph = Graph()
    for source, target in (("A", "B"), ("B", "A"), ("A", "A")):
        graph.relate(source, target, "", 2)
    assert graph.undirected() == {("A", "B"): 4}


def test_the_largest_connected_part_is_found():
    assert largest_component([("a", "b"), ("c", "d"), ("d", "e")]) == {"c", "d", "e"}
    assert largest_component([("c", "d"), ("a", "b")]) == {"a", "b"}
    assert largest_component([]) == set()


def clumps(count: int, size: int, seed: int) -> dict[tuple[str, str], float]:
    """Clumps of names that belong together, joined in a ring."""
    chance = random.Random(seed)
    edges = {}
    for clump in range(count):
        names = [f"{clump}-{n}" for n in range(size)]
        for i in range(size):
            for j in range(i):
                if chance.random() < 0.7 or i == j + 1:
                    edges[(names[j], names[i])] = 1.0 + chance.random()
        other = f"{(clump + 1) % count}-0"
        edges[tuple(sorted((names[0], other)))] = 0.1
    return edges


def of(names) -> list[str]:
    return sorted(names)


@settings(max_examples=20, deadline=None)
@given(st.integers(2, 6), st.integers(2, 14), st.integers(0, 1000))
def test_every_level_is_a_partition_and_large_ones_are_split_where_they_can_be(count, size, seed):
    edges = clumps(count, size, seed)
    names = {name for pair in edges for name in pair}
    found = communities(edges, max_size=10, seed=7)
    for level in range(max(one.level for one in found) + 1):
        members = [name for one in partition(found, level) for name in one.members]
        assert of(members) == of(names)
    by_id = {one.id: one for one in found}
    for one in found:
        for child in one.children:
            assert set(by_id[child].members) < set(one.members)
            assert by_id[child].level == one.level + 1
        if len(one.members) > 10 and not one.children:  # it cannot be: alone it is one community
            inner = {pair: weight for pair, weight in edges.items() if set(pair) <= set(one.members)}
            assert len([c for c in communities(inner, max_size=10**6, seed=7) if c.level == 0]) == 1
    assert found == communities(dict(reversed(edges.items())), max_size=10, seed=7)


def test_a_graph_without_edges_has_no_communities():
    assert communities({}, max_size=10, seed=1) == []
    assert partition([], 0) == []


def test_a_library_that_is_not_installed_is_named(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(BadInput, match=r"pip install 'gristmill\[graph\]'"):
        module.require()
