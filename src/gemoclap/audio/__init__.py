"""Turns audio files into 16 kHz mono waveforms, and into the clips that models get.

soundfile decodes (wav, flac, mp3, ogg, opus, ...), soxr resamples, and channels are averaged. m4a, mp4, aac, amr and other
containers that libsndfile cannot read are decoded by PyAV, if it is installed.

- `containers.py` checks whether the length in a file's header can be trusted.
- `decoders.py` decodes block by block, and `checks.py` refuses samples that cannot be sound.
- `clipping.py` counts samples that were cut off because the recording was too loud.
- `reading.py` combines these. `recording.py` reads a recording several times.
- `clips.py` makes a clip, without the silence that `silence.py` finds.
- `channels.py` and `resampling.py` serve long recordings and live sound: single channels, and a resampler whose state can be
  stored.
"""

from gemoclap.audio.channels import Channels, open_channels
from gemoclap.audio.checks import SAMPLE_RATE, as_float, check_samples, regular_file
from gemoclap.audio.clips import (
    LONGEST_SECONDS,
    even_edges,
    from_int16,
    kept_range,
    load_clip,
    part_edges,
    prepare_clip,
    to_int16,
)
from gemoclap.audio.containers import SLACK_SECONDS
from gemoclap.audio.reading import AudioInfo, AudioStream, load_audio, probe_audio, resample_blocks, stream_audio
from gemoclap.audio.recording import Recording
from gemoclap.audio.resampling import BlockResampler

__all__ = [
    "LONGEST_SECONDS",
    "SAMPLE_RATE",
    "SLACK_SECONDS",
    "AudioInfo",
    "AudioStream",
    "BlockResampler",
    "Channels",
    "Recording",
    "as_float",
    "check_samples",
    "even_edges",
    "from_int16",
    "kept_range",
    "load_audio",
    "load_clip",
    "open_channels",
    "part_edges",
    "prepare_clip",
    "probe_audio",
    "regular_file",
    "resample_blocks",
    "stream_audio",
    "to_int16",
]
