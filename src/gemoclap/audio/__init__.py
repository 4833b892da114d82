"""From an audio file to the 16 kHz mono waveform that every encoder gets, and to the clip that a model gets.

soundfile decodes (wav, flac, mp3, ogg, opus, ...), soxr resamples, channels are averaged. m4a, mp4, aac and other
containers that libsndfile cannot read go through PyAV where it is installed. `containers.py` says what the length in a
header is worth, `decoders.py` decodes block by block, `checks.py` refuses what is no sound, `reading.py` joins these,
`recording.py` goes through a recording several times, and `clips.py` makes a clip, without the silence that `silence.py`
finds. `channels.py` and `resampling.py` are for hours-long recordings and live sound: channels apart, and a resampler whose
state can be stored.
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
