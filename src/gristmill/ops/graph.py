"""Graphs of what texts mention: merging what was found, and communities within communities.

Communities are found by hierarchical Leiden (Traag et al. 2019; graspologic-native, the extra `graph`): clusters that are
too large are split again. The same edges in the same order and the same seed give the same communities.
"""

from __future__ import annotations

import importlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from gristmill import packages


@dataclass
class Entity:
    """What was mentioned under one name and type. `id`: its number, in the order of first mention."""

    id: int
    name: str
    type: str
    descriptions: list[str] = field(default_factory=list)
    """Each once, in the order in which they came."""
    frequency: int = 0
    """Mentions."""


@dataclass
class Relation:
    """Two names and how strongly they belong together: the sum of all mentions."""

    id: int
    source: str
    target: str
    weight: float = 0.0
    descriptions: list[str] = field(default_factory=list)


@dataclass
class Community:
    """Names that belong together. Level 0 is the coarsest; `parent` is the community that it was split from."""

    id: int
    level: int
    parent: int | None
    members: list[str]
    children: list[int] = field(default_factory=list)


class Graph:
    """What is mentioned, merged. Order decides the numbers, so mentions come in a fixed order."""

    def __init__(self) -> None:
        self.entities: dict[tuple[str, str], Entity] = {}
        self.relations: dict[tuple[str, str], Relation] = {}

    def mention(self, name: str, type: str, description: str) -> None:
        entity = self.entities.setdefault((name, type), Entity(len(self.entities), name, type))
        entity.frequency += 1
        if description and description not in entity.descriptions:
            entity.descriptions.append(description)

    def relate(self, source: str, target: str, description: str, weight: float) -> None:
        relation = self.relations.setdefault((source, target), Relation(len(self.relations), source, target))
        relation.weight += weight
        if description and description not in relation.descriptions:
            relation.descriptions.append(description)

    def orphans(self) -> list[Relation]:
        """Take out relations of which an end was never mentioned; what is left is numbered anew."""
        names = {entity.name for entity in self.entities.values()}
        lost = [one for one in self.relations.values() if not {one.source, one.target} <= names]
        kept = [one for one in self.relations.values() if {one.source, one.target} <= names]
        for number, relation in enumerate(kept):
            relation.id = number
        self.relations = {(one.source, one.target): one for one in kept}
        return lost

    def degrees(self) -> Counter[str]:
        """Relations of each name."""
        found: Counter[str] = Counter()
        for relation in self.relations.values():
            found.update((relation.source, relation.target))
        return found

    def undirected(self) -> dict[tuple[str, str], float]:
        """Weights between two names, whatever the direction; without those of a name with itself."""
        found: dict[tuple[str, str], float] = defaultdict(float)
        for one in self.relations.values():
            if one.source != one.target:
                found[min((one.source, one.target), (one.target, one.source))] += one.weight
        return dict(found)


def largest_component(edges: Iterable[tuple[str, str]]) -> set[str]:
    """The names of the largest connected part; of equals the one with the first name in the alphabet."""
    near: dict[str, set[str]] = defaultdict(set)
    for one, other in edges:
        near[one].add(other)
        near[other].add(one)
    best: set[str] = set()
    seen: set[str] = set()
    for start in sorted(near):
        if start in seen:
            continue
        part, queue = {start}, [start]
        while queue:
            for name in near[queue.pop()] - part:
                part.add(name)
                queue.append(name)
        seen |= part
        if len(part) > len(best):
            best = part
    return best


def require() -> None:
    """Raises BadInput where graspologic-native is not installed."""
    packages.require("finding communities", "graph", "graspologic_native")


def communities(edges: Mapping[tuple[str, str], float], *, max_size: int, seed: int) -> list[Community]:
    """Communities of an undirected graph, those of level 0 first; none for a graph without edges.

    Args:
        edges: weights by pairs of names.
        max_size: larger ones are split, where they can be.
        seed: of the chance in it.
    """
    if not edges:
        return []
    library: Any = importlib.import_module("graspologic_native")
    found = library.hierarchical_leiden(
        edges=[(one, other, weight) for (one, other), weight in sorted(edges.items())],
        starting_communities=None,
        resolution=1.0,
        randomness=0.001,
        iterations=1,
        use_modularity=True,
        max_cluster_size=max_size,
        seed=seed,
    )
    made: dict[int, Community] = {}
    for entry in found:
        one = made.setdefault(entry.cluster, Community(entry.cluster, entry.level, entry.parent_cluster, []))
        one.members.append(entry.node)
    for one in made.values():
        one.members.sort()
        if one.parent is not None:
            made[one.parent].children.append(one.id)
    return sorted(made.values(), key=lambda one: (one.level, one.id))


def partition(found: Sequence[Community], level: int) -> list[Community]:
    """The communities of a level, and those above it that were not split: each name is in exactly one."""
    return [one for one in found if one.level == level or (one.level < level and not one.children)]
