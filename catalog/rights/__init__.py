"""Rights: what a licence asks, when an embargo lifts, and the one place that decides who may have what."""
