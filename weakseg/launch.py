"""Turn a command line into a typed plan and run it: the only place that knows Hydra."""

from __future__ import annotations

import dataclasses
import importlib
import logging
import os
import re
import signal
import sys
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from typing import Any, cast, get_type_hints

import hydra
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException, InstantiationException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from weakseg.errors import WeaksegError
from weakseg.quoting import gather_runs, gathered, quote_texts
from weakseg.targets import ConfigurationError, refuse_foreign_code

log = logging.getLogger(__name__)

STAGES_WITH_EXPERIMENTS = ("stage1", "stage2", "stage3")
TEXTS = {"sweep": ("settings",), "ablation": ("stage1", "stage2")}
"""Settings of a command that hold words of others."""
LINKS_OF_A_CHAIN = (*STAGES_WITH_EXPERIMENTS, "evaluate")


def launch(command: str, plan: type[Any], recipe: str) -> None:
    """Compose the configuration of `command`, build its plan and run `recipe`.

    Args:
        command: Name of the primary configuration, such as `stage1`.
        plan: The dataclass that types it.
        recipe: `module:function`; called with the built plan and the resolved configuration.
    """
    ConfigStore.instance().store(name=f"{command}_plan", node=plan)
    _guard_composition()
    sys.argv[1:] = _rewrite_arguments(sys.argv[1:], command)
    _log_to_terminal()
    # Until a stage takes over, as it does while it draws frames, SIGTERM ends like Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)

    def task(config: DictConfig) -> None:
        _run_or_explain(lambda: _run(config, plan, recipe))

    task.__module__ = f"weakseg.{command}"
    hydra.main(config_path="pkg://weakseg.conf", config_name=command, version_base="1.3")(task)()


def _run(config: DictConfig, plan: type[Any], recipe: str) -> None:
    missing = sorted(OmegaConf.missing_keys(config))
    if missing:
        raise ConfigurationError(_explain_missing(missing))
    _separate_sweep_outputs(config)
    resolved = cast(dict[str, Any], OmegaConf.to_container(config, resolve=True, enum_to_str=True))
    # Imported here: torch takes seconds to load, and `--help` should not.
    built = build_plan(plan, hydra.utils.instantiate(config, _convert_="all"))
    module, function = recipe.split(":")
    getattr(importlib.import_module(module), function)(built, resolved)


def build_plan(plan: type[Any], values: dict[str, Any]) -> Any:
    """Make the dataclass `plan`, and those inside it, of values whose components are built.

    Hydra's own way (`_convert_="object"`) takes built components that are dataclasses for
    configuration, and fails on what configuration cannot hold.
    """
    hints = get_type_hints(plan)
    made = {
        key: build_plan(hints[key], value) if dataclasses.is_dataclass(hints[key]) else value
        for key, value in values.items()
    }
    return plan(**made)


def _run_or_explain(call: Callable[[], None]) -> None:
    """Run, and turn every foreseen failure into one sentence and a non-zero exit."""
    try:
        call()
    except InstantiationException as error:
        sys.exit(f"error: {_explain_instantiation(error)}")
    except (WeaksegError, HydraException, OmegaConfBaseException, ValueError, OSError) as error:
        log.debug("the full story", exc_info=error)
        sys.exit(f"error: {_one_sentence(error)}")
    except MemoryError:
        sys.exit("error: out of memory: lower fit.batch_size, image_size or cam.batch_size")
    except KeyboardInterrupt:
        sys.exit("stopped: run the same command again to go on where it stopped")


def _one_sentence(error: BaseException) -> str:
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror or error}"
    return " ".join(str(error).split()) or type(error).__name__


def _explain_composition(error: Exception) -> str:
    """Say in one line which setting cannot be, without Hydra's hints for its own developers."""
    text = f"{error}\n{error.__cause__ or ''}"
    unknown = re.match(r"Could not override '([^']+)'", text)
    if unknown:
        return f"{unknown.group(1)} is no setting of this command: --help lists them all"
    wrong = re.search(r"^Error merging override (\S+?)=.*\n(.+)", text)
    if wrong:
        return f"{wrong.group(1).lstrip('+')}: {wrong.group(2)}"
    # What follows is for Hydra's own developers.
    useful = re.split(r"Config search path:|See https://hydra\.cc", text)[0]
    return " ".join(useful.split())


def _explain_instantiation(error: InstantiationException) -> str:
    """Put the config key before what its component said."""
    cause: BaseException = error
    while cause.__cause__ is not None:
        cause = cause.__cause__
    key = re.search(r"full_key: (\S+)", str(error))
    sentence = str(cause).strip().splitlines()[0]
    return f"{key.group(1)}: {sentence}" if key else sentence


def _explain_missing(missing: list[str]) -> str:
    hints = {
        "data": "data=folder data.folder=FOLDER, data=index data.index=FILE.csv or data=synthetic",
        "format": "format=via, coco, labelme, masks, smoke5k, smokeseg, ijmond or rise",
        "run": "run=FOLDER, the folder of a finished run",
        "source": "source=IMAGE_VIDEO_FOLDER_OR_URL",
        "output": "output=FOLDER",
    }
    return "; ".join(f"{key} is missing: give {hints.get(key, f'{key}=VALUE')}" for key in missing)


def _separate_sweep_outputs(config: DictConfig) -> None:
    """Give each point of a sweep its own folder, named after what varies, and tell it the sweep.

    Points of `-m` are told by Hydra, those of `wandb agent` by the environment it sets; those of
    `weakseg.sweep` have it all in their words.
    """
    if "output" not in config:
        return
    state = HydraConfig.get()
    words = [(item.lstrip("+~").partition("=")[0], item) for item in state.overrides.task]
    if state.mode == RunMode.MULTIRUN:
        group = Path(state.sweep.dir).name
        fixed = set(state.job.config.override_dirname.exclude_keys)
        point = [item for key, item in words if key not in fixed]
        varied = [item for item in state.job.override_dirname.split(",") if item]
        named = ",".join(item for item in varied if not item.startswith(("output=", "tracking.")))
        folder = re.sub(r"[^A-Za-z0-9=,.+_-]+", "_", named)
        config.output = str(Path(config.output) / folder) if named else config.output
    elif os.environ.get("WANDB_SWEEP_ID") and os.environ.get("WANDB_RUN_ID"):
        group, run = os.environ["WANDB_SWEEP_ID"], os.environ["WANDB_RUN_ID"]
        point = _point_of_agent(os.environ.get("WANDB_SWEEP_PARAM_PATH", ""))
        given = {key for key, _ in words}
        if "output" not in given:
            config.output = f"runs/sweeps/{group}/{run}"
        if "tracker.mode" not in given and OmegaConf.select(config, "tracker.mode") == "offline":
            config.tracker.mode = "online"  # The agent's server waits for the run's figures.
    else:
        return
    if "tracking" in config:
        config.tracking.group = config.tracking.group or group
        named_by = ("output=", "tracking.")
        config.tracking.point = [item for item in point if not item.startswith(named_by)]


def _point_of_agent(path: str) -> list[str]:
    """Read the parameters that `wandb agent` chose for this run, as it types them."""
    if not Path(path).is_file():
        return []
    chosen = cast(dict[str, Any], OmegaConf.to_container(OmegaConf.load(path)))
    return [f"{key}={item['value']}" for key, item in chosen.items() if isinstance(item, dict)]


def _rewrite_arguments(arguments: list[str], command: str) -> list[str]:
    """Let people type less than Hydra asks for, and refuse pickles.

    `experiment=demo` means this command's file of that experiment, `data.where.COLUMN=VALUE` may
    name any column and `sets.NAME=FILE` any set, `compare RUN RUN` gives runs, a chain's
    `stage2.refine=crf` is a word for its stage 2, settings that are words of other commands need no
    second quotes (`settings=cams=RUN`), and `--cfg job` shows values instead of references.
    """
    if any(argument.startswith("--experimental-rerun") for argument in arguments):
        sys.exit("error: --experimental-rerun reads a pickle, which can run code: it is refused")
    if command == "chain":
        if {"-m", "--multirun"} & set(arguments):
            sys.exit("error: a chain takes no -m: sweep over it with `python -m weakseg.sweep`")
        arguments = gathered(arguments, LINKS_OF_A_CHAIN)
    if command == "compare":
        arguments = gather_runs(arguments)
    arguments = quote_texts(arguments, TEXTS.get(command, ()))
    rewritten = [re.sub(r"^(data\.where|sets|groups)\.", r"++\1.", item) for item in arguments]
    if "--cfg" in rewritten and "--resolve" not in rewritten:
        rewritten.append("--resolve")
    if command in STAGES_WITH_EXPERIMENTS:
        rewritten = _expand_refinement(rewritten)
        rewritten = [
            re.sub(r"^\+?experiment=", f"experiment/{command}=", item) for item in rewritten
        ]
    if {"-m", "--multirun"} & set(rewritten):
        rewritten.append(_name_only_what_varies(rewritten))
    return rewritten


def _name_only_what_varies(arguments: list[str]) -> str:
    """Keep what is the same at every point of a sweep out of the names of its folders."""
    given = [item for item in arguments if "=" in item and not item.startswith("-")]
    try:
        overrides = OverridesParser.create().parse_overrides(given)
    except HydraException:
        overrides = []  # Hydra will say so itself.
    fixed = sorted({str(item.key_or_group) for item in overrides if not item.is_sweep_override()})
    listed = ",".join(f"'{key}'" for key in fixed)
    return f"hydra.job.config.override_dirname.exclude_keys=[{listed}]"


def _expand_refinement(arguments: list[str]) -> list[str]:
    """Let any list of steps stand for a refinement: `refine.steps=[crf,sam]`, `refine=sam+crf+sam`.

    Combinations with a file of their own, and lists of choices to sweep over, are left to Hydra.
    """
    known = resources.files("weakseg.conf").joinpath("refine")
    expanded: list[str] = []
    for argument in arguments:
        listed = re.fullmatch(r"refine\.steps=\[([\w, ]*)\]", argument)
        joined = re.fullmatch(r"refine=(\w+(?:\+\w+)+)", argument)
        if listed:
            steps = [step.strip() for step in listed.group(1).split(",") if step.strip()]
        elif joined and not known.joinpath(f"{joined.group(1)}.yaml").is_file():
            steps = joined.group(1).split("+")
        else:
            expanded.append(argument)
            continue
        places = [f"{step}_{i}" if steps.count(step) > 1 else step for i, step in enumerate(steps)]
        expanded.append("refine=none")
        expanded += [
            f"+refine/step@refine.steps.{place}={step}"
            for place, step in zip(places, steps, strict=True)
        ]
        if not any(item.startswith("output=") for item in arguments):
            expanded.append(f"output=runs/stage2/{'+'.join(steps) or 'none'}")
    return expanded


def _log_to_terminal() -> None:
    logging.basicConfig(
        level=logging.INFO,
        format="%(asctime)s %(message)s",
        datefmt="%H:%M:%S",
        handlers=[logging.StreamHandler()],
    )
    logging.captureWarnings(capture=True)


def _guard_composition() -> None:
    """Check every composed configuration before Hydra acts on any of it.

    Hydra builds callbacks and logging handlers itself, ahead of our code, so a stranger's file
    could name a program there. Hydra 1.3 has no hook between composing and acting: hence this.
    """
    compose = ConfigLoaderImpl.load_configuration
    if getattr(compose, "is_guarded", False):
        return

    def guarded(self: ConfigLoaderImpl, *args: Any, **kwargs: Any) -> DictConfig:
        try:
            config = compose(self, *args, **kwargs)
            check_targets(config)
        except ConfigurationError as error:
            sys.exit(f"error: {error}")
        except (HydraException, OmegaConfBaseException, ValueError) as error:
            sys.exit(f"error: {_explain_composition(error)}")
        return config

    guarded.is_guarded = True  # type: ignore[attr-defined]
    ConfigLoaderImpl.load_configuration = guarded  # type: ignore[method-assign]


def check_targets(config: DictConfig) -> None:
    """Refuse a composed configuration that names code outside the allow-list.

    Raises:
        ConfigurationError: Naming the key and what it asked for.
    """
    refuse_foreign_code(OmegaConf.to_container(config, resolve=False))
