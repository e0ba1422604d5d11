"""Every configuration builds, the README is true, and nothing stray is committed."""

from __future__ import annotations

import ast
import functools
import importlib.util
import re
import shlex
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import hydra
import pytest
import yaml
from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf, open_dict

from weakseg import plans
from weakseg.launch import (
    _rewrite_arguments,
    build_plan,
    check_targets,
)
from weakseg.targets import ALLOWED_TARGETS, ConfigurationError

ROOT = Path(__file__).parents[1]
CONF = ROOT / "conf"
PLANS = {
    "stage1": plans.Stage1Plan,
    "stage2": plans.Stage2Plan,
    "stage3": plans.Stage3Plan,
    "check": plans.CheckPlan,
    "evaluate": plans.EvaluatePlan,
    "compare": plans.ComparePlan,
    "predict": plans.PredictPlan,
    "export": plans.ExportPlan,
    "ablation": plans.AblationPlan,
    "chain": plans.ChainPlan,
    "sweep": plans.SweepPlan,
    "sync": plans.SyncPlan,
    "import": plans.ImportPlan,
    "serve": plans.ServePlan,
    "app": plans.AppPlan,
}


def choices() -> Iterator[tuple[str, str, str]]:
    """Yield every command with every option of each of its groups."""
    for command in PLANS:
        defaults = yaml.safe_load((CONF / f"{command}.yaml").read_text())["defaults"]
        groups = [name for item in defaults if isinstance(item, dict) for name in item]
        for group in groups:
            # Help is a text of Hydra's, not a choice.
            if not group.startswith(("override", "help")):
                for path in sorted((CONF / group).glob("*.yaml")):
                    yield command, group, path.stem


def compose(command: str, overrides: list[str]) -> DictConfig:
    """Compose and resolve what the command line would; fill in what only a user can know."""
    ConfigStore.instance().store(name=f"{command}_plan", node=PLANS[command])
    with hydra.initialize_config_module("weakseg.conf", version_base="1.3"):
        config = hydra.compose(command, overrides, return_hydra_config=True)
    HydraConfig.instance().set_config(config)
    try:
        with open_dict(config):
            del config["hydra"]
        for key in OmegaConf.missing_keys(config):
            OmegaConf.update(config, key, {} if key == "data" else "given-by-the-user")
        OmegaConf.resolve(config)
    finally:
        HydraConfig.instance().cfg = None
    return config


def build(command: str, overrides: list[str]) -> Any:
    config = compose(command, overrides)
    check_targets(config)
    return build_plan(PLANS[command], hydra.utils.instantiate(config, _convert_="all"))


@pytest.mark.parametrize(("command", "group", "option"), sorted(choices()))
def test_every_option_builds(command: str, group: str, option: str) -> None:
    plan = build(command, [f"{group}={option}"])
    assert type(plan) is PLANS[command]


def class_of(part: Any) -> str:
    """Name the class of a component, or of one that a stage is yet to build."""
    return (part.func if isinstance(part, functools.partial) else type(part)).__name__


NAMESAKES: dict[str, Callable[[Any], str]] = {
    "cam": lambda plan: plan.cam.method,
    "optimizer": lambda plan: class_of(plan.optimizer),
    "refine": lambda plan: "+".join(s.name for s in plan.refine.steps.values()) or "none",
    "segmenter": lambda plan: plan.segmenter.keywords.get("architecture", class_of(plan.segmenter)),
    "supervision": lambda plan: plan.supervision.mode,
    "threshold": lambda plan: class_of(plan.threshold).removesuffix("Threshold"),
}
"""What the options of a group are named after."""


@pytest.mark.parametrize(
    ("command", "group", "option"), sorted(each for each in choices() if each[1] in NAMESAKES)
)
def test_option_chooses_what_it_is_named_after(command: str, group: str, option: str) -> None:
    name = NAMESAKES[group](build(command, [f"{group}={option}"]))
    assert name.replace("_", "").casefold() == option.replace("_", "")


def test_energy_is_part_of_the_loss_that_is_named_after_it() -> None:
    assert build("stage3", ["loss=dense_crf"]).loss.energy is not None
    assert build("stage3", ["loss=ce_dice"]).loss.energy is None


@pytest.mark.parametrize("command", PLANS)
def test_unknown_key_is_refused(command: str) -> None:
    with pytest.raises(hydra.errors.ConfigCompositionException, match="no_such_key"):
        compose(command, ["no_such_key=1"])


def test_allowed_targets_exist() -> None:
    missing = []
    for target in sorted(ALLOWED_TARGETS):
        module, _, name = target.rpartition(".")
        if not hasattr(importlib.import_module(module), name):
            missing.append(target)
    assert missing == []


def test_foreign_target_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"os\.system"):
        build("stage1", ["+optimizer.extra._target_=os.system"])


def test_stub_names_what_the_core_has() -> None:
    core = importlib.import_module("weakseg._core")
    stub = ast.parse((ROOT / "weakseg" / "_core.pyi").read_text())
    told = {n.name for n in stub.body if isinstance(n, ast.FunctionDef | ast.ClassDef)}
    told |= {
        n.target.id
        for n in stub.body
        if isinstance(n, ast.AnnAssign) and isinstance(n.target, ast.Name)
    }
    public = {name for name in vars(core) if not name.startswith("_")}
    assert {name for name in told if not name.startswith("_")} == public


# ---- the README


def readme_commands() -> list[str]:
    """List the lines of the README's bash blocks, continuations joined, comments dropped."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```bash\n(.*?)```", text, flags=re.DOTALL)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    return [line for line in lines if shlex.split(line, comments=True)]


def readme_calls() -> list[str]:
    return [line for line in readme_commands() if "-m weakseg." in line]


def test_readme_names_only_make_targets_that_exist() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z][a-z0-9-]*):", makefile, flags=re.MULTILINE))
    pages = [(ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "CONTRIBUTING.md")]
    spans = re.findall(r"`make ([a-z0-9 -]+)`|^make ([a-z0-9 -]+)", "\n".join(pages), re.MULTILINE)
    named = {target for pair in spans for words in pair for target in words.split()}
    assert {"demo", "test"} <= named
    assert named <= targets


@pytest.mark.parametrize("line", readme_calls())
def test_readme_command_builds(line: str) -> None:
    words = shlex.split(line, comments=True)
    command = words[words.index("-m") + 1].removeprefix("weakseg.")
    given = [word for word in words[words.index("-m") + 2 :] if "=" in word]
    given = _rewrite_arguments(given, command)
    parsed = OverridesParser.create().parse_overrides(given)
    one = [
        f"{item.get_key_element()}={next(item.sweep_string_iterator())}"
        if item.is_sweep_override()
        else word
        for item, word in zip(parsed, given, strict=True)
    ]
    assert type(build(command, one)) is PLANS[command]


# ---- what is committed


def committed() -> list[Path]:
    """List the files under version control; a source archive has none."""
    listing = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if listing.returncode:
        pytest.skip("not a git checkout")
    return [ROOT / name for name in listing.stdout.split("\0") if (ROOT / name).is_file()]


def texts() -> Iterator[tuple[Path, str]]:
    for path in committed():
        content = path.read_bytes()
        if b"\0" not in content:
            yield path.relative_to(ROOT), content.decode("utf-8")


def test_no_committed_file_exceeds_one_megabyte() -> None:
    assert [path.name for path in committed() if path.stat().st_size > 1_000_000] == []


def test_no_path_of_one_machine_is_committed() -> None:
    # Written in pieces, so that this file does not find itself.
    private = re.compile(r"(?<![\w.~-])/(?:home|root|work|Users|mnt|scratch)/\w")
    assert [str(path) for path, text in texts() if private.search(text)] == []


def test_no_package_registry_is_named() -> None:
    host = re.compile(
        r"pypi\.(?:org|python)|python(?:hosted)\.|download\.pytorch\.|conda\.anaconda\."
    )
    assert [str(path) for path, text in texts() if host.search(text)] == []


def test_notebooks_are_committed_without_outputs() -> None:
    nbformat = pytest.importorskip("nbformat")
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        for cell in nbformat.read(path, as_version=4).cells:
            assert not cell.get("outputs"), f"{path.name}: run `make notebooks`"
            assert cell.get("execution_count") is None, f"{path.name}: run `make notebooks`"
