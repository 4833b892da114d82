"""Change of a clip's embedding when it is padded in a batch: plain transformers, and this project.

    python benchmarks/padding.py

Tiny models with random weights, made from the config classes, with the structure of the published ones: group norm in the
first convolution (the -base models), layer norm in all (the -large models, data2vec). Clips of 0.4 to 2 s; the table
shows the largest absolute difference between the masked-mean embeddings of a clip alone and in the batch, over all clips and
dimensions.
"""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor
from transformers import (
    AutoModel,
    Data2VecAudioConfig,
    HubertConfig,
    PreTrainedConfig,
    PreTrainedModel,
    Wav2Vec2Config,
    WavLMConfig,
)

from gemoclap.encoders.framing import normalize_clips
from gemoclap.encoders.padding import valid_positions
from gemoclap.encoders.pooling import masked_mean
from gemoclap.encoders.speech import SpeechEncoder

SECONDS = (2.0, 1.3, 0.7, 0.4)
FAMILIES: dict[str, type[PreTrainedConfig]] = {
    "wav2vec2": Wav2Vec2Config,
    "HuBERT": HubertConfig,
    "WavLM": WavLMConfig,
    "data2vec": Data2VecAudioConfig,
}


def tiny_config(family: str, norm: str) -> PreTrainedConfig:
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
    if family == "data2vec":  # has layer norm alone, and no setting for it
        return FAMILIES[family](**sizes, conv_dim=(32,) * 7)
    stable = norm == "layer"
    return FAMILIES[family](**sizes, conv_dim=(32,) * 7, feat_extract_norm=norm, do_stable_layer_norm=stable)


def plain_embedding(model: PreTrainedModel, waveforms: Tensor, lengths: Tensor) -> Tensor:
    """Do what transformers documents: normalised input, zero padding, attention mask, mean over the valid frames."""
    waveforms = normalize_clips(waveforms, lengths, True)
    mask = valid_positions(lengths, waveforms.shape[1]).long()
    frames = model(waveforms, attention_mask=mask).last_hidden_state
    counts = model._get_feat_extract_output_lengths(lengths)
    return masked_mean(frames, valid_positions(counts, frames.shape[1]))


def largest_difference(embed: Callable[[Tensor, Tensor], Tensor], clips: list[Tensor]) -> float:
    lengths = torch.tensor([len(clip) for clip in clips])
    together = embed(torch.nn.utils.rnn.pad_sequence(clips, batch_first=True), lengths)
    alone = [embed(clip[None], torch.tensor([len(clip)]))[0] for clip in clips]
    return max(float((one - row).abs().max()) for one, row in zip(alone, together, strict=True))


@torch.inference_mode()
def main() -> None:
    table = Table("encoder", "norm", "transformers", "gemoclap", title="alone against in a padded batch")
    for family in FAMILIES:
        for norm in ("layer",) if family == "data2vec" else ("group", "layer"):
            torch.manual_seed(0)
            model = AutoModel.from_config(tiny_config(family, norm)).eval()
            ours = SpeechEncoder(copy.deepcopy(model), do_normalize=True).eval()
            clips = [0.1 * torch.randn(int(16000 * seconds)) for seconds in SECONDS]
            plain = largest_difference(lambda x, n, model=model: plain_embedding(model, x, n), clips)
            exact = largest_difference(lambda x, n, ours=ours: masked_mean(*ours(x, n)), clips)
            table.add_row(family, norm, f"{plain:.2g}", f"{exact:.2g}")
    Console(width=100).print(table)


if __name__ == "__main__":
    main()
