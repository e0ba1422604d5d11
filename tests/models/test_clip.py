"""CLIP's patches and texts, checked against open_clip's own network with random weights."""

from __future__ import annotations

import pickle
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_clip import CONFIG, PATCH, SIDE, WIDTH, register, write_weights
from torch import Tensor
from torch.nn import functional as F

from weakseg.errors import MissingExtraError, WeightsError
from weakseg.models import Clip, hub, load_clip
from weakseg.models import clip as clip_module
from weakseg.models.clip import clip_weights_path
from weakseg.models.devices import find_device

pytest.importorskip("open_clip")


@pytest.fixture
def network(monkeypatch: pytest.MonkeyPatch) -> Clip:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Clip(register(monkeypatch))


def images(height: int = SIDE, width: int = SIDE) -> Tensor:
    return torch.rand(2, 3, height, width, generator=torch.Generator().manual_seed(1))


def normalised(network: Clip, pictures: Tensor) -> Tensor:
    return (pictures - network.mean) / network.std


# ---- patches


def test_a_patch_passes_on_its_own_value_alone(network: Clip) -> None:
    """The value path written out: no queries, no keys, no softmax."""
    visual = network.clip.visual
    heard: dict[str, Tensor] = {}
    first, last = visual.transformer.resblocks
    first.register_forward_hook(lambda *call: heard.update(tokens=call[2]))
    network.clip.encode_image(normalised(network, images()))
    tokens = heard["tokens"]
    weight, bias = last.attn.in_proj_weight[2 * WIDTH :], last.attn.in_proj_bias[2 * WIDTH :]
    tokens = tokens + last.attn.out_proj(F.linear(last.ln_1(tokens), weight, bias))
    tokens = tokens + last.mlp(last.ln_2(tokens))
    expected = (visual.ln_post(tokens) @ visual.proj)[:, 1:]
    found = network.patch_features(images())
    assert found.shape == (2, 16, 4, 4)
    torch.testing.assert_close(found.flatten(2).transpose(1, 2), expected, atol=1e-5, rtol=1e-5)


def test_their_mean_is_the_pooled_vector_of_a_network_that_pools_by_the_mean(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    network = Clip(register(monkeypatch, pool_type="avg"))
    last = network.clip.visual.transformer.resblocks[-1]
    found = network.patch_features(images()).mean(dim=(2, 3))
    attended = network.clip.encode_image(normalised(network, images()))
    assert not torch.allclose(found, attended, atol=1e-3)
    # Open_clip's own way from picture to vector, but for the attention of its last block.
    diagonal = torch.full((17, 17), -torch.inf).fill_diagonal_(0)
    monkeypatch.setattr(
        last, "forward", lambda x, attn_mask: type(last).forward(last, x, attn_mask=diagonal)
    )
    pooled = network.clip.encode_image(normalised(network, images()))
    torch.testing.assert_close(found, pooled, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("size", "longer_side", "grid"),
    [
        ((32, 32), None, (4, 4)),
        ((40, 64), None, (5, 8)),
        ((37, 60), None, (5, 8)),
        ((5, 3), None, (1, 1)),
        ((480, 640), 64, (6, 8)),
        ((20, 10), 64, (8, 4)),
    ],
)
def test_any_size_gives_its_grid_of_patches(
    network: Clip, size: tuple[int, int], longer_side: int | None, grid: tuple[int, int]
) -> None:
    found = network.patch_features(images(*size), longer_side=longer_side)
    assert found.shape == (2, 16, *grid)
    assert found.isfinite().all()


def test_positions_are_resized_as_a_grid(network: Clip) -> None:
    """A table that is linear in the row stays so, whatever the grid, and its class token stays."""
    visual = network.clip.visual
    with torch.no_grad():
        rows = torch.arange(4.0).repeat_interleave(4) / 3
        visual.positional_embedding.copy_(torch.cat([torch.tensor([7.0]), rows])[:, None])
    table = network._positions((8, 4))[0]
    assert torch.all(table[0] == 7)
    grid = table[1:].reshape(8, 4, WIDTH)
    # Rows 3 and 4 see no border, and bicubic curves are exact on lines: half an old step apart.
    torch.testing.assert_close(grid[4] - grid[3], torch.full((4, WIDTH), 1 / 6))
    assert torch.all(grid.std(dim=1) < 1e-5)


def test_a_patch_keeps_its_vector_when_others_change_only_after_the_first_block(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With one block alone, which attends to nothing else, patches do not see each other."""
    network = Clip(register(monkeypatch, layers=1))
    pictures = images()
    changed = pictures.clone()
    changed[..., PATCH:] = 0
    before, after = network.patch_features(pictures), network.patch_features(changed)
    torch.testing.assert_close(before[..., 0], after[..., 0])
    assert (before[..., 1:] - after[..., 1:]).abs().amax() > 0.01


# ---- texts


def test_a_class_is_the_mean_direction_of_its_sentences(network: Clip) -> None:
    templates = ["{}", "a photo of {}, far away"]
    found = network.text_vectors([["smoke", "a plume"], ["fog"]], templates)
    tokenize = sys.modules["open_clip"].get_tokenizer("ViT-B-16")

    def naive(sentences: list[str]) -> np.ndarray:
        rows = [network.clip.encode_text(tokenize([s]))[0].numpy() for s in sentences]
        mean = np.mean([row / np.linalg.norm(row) for row in rows], axis=0)
        return mean / np.linalg.norm(mean)

    smoke = ["smoke", "a photo of smoke, far away", "a plume", "a photo of a plume, far away"]
    expected = np.stack([naive(smoke), naive(["fog", "a photo of fog, far away"])])
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-5)
    assert np.abs(expected[0] - expected[1]).max() > 0.01


# ---- weights


def test_a_file_fills_the_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    name = register(monkeypatch)
    file = write_weights(tmp_path / "a.safetensors")
    one, other = (load_clip(name, pretrained=None, weights=file) for _ in range(2))
    torch.testing.assert_close(one(images()), other(images()))
    assert not one.training
    assert not any(parameter.requires_grad for parameter in one.parameters())
    different = load_clip(
        name, pretrained=None, weights=write_weights(tmp_path / "b.safetensors", 1)
    )
    assert not torch.allclose(one(images()), different(images()))


def test_a_training_checkpoint_is_read_without_running_code(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    name = register(monkeypatch)
    network = Clip(name)
    tensors = {f"module.{key}": value for key, value in network.clip.state_dict().items()}
    tensors["module.logit_scale"] = tensors["module.logit_scale"].reshape(1)
    torch.save({"epoch": 3, "state_dict": tensors}, tmp_path / "a.pt")
    loaded = load_clip(name, pretrained=None, weights=tmp_path / "a.pt")
    torch.testing.assert_close(loaded(images()), network(images()))

    class Stranger:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.touch, (tmp_path / "a-stranger-was-here",)

    torch.save({"state_dict": Stranger()}, tmp_path / "b.pt")
    (tmp_path / "c.bin").write_bytes(pickle.dumps([1, 2], protocol=2))
    for file in ("b.pt", "c.bin"):
        with pytest.raises(WeightsError, match=file):
            load_clip(name, pretrained=None, weights=tmp_path / file)
    assert not (tmp_path / "a-stranger-was-here").exists()


def test_weights_that_do_not_fit_are_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    name = register(monkeypatch)
    file = write_weights(tmp_path / "a.safetensors")
    register(monkeypatch, layers=3)
    with pytest.raises(WeightsError, match=r"a\.safetensors does not fit .* tensors missing"):
        load_clip(name, pretrained=None, weights=file)


def test_missing_weights_say_the_way_out(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"nowhere: correct refine\.steps\.clip\.weights"):
        clip_weights_path("ViT-B-16", pretrained="openai", weights=tmp_path / "nowhere")
    with pytest.raises(WeightsError, match=r"give refine\.steps\.clip\.weights=FILE"):
        clip_weights_path("ViT-B-16", pretrained=None, weights=None)
    with pytest.raises(ValueError, match=r"pretrained=magic is not known for ViT-B-16: .*openai"):
        clip_weights_path("ViT-B-16", pretrained="magic", weights=None)


def test_the_hub_is_asked_for_the_safetensors_file(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, Any] = {}

    def fetch(repository: str, **told: Any) -> Path:
        asked.update(told, repository=repository)
        return Path("found")

    monkeypatch.setattr(hub, "fetch", fetch)
    assert clip_weights_path("ViT-B-16", pretrained="openai", weights=None) == Path("found")
    assert asked["repository"] == "timm/vit_base_patch16_clip_224.openai"
    assert asked["file"] == "open_clip_model.safetensors"
    assert not asked["random"]


def test_an_unreachable_hub_is_told_without_offering_random_weights(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def not_cached(*_: Any, **told: Any) -> str:
        raise hub.LocalEntryNotFoundError("not cached")

    monkeypatch.setattr(hub.huggingface_hub, "hf_hub_download", not_cached)
    monkeypatch.setattr(hub.constants, "HF_HUB_OFFLINE", True)
    way_out = r"ViT-B-16 \(openai\) are not cached .*: give refine\.steps\.clip\.weights=FILE\S*$"
    with pytest.raises(WeightsError, match=way_out):
        clip_weights_path("ViT-B-16", pretrained="openai", weights=None)


def test_how_the_weights_were_trained_settles_activation_and_normalisation(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    name = register(monkeypatch)
    told = {"quick_gelu": True, "mean": (0.1, 0.2, 0.3), "std": (0.5, 0.5, 0.5)}
    monkeypatch.setattr(clip_module, "pretrained_settings", lambda *_: told)
    trained, plain = Clip(name, "tag"), Clip(name)
    block = trained.clip.visual.transformer.resblocks[0]
    assert type(block.mlp.gelu).__name__ == "QuickGELU"
    assert trained.mean.flatten().tolist() == pytest.approx([0.1, 0.2, 0.3])
    assert type(plain.clip.visual.transformer.resblocks[0].mlp.gelu) is torch.nn.GELU
    assert plain.mean.flatten().tolist() == pytest.approx([0.48145466, 0.4578275, 0.40821073])


# ---- refusals


@pytest.mark.parametrize("name", ["RN50", "ViT-B-16-SigLIP", "coca_ViT-B-32", "ViT-H-14-CLIPA"])
def test_models_without_a_plain_vit_are_refused_by_name(name: str) -> None:
    with pytest.raises(ValueError, match=f"model: {name} has no plain ViT"):
        Clip(name)


@pytest.mark.parametrize("name", ["ViT-magic", "local-dir:/tmp"])
def test_unknown_models_are_refused_by_name(name: str) -> None:
    with pytest.raises(ValueError, match=f"model: open_clip knows no {name}"):
        Clip(name)


def test_a_missing_package_is_told_by_the_extra_that_brings_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "open_clip", None)
    with pytest.raises(MissingExtraError, match=r"pip install weakseg\[clip\]"):
        Clip("ViT-B-16")


def test_the_configuration_of_open_clip_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    Clip(register(monkeypatch))
    assert set(CONFIG) == {"embed_dim", "vision_cfg", "text_cfg"}


def test_devices_go_by_torchs_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert find_device("auto") == find_device("cpu") == torch.device("cpu")
    assert find_device("cuda") == find_device("gpu") == torch.device("cuda")
    with pytest.raises(ValueError, match="device=cuda:1, but torch sees 1"):
        find_device("cuda:1")
    with pytest.raises(ValueError, match="device must be auto"):
        find_device("toaster")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert find_device("auto") == torch.device("cuda")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    with pytest.raises(ValueError, match="device=gpu, but torch sees 0 GPUs: take auto or cpu"):
        find_device("gpu")
