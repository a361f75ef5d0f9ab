"""Files: models and trainings as safetensors, with torch's keys, and their architecture as JSON."""

from fastmlp.files.models import load, save

__all__ = ["load", "save"]
