"""Nodes made in this process by their own stage bodies: the product's pipeline without its store, processes and orchestrator."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path

from tasks.contract import File, Node, Numerics, digest_of, identity, write_json
from tests.jobs import make_job


class Workshop:
    """Makes a node after what it reads, in a folder under `root`; equal nodes are made once. `known` are folders made elsewhere."""

    def __init__(self, root: Path, known: Mapping[str, Path] | None = None) -> None:
        self.root = root
        self.folders = dict(known or {})

    def make(self, node: Node) -> Path:
        key = key_of(node)
        if key not in self.folders:
            inputs = {
                role: source.path if isinstance(source, File) else self.make(source) for role, source in node.inputs.items()
            }
            places = {role: source.axes for role, source in node.upstream.items()}
            ran = make_job(self.root / key[:24], node.settings, inputs, places, node.numerics or Numerics())
            module, _, function = node.stage.body.partition(":")
            getattr(importlib.import_module(module), function)([replace(ran.job, label=node.label)])
            if ran.commits != 1:
                raise RuntimeError(f"{node.label}: {ran.commits} commits of one job; one is required")
            self.put(node, ran.work)
        return self.folders[key]

    def put(self, node: Node, folder: Path) -> None:
        """Let a folder stand for what the node would have made."""
        write_json(folder / "manifest.json", {"stage": node.stage.name, "key": key_of(node)})
        self.folders[key_of(node)] = folder


@cache
def key_of(node: Node) -> str:
    """What makes two nodes the same work: the product's identity, with the keys of what is read instead of its content."""
    inputs = {role: source.digest if isinstance(source, File) else key_of(source) for role, source in node.inputs.items()}
    return digest_of(identity(node, inputs))
