from __future__ import annotations

import shlex
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import typer
from typer.testing import CliRunner

from distill.cli import app
from distill.console import Failure, UsageFailure, run_app
from distill.data.spec import KINDS
from distill.models.embedder import Embedder
from distill.models.registry import build_backbone
from distill.options import read_recipe
from distill.training.config import StudentConfig, TeacherConfig, make_config
from distill.training.setup import in_bfloat16

RECIPES = sorted((Path(__file__).parents[2] / "recipes").glob("*.yaml"))


@pytest.mark.parametrize(("command", "config"), [("teacher", TeacherConfig), ("student", StudentConfig)])
def test_every_option_is_a_flag(command, config):
    flags = {
        option
        for parameter in typer.main.get_command(app).commands[command].params
        for option in [*parameter.opts, *parameter.secondary_opts]
    }
    assert {"--" + name.replace("_", "-") for name in config.model_fields} <= flags


@pytest.mark.parametrize("command", ["teacher", "student", "evaluate"])
def test_help_teaches(command):
    result = CliRunner().invoke(app, [command, "--help"])
    assert result.exit_code == 0
    assert "distill-train" in result.output


def test_an_unknown_option_is_answered_with_the_nearest():
    with pytest.raises(UsageFailure, match="did you mean 'epochs'"):
        make_config(StudentConfig, {"epoch": 3}, "my.yaml")


@pytest.mark.parametrize(
    "values",
    [
        {"epochs": -1},
        {"lr": 0},
        {"lr": "fast"},
        {"optimizer": "adm"},
        {"crop_scale": 1.5},
        {"batch_size": 1},
        {"lr": float("inf")},
        {"threads": 100000},
        {"seed": 10**20},
    ],
)
def test_a_value_out_of_range_names_the_flag(values):
    with pytest.raises(UsageFailure, match="--" + next(iter(values)).replace("_", "-")):
        make_config(TeacherConfig, values)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["student", "--out", "x", "--epochs", "many"], "--epochs"),
        (["student", "--out", "x", "--optimizer", "adm"], "adamw"),
        (["student", "--out", "x", "--epoch", "3"], "--epochs"),
        (["student"], "--out"),
        (["studnet", "--out", "x"], "student"),
        (["student", "--out", "."], "current folder"),
        (["student", "--out", "/"], "current folder"),
    ],
)
def test_wrong_usage_is_one_line_and_exit_code_2(arguments, says, capsys):
    assert run_app(app, arguments) == 2
    told = capsys.readouterr().err.strip()
    assert says in told and "Traceback" not in told
    assert len(told.splitlines()) == 1


def test_a_recipe_sets_options_and_flags_win(tmp_path, monkeypatch):
    recipe = tmp_path / "r.yaml"
    recipe.write_text("epochs: 3\nlr: 0.01\nimages-per-class: 2\n")
    seen = {}
    monkeypatch.setattr("distill.cli._print", lambda *_: None)
    monkeypatch.setattr(
        "distill.runs.train_run",
        lambda kind, config, out, overwrite: seen.update(config=config) or type("I", (), {"metrics": {}}),
    )
    assert (
        run_app(app, ["student", "--recipe", str(recipe), "--epochs", "5", "--out", str(tmp_path / "o"), "--no-flip"])
        == 0
    )
    config = seen["config"]
    assert (config.epochs, config.lr, config.images_per_class, config.flip) == (5, 0.01, 2, False)


@pytest.mark.parametrize("text", ["- a\n- b\n", "a: [", "!!python/object/apply:os.system ['true']", "3", "[" * 5000])
def test_a_recipe_that_is_no_mapping_is_refused(tmp_path, text):
    path = tmp_path / "r.yaml"
    path.write_text(text)
    with pytest.raises(Failure):
        read_recipe(path)


def test_a_missing_recipe_is_named(tmp_path):
    with pytest.raises(Failure, match="no.yaml"):
        read_recipe(tmp_path / "no.yaml")


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_shipped_recipes_hold_known_options_and_open_with_their_command(recipe):
    kind = TeacherConfig if "teacher" in recipe.stem else StudentConfig
    make_config(kind, read_recipe(recipe), recipe.name)
    first = recipe.read_text().splitlines()[0]
    assert first.startswith("# distill-train ") and f" --recipe {recipe.stem} " in first


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_the_commands_above_a_recipe_are_valid(recipe, monkeypatch):
    """Taken as they stand there, from the repository's root; only the work itself is left out."""
    seen = {}

    def train(kind, config, out, overwrite):
        seen[kind] = config
        return type("Info", (), {"metrics": {}})

    monkeypatch.setattr("distill.runs.train_run", train)
    monkeypatch.setattr("distill.cli._verify", lambda *arguments: seen.update(verified=arguments) or {})
    monkeypatch.setattr("distill.cli._print", lambda *_: None)
    monkeypatch.chdir(recipe.parents[1])
    commands = [line[2:] for line in recipe.read_text().splitlines() if line.startswith("# distill-train ")]
    for command in commands:
        assert run_app(app, shlex.split(command)[1:]) == 0, command
    role = recipe.stem.rpartition("-")[2]  # teacher, student, or alone: a student without a teacher
    config = seen["teacher" if role == "teacher" else "student"]
    assert config.model_dump() | read_recipe(recipe) == config.model_dump()
    assert config.batch_size % config.images_per_class == 0
    assert data_kind(config.data) in KINDS
    assert role == "teacher" or bool(config.teacher) == (role == "student")
    from distill.losses.method import parse_method

    parse_method(config.method)
    assert ("verified" in seen) == recipe.stem.startswith("faces")


def data_kind(spec):
    return spec.partition(":")[0]


@pytest.mark.parametrize(
    ("capabilities", "native"),
    [
        ({"amx_bf16": True, "avx512_bf16": True}, True),
        ({"avx512_bf16": True}, False),
        ({"avx2": True}, False),
        ({}, False),
    ],
)
def test_auto_takes_bfloat16_on_a_cpu_with_amx_only(monkeypatch, capabilities, native):
    """With AVX512-BF16 alone it is slower than float32."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities)
    device = torch.device("cpu")
    plain, depthwise = (Embedder(build_backbone(name), 8) for name in ("resnet18", "mobilenet_v1_025"))
    assert in_bfloat16(plain, "auto", device) == native
    assert not in_bfloat16(depthwise, "auto", device)
    assert in_bfloat16(depthwise, "bfloat16", device) and not in_bfloat16(plain, "float32", device)


@pytest.mark.parametrize(("major", "native"), [(7, False), (8, True), (9, True)])
def test_auto_takes_bfloat16_on_a_gpu_that_computes_it(monkeypatch, major, native):
    """A T4 (7.5), which Colab and Kaggle lend, emulates it: torch counts that as support unless asked not to."""
    monkeypatch.setattr(torch.version, "hip", None)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch.cuda, "_check_bf16_tensor_supported", lambda device: True)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: SimpleNamespace(major=major))
    assert in_bfloat16(Embedder(build_backbone("resnet18"), 8), "auto", torch.device("cuda")) == native
