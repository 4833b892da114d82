"""Words and remarks that are given instead of an emotion."""

UNKNOWN = "unknown"
"""Given if no label reaches the threshold."""
NO_SPEECH = "no speech"
"""Given if nobody speaks in a clip."""
SILENT_REMARK = "silent: nothing is louder than -60 dB"
NO_SPEECH_REMARK = "no speech was found"
