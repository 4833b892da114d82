"""What is answered and remarked in place of an emotion, in one spelling everywhere."""

UNKNOWN = "unknown"
"""The emotion if no label has a probability above the threshold."""
NO_SPEECH = "no speech"
"""The emotion of sound in which nobody speaks."""
SILENT_REMARK = "silent: nothing is louder than -60 dB"
NO_SPEECH_REMARK = "no speech was found"
