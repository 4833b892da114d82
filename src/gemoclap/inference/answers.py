"""Words and remarks that are given instead of an emotion."""

UNKNOWN = "unknown"
"""Given if no label reaches the threshold."""
NO_SPEECH = "no speech"
"""Given if nobody speaks in a clip."""
SILENT_REMARK = "silent: nothing is louder than -60 dB"
CANCEL_REMARK = "the channels cancel each other when they are mixed: one is inverted"
NO_SPEECH_REMARK = "no speech was found"


def clipped_remark(share: float) -> str:
    """Return a remark on a recording of which this share of the samples, `clips.CLIPPED` or more, is cut off."""
    return f"clipped: the peaks are cut off, {100 * share:.1f} % of the samples; record with less gain"


def level_remark(peak: float) -> str:
    """Return a remark on a recording with samples up to `peak`, more than `clips.OVERLOADED`."""
    return f"samples go up to {peak:.6g} where 1 is full scale: write the file again with samples from -1 to 1"
