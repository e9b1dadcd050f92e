"""The registered models of a home: every tuned model of a compared sweep once, by content, and the same in MLflow's model registry.

The notes under `models/` are the truth (`model_registry.registered`); what MLflow shows is made from them, so that it can be made again.
A version there points into the store by a link beside MLflow's artifacts, which moves with the home: no weight is copied. What is changed in
MLflow's own pages lasts until the next sweep is tracked. What a run tuned, `logged_models` shows on its page.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion

from configs.contrasts import Contrast
from configs.problems import BadInput
from flows.engine import logged_models, names, tracking
from flows.engine.headline_metrics import OUTCOME, Comparison, read_comparison
from flows.engine.home import Home
from flows.engine.lock import locked
from flows.engine.logged_models import DIGEST, Shown
from flows.engine.stores.manifest import Manifest
from flows.engine.tracked import Tracked, place_name
from model_registry import catalog, registered
from model_registry.cards import Capability, Effect, Facts, learned
from model_registry.folders import prepared_folder, stated_licence
from model_registry.registered import CHAMPION, Registered, Version
from tasks.contract import Axes, Node, Numerics, read_json, replace_file
from tasks.prepare.stage import MODEL_FILE, told

FORCED = "forced"
LINKS = ".registered"  # beside MLflow's artifacts; no experiment's folder begins with a dot
VERSIONS = ("torch", "transformers", "peft")
SAMPLED = ("completions", "temperature", "top_p", "max_new_tokens")


def register(home: Home, *sweeps: Tracked) -> None:
    """Register what was tuned by sweeps that have been compared; a content that is there already gets the newest facts and no new version.

    Once they have been tracked: a version is linked to its run.
    """
    runs: dict[tuple[str, str], str] = {}
    tuned: dict[str, dict[str, tuple[str, str]]] = {}  # by experiment and run of the tracker: a name and a digest
    with _alone(home):
        for tracked in sweeps:
            if (comparison := tracked.manifest(tracked.nodes[-1])) is None:
                continue
            compared = read_comparison(comparison)
            experiment, places = tracking.run_ids(tracked) if tracked.uri == home.tracking_uri() else ("", {})
            runs |= {(tracked.sweep, place): run for place, run in places.items()}
            for node in _tuned(tracked):
                if (found := _version(home, tracked, node, compared)) is not None:
                    name = names.file(f"{node.axes.model}-{node.axes.arm}")
                    _write(home, _with(_known(home, name), found))
                    if run := places.get(place_name(node.axes)):
                        tuned.setdefault(experiment, {})[run] = name, found.digest
        if home.database.is_file() or not home.own_tracker:
            client = MlflowClient(home.tracking_uri())
            shown: dict[tuple[str, str], Shown] = {}
            for name in registered.names(home.root):
                shown |= _show(home, client, registered.read(home.root, name), runs)
            for experiment, made in tuned.items():
                logged_models.log(home, client, experiment, {run: shown[one] for run, one in made.items()})


def promote(home: Home, named: str, reason: str | None) -> tuple[Registered, Version]:
    """Make a version the champion of its name.

    Raises:
        BadInput: there is no such model, or its evaluation is missing, or its capability lost, and no reason is given to do it all the same.
    """
    with _alone(home):
        model, version = registered.find(home.root, named)
        objections = version.facts.objections()
        if objections and not (reason or "").strip():
            place = f"{model.name}/{version.number}"
            raise BadInput(
                f"{place}: {'; '.join(objections)}; `palms models promote {place} --force REASON` does it all the same and records the reason"
            )
        chosen = version.model_copy(update={"forced": reason if objections else None})
        versions = tuple(chosen if one.number == chosen.number else one for one in model.versions)
        model = model.model_copy(update={"versions": versions, "champion": chosen.number})
        _write(home, model)
        if home.database.is_file() or not home.own_tracker:
            _show(home, MlflowClient(home.tracking_uri()), model, {})
    return model, chosen


# ---- the notes ----------------------------------------------------------------------------------------------------------


@contextmanager
def _alone(home: Home) -> Iterator[None]:
    (home.root / registered.FOLDER).mkdir(exist_ok=True)
    with locked(home.root / registered.FOLDER / ".lock"):
        yield


def _known(home: Home, name: str) -> Registered:
    return registered.read(home.root, name) if name in registered.names(home.root) else Registered(name=name, versions=())


def _write(home: Home, model: Registered) -> None:
    replace_file(home.root / registered.FOLDER / f"{model.name}.json", model.model_dump_json(indent=1) + "\n")


def _with(model: Registered, found: Version) -> Registered:
    """The same with a content that it may hold already."""
    held = next((one for one in model.versions if one.digest == found.digest), None)
    number, forced = (held.number, held.forced) if held else (len(model.versions) + 1, None)
    version = found.model_copy(update={"number": number, "forced": forced})
    rest = [one for one in model.versions if one is not held]
    return model.model_copy(update={"versions": tuple(sorted([*rest, version], key=lambda one: one.number))})


# ---- what is known of one -----------------------------------------------------------------------------------------------


def _tuned(tracked: Tracked) -> list[Node]:
    """What was tuned, the largest dataset and the first seed last: the one that `latest` then is."""
    found = [node for node in tracked.nodes if node.stage.name == "finetune"]
    return sorted(found, key=lambda node: (node.axes.train_samples or 0, -(node.axes.seed or 0)))


def _version(home: Home, tracked: Tracked, node: Node, compared: Comparison) -> Version | None:
    """None where what was tuned, or what it was tuned from, is not in the store."""
    tuned, prepared = tracked.manifest(node), tracked.prepared(node.axes)
    if tuned is None or prepared is None:
        return None
    numerics = Numerics(**tuned.document["identity"]["numerics"])
    return Version(
        number=1,
        digest=tuned.digest,
        tuned=home.noted(tuned.whole()),
        prepared=home.noted(prepared.whole()),
        precision=numerics.precision,
        device=numerics.device,
        attention=numerics.attention,
        facts=_facts(tracked, node.axes, tuned, prepared, compared),
    )


def _facts(tracked: Tracked, axes: Axes, tuned: Manifest, prepared: Manifest, compared: Comparison) -> Facts:
    model, identity = read_json(prepared.folder / MODEL_FILE), tuned.document["identity"]
    seeds = {one.axes.seed for one in _tuned(tracked) if _run(one.axes)[:-1] == _run(axes)[:-1]}
    suite = compared.outcomes[OUTCOME][0]
    sampled = tracked.config["suites"].get(suite)  # None: of what an evaluation brings, nothing is sampled
    return Facts(
        sweep=tracked.sweep,
        place=place_name(axes),
        arm=axes.arm or "",
        train_samples=axes.train_samples or 0,
        seed=axes.seed or 0,
        runs=len(seeds),
        calibration=tracked.calibration,
        base=told(model),
        revision=model["revision"],
        base_digest=identity["inputs"]["model"],
        architecture=model["architecture"],
        params=model["params"],
        licence=stated_licence(prepared_folder(prepared.folder)) or _listed_licence(axes, model["source"]),
        dataset=tracked.config["arms"][axes.arm]["dataset"],
        dataset_digest=identity["inputs"]["dataset"],
        subjects_apart=tracked.config["dataset_checks"]["same_subject"] is not None,
        settings=identity["settings"],
        sampled={"suite": suite} | ({name: sampled[name] for name in SAMPLED} if sampled else {}),
        reference=tracked.arms.reference,
        controls=tracked.arms.controls,
        effects=tuple(_effects(axes, compared)),
        capabilities=tuple(_capabilities(axes, compared)),
        commit=tuned.facts["commit"],
        versions={name: tuned.facts["versions"][name] for name in VERSIONS},
    )


def _run(axes: Axes) -> tuple[str, ...]:
    """One training run, as the comparison's tables name it."""
    named = (axes.ladder, axes.size, axes.arm, axes.train_samples, axes.seed)
    return tuple("" if one is None else str(one) for one in named)


def _effects(axes: Axes, compared: Comparison) -> Iterator[Effect]:
    """What was measured over all prompts in the primary and the secondary outcomes."""
    for row in compared.contrasts:
        contrast = Contrast.parse(row["contrast"])
        run = (row["ladder"], row["size"], contrast.treated, row["train_samples"], row["seed"])
        if run != _run(axes) or row["metric"] not in compared.called:
            continue
        yield Effect(
            outcome=compared.called[row["metric"]],
            suite=row["suite"],
            primary=(row["suite"], row["metric"]) == compared.outcomes[OUTCOME],
            rate=row["kind"] == "rate",
            level=float(row["treated"]),
            reference=contrast.reference,
            value=float(row["value"]),
            low=_number(row["ci_low"]),
            high=_number(row["ci_high"]),
            p_adjusted=_number(row["p_adjusted"]),
            prompts=int(row["n"]),
        )


def _capabilities(axes: Axes, compared: Comparison) -> Iterator[Capability]:
    for row in compared.verdicts:
        if tuple(row[name] for name in ("ladder", "size", "arm", "train_samples", "seed")) == _run(axes):
            numbers = {name: _number(row[name]) for name in ("value", "low", "high")}
            words = {name: row[name] for name in ("measure", "verdict", "note")}
            yield Capability(margin=float(row["margin"]), **numbers, **words)


def _number(text: str) -> float | None:
    return float(text) if text else None


def _listed_licence(axes: Axes, source: str) -> str | None:
    """What the catalogue says of a model that it holds."""
    if axes.ladder not in catalog.names():
        return None
    ladder = catalog.load_ladder(axes.ladder)
    return ladder.licence if source in {f"{rung.source.kind}:{rung.source.id}" for rung in ladder.rungs.values()} else None


# ---- as MLflow shows it ----------------------------------------------------------------------------------------------------


def _show(
    home: Home, client: MlflowClient, model: Registered, runs: Mapping[tuple[str, str], str]
) -> dict[tuple[str, str], Shown]:
    """Bring MLflow's registry to what the note says, and give it by name and digest. `runs`: by sweep and place.

    `latest` is not set: MLflow keeps that alias for the newest version by itself.
    """
    if not client.search_registered_models(f"name = '{model.name}'"):
        client.create_registered_model(model.name)
    there = {one.tags.get(DIGEST): one for one in client.search_model_versions(f"name = '{model.name}'")}
    brought = {}
    for version in model.versions:
        weights = _linked(home, model.name, version)
        if (shown := there.get(version.digest)) is None:
            tags = {DIGEST: version.digest}
            run = runs.get((version.facts.sweep, version.facts.place))
            shown = client.create_model_version(model.name, weights.as_uri(), run, tags=tags)
        _describe(client, shown, model, version)
        if version.number == model.champion and client.get_registered_model(model.name).aliases.get(CHAMPION) != str(
            shown.version
        ):
            client.set_registered_model_alias(model.name, CHAMPION, shown.version)
        brought[model.name, version.digest] = Shown(model, version, int(shown.version))
    return brought


def _describe(client: MlflowClient, shown: ModelVersion, model: Registered, version: Version) -> None:
    facts, card = version.facts, model.card(version)
    if shown.description != card:
        client.update_model_version(model.name, shown.version, card)
    tags = {
        "capability": facts.capability,
        "method": facts.method,
        "base": facts.base,
        "dataset": f"{facts.dataset}, {learned(facts)}, {facts.dataset_digest}",
        "seed": str(facts.seed),
        **({"calibration": "true"} if facts.calibration else {}),
        **({FORCED: version.forced} if version.forced else {}),
    }
    for name, value in tags.items():
        if shown.tags.get(name) != value:
            client.set_model_version_tag(model.name, shown.version, name, value)
    if FORCED in shown.tags and not version.forced:
        client.delete_model_version_tag(model.name, shown.version, FORCED)


def _linked(home: Home, name: str, version: Version) -> Path:
    """Where the weights in the store are found among MLflow's artifacts.

    The link is to the folder around them: MLflow refuses an artifact that is itself a link out of its folder.
    """
    link = home.artifacts / LINKS / name / str(version.number)
    home.link(link, home.place(version.tuned))
    return link / "model"
