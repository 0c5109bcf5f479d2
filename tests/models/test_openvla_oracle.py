"""OpenVLA and OFT against what the published code computes on tiny checkpoints in the published formats (fp32, CPU)."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from vlacache.core.policies import build_cache_policy
from vlacache.models.factory import LoadedModel, ModelConfig, load_model
from vlacache.models.fields import read_fields
from vlacache.models.heads import TokenBinHead, detokenize, gripper_to_robosuite, normalize, unnormalize
from vlacache.models.openvla import load_openvla
from vlacache.models.policy import CachedPolicy
from vlacache.models.preprocess import frames_from_observation
from vlacache.models.prismatic import VLAModel
from vlacache.models.statistics import read_bounds, read_statistics, select_statistics
from vlacache.models.weights import open_safetensors
from vlacache.types import Observation

CPU = torch.device("cpu")
FOLDERS = {"openvla": "openvla_tiny", "openvla_oft": "oft_tiny"}
STATS_KEYS = ["bridge_orig", "fractal20220817_data", "libero_spatial_no_noops", "tiny_mixed_mask", "tiny_no_mask"]
ATOL = 2e-5


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory, oracles_dir: Path) -> dict[str, Path]:
    """The checkpoints with their tower sizes beside them."""
    made = {}
    for name, folder in FOLDERS.items():
        made[name] = tmp_path_factory.mktemp(name) / folder
        shutil.copytree(oracles_dir / "models" / folder / "checkpoint", made[name])
        shutil.copyfile(oracles_dir / "models" / folder / "towers.json", made[name] / "towers.json")
    return made


@pytest.fixture(scope="module")
def expected(oracles_dir: Path) -> dict[str, dict[str, Tensor]]:
    return {n: load_file(oracles_dir / "models" / f / "expected.safetensors") for n, f in FOLDERS.items()}


@pytest.fixture(scope="module")
def models(folders: dict[str, Path]) -> dict[str, VLAModel]:
    """Loaded in float32; the oracle's pictures went through the plain image processor, without LIBERO's steps."""
    made = {}
    for name, folder in folders.items():
        model = load_openvla(folder, name, "libero_spatial", device=CPU, dtype=torch.float32).eval()
        model.config = replace(model.config, image_steps=("bicubic",), gripper="as_is")
        made[name] = model
    return made


def frames_of(model: VLAModel, *pictures: Tensor) -> Tensor:
    images = {view: p.numpy() for view, p in zip(model.config.views, pictures, strict=True)}
    size, steps = model.config.towers[0].image_size, model.config.image_steps
    return frames_from_observation(Observation(images, "", None, 0), model.config.views, size, steps)


def close(found: Tensor, wanted: Tensor, atol: float = ATOL) -> None:
    torch.testing.assert_close(found.reshape(wanted.shape), wanted, atol=atol, rtol=0.0)


@torch.no_grad()
def hidden_states(model: VLAModel, embeds: Tensor, *, causal: bool) -> list[Tensor]:
    """Input and output of every layer, then the final norm."""
    n = embeds.shape[1]
    cos, sin = (table[:n] for table in model.decoder.rope(n, embeds))
    states = [embeds]
    for layer in model.decoder.layers:
        states.append(layer(states[-1], cos, sin, causal=causal))
    return [*states, model.decoder.norm(states[-1])]


def check_vision(model: VLAModel, frames: Tensor, expected: dict[str, Tensor], case: str) -> Tensor:
    """Pixels, each tower, projector; gives the vision tokens."""
    pixels = torch.cat([model.vision.normalized(frames, i) for i in range(2)], dim=1)
    close(pixels, expected[f"{case}.pixel_values"], 1e-6)
    with torch.no_grad():
        features = model.vision.features(frames)
        tokens = model.vision(frames)
    width = model.config.towers[0].width
    close(features[..., :width], expected[f"{case}.dino_features"])
    close(features[..., width:], expected[f"{case}.siglip_features"])
    close(tokens, expected[f"{case}.projector"])
    return tokens


@pytest.mark.parametrize("case", ["case0", "case1"])
def test_openvla_stage_by_stage(models, expected, case: str) -> None:
    model, want = models["openvla"], expected["openvla"]
    tokens = check_vision(model, frames_of(model, want[f"{case}.image_u8"]), want, case)
    embeds = model.assemble(tokens[None], want[f"{case}.input_ids_full"], None)
    states = hidden_states(model, embeds, causal=True)
    for index, name in enumerate(["hidden.0", "hidden.1", "hidden.2", "hidden.3_prenorm", "hidden.final_norm"]):
        close(states[index], want[f"{case}.{name}"])
    close(model.head(states[-1][0, -1]), want[f"{case}.last_logits"])


@pytest.mark.parametrize("case", ["case0", "case1"])
def test_the_norms_epsilon_matters(models, folders, expected, case: str) -> None:
    """Same weights with 1e-5 (what native Prismatic checkpoints have): the other golden values, and not these."""
    model, want = models["openvla"], expected["openvla"]
    decoder = replace(model.config.decoder, rms_eps=1e-5)
    with torch.device("meta"):
        other = VLAModel(replace(model.config, decoder=decoder))
    other.load_state_dict(model.state_dict(), assign=True)
    states = hidden_states(other, want[f"{case}.hidden.0"], causal=True)
    close(states[-1], want[f"{case}.eps1e-5.hidden.final_norm"])
    assert (states[-1] - want[f"{case}.hidden.final_norm"]).abs().max() > 1e-3


@pytest.mark.parametrize("case", ["case0", "case1"])
def test_openvla_whole_call(folders, models, expected, case: str) -> None:
    """Picture and ids in, actions out, through the cached policy; ids without the final space get it."""
    want = expected["openvla"]
    key = {"case0": "bridge_orig", "case1": "fractal20220817_data"}[case]
    ids = tuple(want[f"{case}.input_ids"][0].tolist())
    loaded = load_model(ModelConfig("openvla", str(folders["openvla"]), dtype="float32", unnorm_key=key, input_ids=ids))
    # The oracle's actions are those of the network, before a robot's rules, on the plain image processor's picture.
    raw = replace(loaded.model.config, image_steps=("bicubic",), views=("agentview",), robot=None)
    loaded.model.config = raw
    observation = Observation({"agentview": want[f"{case}.image_u8"].numpy()}, "ids decide", None, 0)
    for name in ("none", "adaptive"):
        numbers = {"dense_below_speed": None, "dense_at_grip": False} if name == "adaptive" else {}
        policy = CachedPolicy(loaded, build_cache_policy(name, numbers))
        policy.reset(0)
        for _ in range(2):
            chunk = policy.infer(observation)
            np.testing.assert_allclose(chunk.actions[0], want[f"{case}.actions.{key}"].numpy(), rtol=0, atol=1e-7)


@pytest.mark.parametrize("case", ["case0", "case1"])
def test_openvla_greedy_tokens(models, expected, case: str) -> None:
    """Exactly, over the whole vocabulary; in case 1 one of them is no action id."""
    model, want = models["openvla"], expected["openvla"]
    ids = want[f"{case}.input_ids_full"]
    frames = frames_of(model, want[f"{case}.image_u8"])
    found, logits = [], []
    with torch.no_grad():
        for _ in range(7):
            row = model(frames[None], ids)[0]
            logits.append(row[want[f"{case}.step_top8_ids"][len(found)]])
            found.append(int(row.argmax()))
            ids = torch.cat([ids, torch.tensor([[found[-1]]])], dim=1)
    assert found == want[f"{case}.greedy_tokens"].tolist()
    close(torch.stack(logits), want[f"{case}.step_top8_logits"])


@pytest.mark.parametrize("case", ["case0", "case1"])
@pytest.mark.parametrize("key", STATS_KEYS)
def test_actions_from_ids_under_every_statistics(models, folders, expected, case: str, key: str) -> None:
    """Masks in the middle and no mask at all; fp64."""
    config, want = models["openvla"].config, expected["openvla"]
    folder = folders["openvla"]
    _, statistics = select_statistics(read_statistics(folder, read_fields(folder / "config.json")), key)
    low, high, mask = read_bounds(statistics, "action", 7)
    values = detokenize(want[f"{case}.greedy_tokens"].numpy(), config.num_tokens, config.num_action_bins)
    actions = unnormalize(values, low, high, mask)
    np.testing.assert_allclose(actions, want[f"{case}.actions.{key}"].numpy(), rtol=0, atol=1e-9)


def test_all_256_action_ids(models, expected) -> None:
    config, want = models["openvla"].config, expected["openvla"]
    values = detokenize(want["detok.ids"].numpy(), config.num_tokens, config.num_action_bins)
    np.testing.assert_allclose(values, want["detok.normalized"].numpy(), rtol=0, atol=1e-9)


def test_image_processor_on_a_picture_that_is_not_square(models, expected) -> None:
    """With the checkpoint's rounded constants, and with the nominal ones where the file has no others."""
    model, want = models["openvla"], expected["openvla"]
    frames = frames_of(model, want["proc0.image_u8"])
    pixels = torch.cat([model.vision.normalized(frames, i) for i in range(2)], dim=1)
    close(pixels, want["proc0.pixel_values"], 1e-6)
    nominal = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1), torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
    close((frames[0] / 255 - nominal[0]) / nominal[1], want["proc0.pixel_values_nominal_mean"][:3], 1e-6)


def oft_embeds(model: VLAModel, want: dict[str, Tensor]) -> Tensor:
    frames = frames_of(model, want["case0.image0_u8"], want["case0.image1_u8"])
    pixels = torch.cat([model.vision.normalized(frames[v : v + 1], i) for v in range(2) for i in range(2)], dim=1)
    close(pixels, want["case0.pixel_values"], 1e-6)
    with torch.no_grad():
        features, tokens = model.vision.features(frames), model.vision(frames)
    width = model.config.towers[0].width
    close(features.flatten(0, 1)[:, :width], want["case0.dino_features"])
    close(features.flatten(0, 1)[:, width:], want["case0.siglip_features"])
    close(tokens, want["case0.projector"])
    config = model.config
    proprio = normalize(want["case0.proprio_raw"], config.proprio_low, config.proprio_high, config.proprio_mask)
    close(proprio, want["case0.proprio_normalized"], 1e-9)
    assert model.proprio is not None
    with torch.no_grad():
        close(model.proprio(proprio.float()[None]), want["case0.proprio_token"])
        return model.assemble(tokens[None], want["case0.input_ids_full"], proprio.float()[None])


def test_oft_stage_by_stage(models, expected) -> None:
    model, want = models["openvla_oft"], expected["openvla_oft"]
    embeds = oft_embeds(model, want)
    states = hidden_states(model, embeds, causal=False)
    for index, name in enumerate(["hidden.0", "hidden.1", "hidden.2", "hidden.3_prenorm", "hidden.final_norm"]):
        close(states[index], want[f"case0.{name}"])
    layout = model.layout(want["case0.input_ids_full"].shape[1])
    rows = model.head_rows(layout)
    assert layout.num_tokens == int(want["case0.seq_len"]) and rows == want["case0.window_positions"].tolist()
    close(states[-1][:, rows], want["case0.window_hidden"])
    with torch.no_grad():
        actions = model.head(states[-1][0, rows])
    close(actions, want["case0.actions_normalized"])


def test_oft_does_not_match_the_causal_run(models, expected) -> None:
    """The mistake of running the published script on stock transformers; ours makes it only on request."""
    model, want = models["openvla_oft"], expected["openvla_oft"]
    window = want["case0.window_positions"]
    causal, full = (hidden_states(model, want["case0.hidden.0"], causal=c)[-1][:, window] for c in (True, False))
    close(causal, want["case0.negative_causal.window_hidden"])
    assert (full - want["case0.negative_causal.window_hidden"]).abs().max() > 0.1


def test_oft_discrete_tokens_from_the_same_window(models, folders, expected) -> None:
    """The text head that our OFT leaves in the file, on our hidden states."""
    model, want = models["openvla_oft"], expected["openvla_oft"]
    config = model.config
    head = TokenBinHead(config.decoder.hidden_size, config.decoder.vocab_size, 256, config.vocab_padding)
    weight = open_safetensors(folders["openvla_oft"]).read("language_model.lm_head.weight")
    hidden = hidden_states(model, oft_embeds(model, want), causal=False)[-1][0, want["case0.window_positions"]]
    tokens = (hidden @ weight.T).argmax(dim=-1)
    assert tokens.tolist() == want["case0.discrete.tokens"].tolist()
    values = detokenize(tokens.numpy(), head.num_tokens, head.num_bins).reshape(8, 7)
    actions = unnormalize(values, config.action_low, config.action_high, config.action_mask, config.action_epsilon)
    np.testing.assert_allclose(actions, want["case0.discrete.actions"].numpy(), rtol=0, atol=2e-8)


@pytest.fixture(scope="module")
def oft(folders, expected) -> LoadedModel:
    ids = tuple(expected["openvla_oft"]["case0.input_ids"][0].tolist())
    loaded = load_model(
        ModelConfig(
            "openvla_oft", str(folders["openvla_oft"]), dtype="float32", unnorm_key="libero_spatial", input_ids=ids
        )
    )
    loaded.model.config = replace(loaded.model.config, image_steps=("bicubic",), gripper="as_is")
    return loaded


@pytest.mark.parametrize("cache", ["none", "adaptive", "fixed_ratio"])
def test_oft_whole_call(oft: LoadedModel, expected, cache: str) -> None:
    """Twice the same observation: dense, then from the cache where the policy has one."""
    want = expected["openvla_oft"]
    images = {"agentview": want["case0.image0_u8"].numpy(), "wrist": want["case0.image1_u8"].numpy()}
    observation = Observation(images, "ids decide", want["case0.proprio_raw"].numpy().astype(np.float32), 0)
    numbers = {"dense_below_speed": None, "dense_at_grip": False} if cache == "adaptive" else {}
    policy = CachedPolicy(oft, build_cache_policy(cache, numbers))
    policy.reset(0)
    for _ in range(2):
        actions = policy.infer(observation).actions
        np.testing.assert_allclose(actions, want["case0.actions"].numpy(), rtol=0, atol=ATOL)


def test_gripper_for_libero(expected) -> None:
    want = expected["openvla_oft"]
    found = want["gripper.in"].numpy().copy()
    found[:, -1] = gripper_to_robosuite(found[:, -1])
    np.testing.assert_allclose(found, want["gripper.out"].numpy(), rtol=0, atol=1e-9)
