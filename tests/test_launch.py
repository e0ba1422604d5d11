"""The command line understands short words, runs no stranger's code, and errs in sentences."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from doors import STAGES, Done, Doors
from omegaconf import OmegaConf

from weakseg.launch import (
    _expand_refinement,
    _rewrite_arguments,
    check_targets,
)
from weakseg.targets import ConfigurationError

DATA = ("data=synthetic", "data.scenes=12", "data.frames_per_scene=1", "data.size=32")


Ask = Callable[..., Done]


@pytest.fixture
def ask(doors: Doors, tmp_path: Path) -> Ask:
    """Run a command in an empty folder."""

    def run(command: str, *arguments: str) -> Done:
        return doors.run(command, *arguments, cwd=tmp_path)

    return run


# ---- short words


def test_experiment_means_this_commands_own() -> None:
    assert _rewrite_arguments(["experiment=demo"], "stage2") == ["experiment/stage2=demo"]
    assert _rewrite_arguments(["experiment=demo"], "predict") == ["experiment=demo"]


def test_any_column_can_be_selected_by() -> None:
    assert _rewrite_arguments(["data.where.subset=core"], "stage1") == ["++data.where.subset=core"]


def test_experiment_sets_what_its_file_says(ask: Ask) -> None:
    for stage, key in (
        ("stage1", "runs/demo/stage1"),
        ("stage2", "runs/demo/stage2"),
        ("stage3", "runs/demo/stage3"),
    ):
        done = ask(stage, "experiment=demo", "--cfg", "job")
        assert yaml.safe_load(done.out)["output"] == key


def test_command_line_wins_over_the_experiment(ask: Ask) -> None:
    done = ask("stage1", "experiment=demo", "fit.epochs=3", "--cfg", "job")
    assert yaml.safe_load(done.out)["fit"]["epochs"] == 3


@pytest.mark.parametrize(
    ("given", "steps"),
    [
        ("refine=none", []),
        ("refine=crf", ["crf"]),
        ("refine=crf+sam", ["crf", "sam"]),
        ("refine=sam+crf+sam", ["sam_0", "crf", "sam_2"]),
        ("refine.steps=[crf,sam]", ["crf", "sam"]),
        ("refine.steps=[sam, crf]", ["sam", "crf"]),
        ("refine.steps=[]", []),
        ("refine.steps=[crf,crf]", ["crf_0", "crf_1"]),
    ],
)
def test_any_list_of_steps_composes_in_its_order(ask: Ask, given: str, steps: list[str]) -> None:
    done = ask("stage2", given, "--cfg", "job")
    assert list(yaml.safe_load(done.out)["refine"]["steps"] or {}) == steps


def test_list_of_steps_names_the_output_unless_it_is_given() -> None:
    assert "output=runs/stage2/sam+crf+sam" in _expand_refinement(["refine=sam+crf+sam"])
    given = ["refine.steps=[crf,sam]", "output=here"]
    assert [item for item in _expand_refinement(given) if "output" in item] == ["output=here"]


def test_steps_to_sweep_over_are_left_to_hydra() -> None:
    assert _expand_refinement(["refine=none,crf+sam"]) == ["refine=none,crf+sam"]


def test_settings_of_a_listed_step_can_be_given(ask: Ask) -> None:
    done = ask("stage2", "refine.steps=[crf]", "refine.steps.crf.iterations=2", "--cfg", "job")
    assert yaml.safe_load(done.out)["refine"]["steps"]["crf"]["iterations"] == 2


def test_unknown_step_is_refused_in_words(ask: Ask) -> None:
    sentence = ask("stage2", "refine.steps=[crf,magic]").sentence
    assert "magic" in sentence
    assert "crf" in sentence


# ---- what is told without running


def test_cfg_job_shows_values_not_references(ask: Ask) -> None:
    done = ask("stage1", "data=synthetic", "seed=7", "--cfg", "job")
    assert done.code == 0
    assert "${" not in done.out
    config = yaml.safe_load(done.out)
    assert config["fit"]["seed"] == 7
    assert config["classifier"]["image_size"] == config["image_size"]


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("stage1", ["classifier=NAME", "data=folder", "cam=METHOD", "experiment=demo", "vit_base"]),
        ("stage2", ["refine=none|crf|sam|crf+sam", "threshold=RULE", "sam_checkpoint=FILE"]),
        ("stage3", ["selection=labels|val", "pseudo_masks=RUN", "loss=ce_dice|dense_crf"]),
        ("check", ["quarantine", "near_duplicate_bits"]),
        ("evaluate", ["run=RUN", "data.index=FILE.csv"]),
        ("predict", ["source=IMAGE_VIDEO_FOLDER_OR_URL", "cut=0.5"]),
    ],
)
def test_help_explains_the_common_settings(
    ask: Ask, tmp_path: Path, command: str, words: list[str]
) -> None:
    done = ask(command, "--help")
    assert done.code == 0
    assert [word for word in words if word not in done.out] == []
    assert list(tmp_path.iterdir()) == []


# ---- refusals


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("stage1", ["data=folder data.folder=FOLDER", "data=index", "data=synthetic"]),
        ("check", ["data=folder data.folder=FOLDER"]),
        ("evaluate", ["run=FOLDER"]),
        ("predict", ["run=FOLDER", "source=IMAGE_VIDEO_FOLDER_OR_URL", "output=FOLDER"]),
    ],
)
def test_missing_setting_is_named_with_the_way_out(
    ask: Ask, tmp_path: Path, command: str, words: list[str]
) -> None:
    sentence = ask(command).sentence
    assert [word for word in words if word not in sentence] == []
    assert list(tmp_path.iterdir()) == []


def test_missing_setting_inside_a_group_is_named(ask: Ask) -> None:
    assert "data.index" in ask("stage1", "data=index").sentence


@pytest.mark.parametrize(
    ("argument", "words"),
    [
        ("no_such_key=1", "no_such_key is no setting"),
        ("fit.no_such_key=1", "fit.no_such_key is no setting"),
        ("classifier.no_such_key=1", "classifier.no_such_key is no setting"),
        ("masks=truth", "masks is no setting"),
        ("classifier=no_such_network", "efficientnet_lite0"),
        ("classifier=3", "Config group override must be a string"),
        ("seed=x", "seed: Value 'x'"),
        ("optimizer.lr=[1", "no viable alternative"),
        ("hardware=3", "hardware: "),
    ],
)
def test_wrong_setting_is_refused_in_one_sentence(ask: Ask, argument: str, words: str) -> None:
    assert words in ask("stage1", *DATA, argument).sentence


@pytest.mark.parametrize(
    ("command", "argument", "words"),
    [
        ("stage1", "fit.epochs=0", "fit: epochs must be at least 1, got 0"),
        ("stage1", "fit.epochs=many", "fit: epochs must be a number, got 'many'"),
        ("stage1", "cam.fusion=sum", "cam: fusion must be one of"),
        ("stage1", "data.val_fraction=2", "data: val_fraction must lie in [0, 1], got 2"),
        ("stage1", "loss.label_smoothing=-1", "loss: "),
        (
            "stage2",
            "refine.steps.crf.iterations=0",
            "refine.steps.crf: iterations must be at least",
        ),
        ("stage2", "background.alpha=0", "background: alpha must be above 0, got 0"),
        ("stage2", "threshold.target=2", "threshold: target must lie in [0, 1], got 2"),
        ("stage3", "loss.dice_weight=-1", "loss: dice_weight must be at least 0, got -1"),
        ("stage3", "inference.tile_above=0", "inference: tile_above must be"),
    ],
)
def test_component_says_which_key_is_wrong(
    ask: Ask, command: str, argument: str, words: str
) -> None:
    data = ("data=index", "data.index=none.csv") if command == "stage1" else ()
    sentence = ask(command, *data, argument).sentence
    assert sentence.startswith(words)


@pytest.mark.parametrize(
    ("argument", "words"),
    [
        ("classifier.share=2", "share must lie in"),
        ("classifier.name=no_such_net", "no_such_net"),
        ("optimizer.lr=-1", "learning rate"),
    ],
)
def test_component_built_late_says_what_is_wrong(ask: Ask, argument: str, words: str) -> None:
    assert words in ask("stage1", *DATA, *STAGES["stage1"], argument).sentence


# ---- code of strangers


MARKER = "a-stranger-was-here"


def stranger(tmp_path: Path, text: str) -> str:
    """Write a configuration file as somebody might send it."""
    folder = tmp_path / "sent" / "experiment" / "stage1"
    folder.mkdir(parents=True)
    (folder / "sent.yaml").write_text("# @package _global_\n" + text)
    return f"--config-dir={tmp_path / 'sent'}"


FOREIGN = {
    "component": """
        optimizer:
          _target_: os.mkdir
          _partial_: false
          path: {marker}
    """,
    "allowed module, foreign name": """
        loss:
          _target_: weakseg.data.reading.struct.sys.modules
    """,
    "in a list": """
        calibration:
          x: 1.0
        augmentation:
          _target_: weakseg.data.Augmentation
          more:
            - _target_: os.mkdir
              path: {marker}
    """,
    "hydra callback": """
        hydra:
          callbacks:
            one:
              _target_: os.mkdir
              path: {marker}
    """,
    "hydra launcher": """
        hydra:
          launcher:
            _target_: os.getcwd
    """,
    "logging factory": """
        hydra:
          job_logging:
            version: 1
            handlers:
              one:
                (): os.mkdir
                path: {marker}
    """,
    "logging class": """
        hydra:
          hydra_logging:
            version: 1
            handlers:
              one:
                class: subprocess.Popen
                args: [touch, "{marker}"]
            root:
              handlers: [one]
    """,
    "logging factory by ext": """
        hydra:
          job_logging:
            version: 1
            formatters:
              one:
                (): ext://os.mkdir
                path: {marker}
    """,
}


@pytest.mark.parametrize("way", FOREIGN)
def test_strangers_configuration_runs_no_code(ask: Ask, tmp_path: Path, way: str) -> None:
    lines = FOREIGN[way].format(marker=tmp_path / MARKER).splitlines()
    given = stranger(tmp_path, "\n".join(line[8:] for line in lines))
    sentence = ask("stage1", given, "experiment=sent", *DATA).sentence
    assert "may not build" in sentence or "is not among the components" in sentence
    assert {path.name for path in tmp_path.iterdir()} == {"sent"}


def test_strangers_configuration_runs_no_code_in_a_sweep(ask: Ask, tmp_path: Path) -> None:
    text = f"hydra:\n  callbacks:\n    one: {{_target_: os.mkdir, path: {tmp_path / MARKER}}}\n"
    done = ask("stage1", "-m", stranger(tmp_path, text), "experiment=sent", *DATA, "seed=0,1")
    assert "is not among the components" in done.sentence
    assert not (tmp_path / MARKER).exists()


def test_strangers_code_is_refused_from_the_command_line(ask: Ask, tmp_path: Path) -> None:
    done = ask("stage1", *DATA, f"+loss.x={{_target_:os.mkdir,path:{tmp_path / MARKER}}}")
    assert "loss.x._target_: 'os.mkdir' is not among the components" in done.sentence


def test_pickled_rerun_is_refused(ask: Ask) -> None:
    assert "pickle" in ask("stage1", "--experimental-rerun", "config.pickle").sentence


def test_target_behind_a_reference_is_refused() -> None:
    for target in ("${name}", "${oc.env:NAME}"):
        config = OmegaConf.create({"loss": {"_target_": target}, "name": "os.system"})
        with pytest.raises(ConfigurationError, match=r"loss\._target_"):
            check_targets(config)


def test_refusals_reach_a_real_terminal(tmp_path: Path) -> None:
    given = stranger(tmp_path, f"loss: {{_target_: os.mkdir, path: {tmp_path / MARKER}}}")
    done = subprocess.run(
        [sys.executable, "-m", "weakseg.stage1", given, "experiment=sent", *DATA],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 1
    assert done.stderr.startswith("error: loss._target_: 'os.mkdir' is not among")
    assert {path.name for path in tmp_path.iterdir()} == {"sent"}


# ---- sweeps


@pytest.mark.slow
def test_sweep_gives_each_point_a_folder(ask: Ask, tmp_path: Path) -> None:
    done = ask("stage1", "-m", *DATA, *STAGES["stage1"], "fit.epochs=1", "seed=0,1", "output=sweep")
    assert done.code == 0, done.err
    runs = sorted(path.parent for path in (tmp_path / "sweep").rglob("manifest.json"))
    assert [run.name for run in runs] == ["seed=0", "seed=1"]
    for run in runs:
        assert (run / "report.html").exists()
    weights = [(run / "checkpoints" / "best.safetensors").read_bytes() for run in runs]
    assert weights[0] != weights[1]


def test_words_for_other_commands_need_no_second_quotes() -> None:
    words = ["file=refinement", "settings=cams=runs/stage1/vit tracker=none", "jobs=2"]
    assert _rewrite_arguments(words, "sweep") == [
        "file=refinement",
        "settings='cams=runs/stage1/vit tracker=none'",
        "jobs=2",
    ]
    quoted = ["stage1='tracker=none'", 'stage2="refine=none"']
    assert _rewrite_arguments(quoted, "ablation") == quoted
    assert _rewrite_arguments(["stage1=fit.epochs=2"], "ablation") == ["stage1='fit.epochs=2'"]
