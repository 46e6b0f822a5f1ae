"""LiteRT: the `.tflite` artifact of a bundle. Start at `edgeadapt_models.compile.tflite.artifact`."""

from edgeadapt_models.compile.tflite.artifact import TFLITE_NAME, TfliteModel, tflite_model

__all__ = ["TFLITE_NAME", "TfliteModel", "tflite_model"]
